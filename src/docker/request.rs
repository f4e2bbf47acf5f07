//! The bodies of Docker's requests, with the fields that Dockside sets.
//!
//! Each type serializes to the JSON of the type of the same name in Docker's API (`container.CreateRequest`,
//! `HostConfig`, ...). A field that is `None` is absent from the JSON, which leaves the value to the daemon; an empty
//! list is sent as an empty list, which overrides the daemon's default.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Serialize;

/// The body of `POST /containers/create`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerRequest {
    /// A name or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Replaces the image's `ENTRYPOINT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's `CMD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Replaces the image's `WORKDIR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `NAME=value`, on top of the image's `ENV`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// `name`, `uid`, `name:group` or `uid:gid`; replaces the image's `USER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only for a container with a UTS namespace of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whether standard input is a pipe that can be attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_stdin: Option<bool>,
    /// Whether standard input is closed when the first client that attached disconnects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin_once: Option<bool>,
    /// Whether the process has a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<bool>,
    /// Such as `SIGQUIT`; replaces the image's `STOPSIGNAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Merged over the image's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<HashMap<String, String>>,
    /// Replaces the image's `HEALTHCHECK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Whether Docker leaves the container's network namespace unconfigured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_disabled: Option<bool>,
    /// The settings that depend on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_config: Option<HostConfig>,
}

/// How Docker probes a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthConfig {
    test: [&'static str; 1],
}

impl HealthConfig {
    /// No health check, whatever the image defines.
    pub const NONE: HealthConfig = HealthConfig { test: ["NONE"] };
}

/// The part of a container that depends on the host.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// `none`, `host`, or `container:ID` to join another container's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// `shareable`, `host` or `container:ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<String>,
    /// `host`; absent: a namespace of the container's own.
    #[serde(rename = "UTSMode", skip_serializing_if = "Option::is_none")]
    pub uts_mode: Option<String>,
    /// `host` or `container:ID`; absent: a namespace of the container's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<String>,
    /// A path (cgroupfs driver) or a slice (systemd driver).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// Limits and weights.
    #[serde(flatten)]
    pub resources: Resources,
    /// -1000 to 1000 (proc(5)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i64>,
    /// Names and values; each must belong to a namespace that the container does not share with the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctls: Option<HashMap<String, String>>,
    /// Whether the container has all capabilities and devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Capabilities on top of Docker's default set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_add: Option<Vec<String>>,
    /// Capabilities taken from Docker's default set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_drop: Option<Vec<String>>,
    /// Supplementary groups, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_add: Option<Vec<String>>,
    /// `no-new-privileges`, `seccomp=...`, `apparmor=...`, `label=...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_opt: Option<Vec<String>>,
    /// Whether the root file system is mounted read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_rootfs: Option<bool>,
    /// Paths that the container cannot see; an empty list masks nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_paths: Option<Vec<String>>,
    /// Paths that the container cannot write; an empty list protects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_paths: Option<Vec<String>>,
    /// Mounts in the newer form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
    /// Bind mounts in the older form, `source:target:options`: the only one that can relabel for SELinux (`z`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binds: Option<Vec<String>>,
    /// Device files of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceMapping>>,
    /// Devices that a driver of Docker's provides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// When Docker starts the container again by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Whether docker-init runs as the first process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Where the output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_config: Option<LogConfig>,
    /// The name of an OCI runtime in the daemon's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

/// Limits and weights of a container: part of [`HostConfig`], and the body of `POST /containers/{id}/update`, where an
/// absent field leaves the container's value as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resources {
    /// The CFS period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<i64>,
    /// Microseconds of CPU time in each period; negative: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// The weight relative to other containers; 1024 is the kernel's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<i64>,
    /// CPUs, such as `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// NUMA nodes, such as `0,1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// The memory limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// The limit of memory and swap together in bytes; -1: no limit on swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    /// What is mounted.
    #[serde(rename = "Type")]
    pub kind: MountType,
    /// A path on the host, or an image.
    pub source: String,
    /// The path in the container.
    pub target: String,
    /// Whether the mount is read-only.
    pub read_only: bool,
    /// For [`MountType::Bind`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For [`MountType::Image`], from Docker 28 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
}

/// What a mount's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountType {
    /// A file or directory of the host.
    Bind,
    /// The file system of an image.
    Image,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindOptions {
    /// Absent: `rprivate`, or `rslave` for a path that contains Docker's own directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    /// Only the mount itself is read-only, not the mounts below it (API 1.44).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_non_recursive: Option<bool>,
    /// Fail unless the mounts below can be made read-only too (API 1.44).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_force_recursive: Option<bool>,
}

/// Whether mounts made later cross a bind mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// In neither direction.
    Rprivate,
    /// From the host to the container.
    Rslave,
    /// In both directions.
    Rshared,
}

impl Propagation {
    /// Docker's name for it, as the older form of a bind mount has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Rprivate => "rprivate",
            Propagation::Rslave => "rslave",
            Propagation::Rshared => "rshared",
        }
    }
}

/// Options of an image mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageOptions {
    /// The directory of the image to mount in place of its root.
    pub subpath: String,
}

/// A device file of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// The device file on the host.
    pub path_on_host: String,
    /// Where the container sees it.
    pub path_in_container: String,
    /// Made of `r`, `w` and `m` (mknod).
    pub cgroup_permissions: String,
}

/// Devices that one of Docker's device drivers provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceRequest {
    /// `cdi` for the container device interface (API 1.44).
    pub driver: String,
    /// Qualified names of devices, such as `vendor.example/class=name`.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Vec<String>,
}

/// When Docker starts a container again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestartPolicy {
    name: &'static str,
}

impl RestartPolicy {
    /// Never: restarting is the kubelet's job.
    pub const NO: RestartPolicy = RestartPolicy { name: "no" };
}

/// The log driver of a container and its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    /// The driver, such as `json-file`.
    #[serde(rename = "Type")]
    pub driver: String,
    /// The driver's options. The daemon's `log-opts` fill in what is missing.
    pub config: BTreeMap<String, String>,
}

/// The body of `POST /containers/{id}/exec`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ExecRequest<'a> {
    pub(super) attach_stdin: bool,
    pub(super) attach_stdout: bool,
    pub(super) attach_stderr: bool,
    pub(super) tty: bool,
    pub(super) cmd: &'a [String],
    pub(super) detach_keys: &'a str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn list(value: &str) -> Option<Vec<String>> {
        Some(vec![value.to_owned()])
    }

    fn host_config() -> HostConfig {
        HostConfig {
            network_mode: text("none"),
            ipc_mode: text("shareable"),
            uts_mode: text("host"),
            pid_mode: text("container:p"),
            cgroup_parent: text("/kubepods/pod1"),
            resources: Resources {
                cpu_period: Some(100_000),
                cpu_quota: Some(-1),
                cpu_shares: Some(2),
                cpuset_cpus: text("0-1"),
                cpuset_mems: text("0"),
                memory: Some(1 << 20),
                memory_swap: Some(1 << 20),
            },
            oom_score_adj: Some(-998),
            sysctls: Some([("net.core.somaxconn".to_owned(), "1".to_owned())].into()),
            privileged: Some(false),
            cap_add: list("NET_ADMIN"),
            cap_drop: list("ALL"),
            group_add: list("7"),
            security_opt: list("no-new-privileges"),
            readonly_rootfs: Some(true),
            masked_paths: Some(Vec::new()),
            readonly_paths: list("/proc/sys"),
            mounts: Some(vec![bind(), image()]),
            binds: list("/a:/b:rw,z"),
            devices: Some(vec![DeviceMapping {
                path_on_host: "/dev/null".into(),
                path_in_container: "/dev/zero".into(),
                cgroup_permissions: "rwm".into(),
            }]),
            device_requests: Some(vec![DeviceRequest { driver: "cdi".into(), device_ids: vec!["v/c=1".into()] }]),
            restart_policy: Some(RestartPolicy::NO),
            init: Some(false),
            log_config: Some(LogConfig {
                driver: "json-file".into(),
                config: [("max-size".to_owned(), "1m".to_owned())].into(),
            }),
            runtime: text("runc"),
        }
    }

    fn bind() -> Mount {
        Mount {
            kind: MountType::Bind,
            source: "/a".into(),
            target: "/b".into(),
            read_only: true,
            bind_options: Some(BindOptions {
                propagation: Some(Propagation::Rslave),
                read_only_non_recursive: Some(true),
                read_only_force_recursive: None,
            }),
            image_options: None,
        }
    }

    fn image() -> Mount {
        Mount {
            kind: MountType::Image,
            source: "sha256:1".into(),
            target: "/i".into(),
            read_only: true,
            bind_options: None,
            image_options: Some(ImageOptions { subpath: "etc".into() }),
        }
    }

    #[test]
    fn a_full_request_has_dockers_field_names() {
        let request = ContainerRequest {
            image: text("sha256:1"),
            entrypoint: list("/bin/sh"),
            cmd: list("-c"),
            working_dir: text("/w"),
            env: list("A=b"),
            user: text("1:2"),
            hostname: text("web"),
            open_stdin: Some(true),
            stdin_once: Some(false),
            tty: Some(true),
            stop_signal: text("SIGQUIT"),
            labels: Some([("l".to_owned(), "v".to_owned())].into()),
            healthcheck: Some(HealthConfig::NONE),
            network_disabled: Some(true),
            host_config: Some(host_config()),
        };
        let mounts = json!([
            {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
             "BindOptions": {"Propagation": "rslave", "ReadOnlyNonRecursive": true}},
            {"Type": "image", "Source": "sha256:1", "Target": "/i", "ReadOnly": true,
             "ImageOptions": {"Subpath": "etc"}},
        ]);
        let host = json!({
            "NetworkMode": "none", "IpcMode": "shareable", "UTSMode": "host", "PidMode": "container:p",
            "CgroupParent": "/kubepods/pod1", "CpuPeriod": 100_000, "CpuQuota": -1, "CpuShares": 2,
            "CpusetCpus": "0-1", "CpusetMems": "0", "Memory": 1 << 20, "MemorySwap": 1 << 20,
            "OomScoreAdj": -998, "Sysctls": {"net.core.somaxconn": "1"}, "Privileged": false,
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "GroupAdd": ["7"], "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": true, "MaskedPaths": [], "ReadonlyPaths": ["/proc/sys"],
            "Mounts": mounts,
            "Binds": ["/a:/b:rw,z"],
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/zero", "CgroupPermissions": "rwm"}],
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["v/c=1"]}],
            "RestartPolicy": {"Name": "no"}, "Init": false,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "Runtime": "runc",
        });
        let expected = json!({
            "Image": "sha256:1", "Entrypoint": ["/bin/sh"], "Cmd": ["-c"], "WorkingDir": "/w", "Env": ["A=b"],
            "User": "1:2", "Hostname": "web", "OpenStdin": true, "StdinOnce": false, "Tty": true,
            "StopSignal": "SIGQUIT", "Labels": {"l": "v"}, "Healthcheck": {"Test": ["NONE"]}, "NetworkDisabled": true,
            "HostConfig": host,
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
    }

    #[test]
    fn a_field_that_is_not_set_is_absent() {
        let request = ContainerRequest { host_config: Some(HostConfig::default()), ..Default::default() };
        assert_eq!(serde_json::to_value(request).unwrap(), json!({ "HostConfig": {} }));
        assert_eq!(serde_json::to_value(Resources::default()).unwrap(), json!({}));
        assert_eq!(serde_json::to_value(BindOptions::default()).unwrap(), json!({}));
    }

    #[test]
    fn a_propagation_has_one_name_in_both_forms_of_a_bind_mount() {
        for propagation in [Propagation::Rprivate, Propagation::Rslave, Propagation::Rshared] {
            assert_eq!(serde_json::to_value(propagation).unwrap(), propagation.as_str());
        }
    }
}
