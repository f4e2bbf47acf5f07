//! Translates a pod's configuration into a Docker create request for the pause container.

use std::collections::BTreeMap;

use crate::cgroup::docker_parent;
use crate::container::security;
use crate::docker::EngineInfo;
use crate::docker::request::ContainerRequest;
use crate::docker::request::HealthConfig;
use crate::docker::request::HostConfig;
use crate::docker::request::Resources;
use crate::docker::request::RestartPolicy;
use crate::error::Error;
use crate::naming;
use crate::proto::LinuxPodSandboxConfig;
use crate::proto::LinuxSandboxSecurityContext;
use crate::proto::NamespaceMode;
use crate::proto::NamespaceOption;
use crate::proto::PodSandboxConfig;
use crate::proto::PodSandboxMetadata;

use super::describe;
use super::etc::Etc;

/// The lowest CPU weight: the pause process only sleeps.
const PAUSE_CPU_SHARES: i64 = 2;
/// The pause process is the pod's last victim of the OOM killer. The kubelet's documentation gives this value.
const PAUSE_OOM_SCORE_ADJ: i64 = -998;
/// Linux's limit for a host name, in bytes (`HOST_NAME_MAX`).
const HOSTNAME_LIMIT: usize = 64;

/// Checks what can be checked without Docker, and returns the pod's metadata.
pub(super) fn check(config: &PodSandboxConfig) -> Result<&PodSandboxMetadata, Error> {
    let Some(meta) = &config.metadata else {
        return Err(Error::invalid("pod sandbox", "config.metadata", "is missing"));
    };
    let pod = describe(config);
    for (field, value) in
        [("metadata.name", &meta.name), ("metadata.namespace", &meta.namespace), ("metadata.uid", &meta.uid)]
    {
        if !naming::is_valid_part(value) {
            let reason = format!("{value:?} must be letters, digits, '-', '_' and '.', and not empty");
            return Err(Error::invalid(&pod, field, reason));
        }
    }
    if config.hostname.len() > HOSTNAME_LIMIT {
        let reason =
            format!("{:?} has {} bytes; Linux allows {HOSTNAME_LIMIT}", config.hostname, config.hostname.len());
        return Err(Error::invalid(&pod, "hostname", reason));
    }
    if config.hostname.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        let reason = format!("{:?} must not contain spaces, control characters and '#'", config.hostname);
        return Err(Error::invalid(&pod, "hostname", reason));
    }
    if !config.log_directory.is_empty() && !config.log_directory.starts_with('/') {
        return Err(Error::invalid(&pod, "log_directory", "must be an absolute path"));
    }
    let modes = config.namespaces();
    check_namespaces(&pod, &modes)?;
    if let Some(linux) = &config.linux {
        check_sysctls(&pod, &linux.sysctls, &modes)?;
        if let Some(security) = &linux.security_context {
            check_security(&pod, security)?;
        }
    }
    Ok(meta)
}

fn check_namespaces(pod: &str, modes: &NamespaceOption) -> Result<(), Error> {
    let only_pod_or_node = |field, mode: NamespaceMode| match mode {
        NamespaceMode::Pod | NamespaceMode::Node => Ok(()),
        other => Err(Error::invalid(pod, field, format!("{} is not possible for a sandbox", other.as_str_name()))),
    };
    only_pod_or_node("linux.security_context.namespace_options.network", modes.network())?;
    only_pod_or_node("linux.security_context.namespace_options.ipc", modes.ipc())?;
    if modes.pid() == NamespaceMode::Target {
        return Err(Error::invalid(
            pod,
            "linux.security_context.namespace_options.pid",
            "TARGET is only possible for a container",
        ));
    }
    if modes.userns_options.as_ref().is_some_and(|userns| userns.mode() != NamespaceMode::Node) {
        return Err(Error::unsupported(
            pod,
            "linux.security_context.namespace_options.userns_options",
            "Docker has user namespaces for the whole daemon only, not for one pod",
        ));
    }
    Ok(())
}

/// Refuses sysctls of namespaces that the pod shares with the host: they would change the host.
fn check_sysctls(pod: &str, sysctls: &BTreeMap<String, String>, modes: &NamespaceOption) -> Result<(), Error> {
    const IPC: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
    for name in sysctls.keys() {
        let (namespace, mode) = if name.starts_with("net.") {
            ("network", modes.network())
        } else if IPC.iter().any(|prefix| name.starts_with(prefix)) {
            ("ipc", modes.ipc())
        } else {
            return Err(Error::invalid(
                pod,
                "linux.sysctls",
                format!("{name} does not belong to a namespace of a pod"),
            ));
        };
        if mode == NamespaceMode::Node {
            let reason = format!("{name} cannot be set for a pod in the node's {namespace} namespace");
            return Err(Error::invalid(pod, "linux.sysctls", reason));
        }
    }
    Ok(())
}

fn check_security(pod: &str, security: &LinuxSandboxSecurityContext) -> Result<(), Error> {
    if security.run_as_group.is_some() && security.run_as_user.is_none() {
        return Err(Error::invalid(pod, "linux.security_context.run_as_group", "needs run_as_user"));
    }
    Ok(())
}

/// The pause container of a pod whose configuration passed [`check`]. `etc` are its files, `None` for a pod on the host's
/// network.
pub(super) fn pause_container(
    config: &PodSandboxConfig,
    image: &str,
    runtime: Option<String>,
    etc: Option<&Etc>,
    info: &EngineInfo,
) -> Result<ContainerRequest, Error> {
    let pod = describe(config);
    let modes = config.namespaces();
    let host_network = modes.network() == NamespaceMode::Node;
    let linux = config.linux.clone().unwrap_or_default();
    let security = linux.security_context.clone().unwrap_or_default();
    let mut host_config = host_config(&pod, &linux, &security, &modes, runtime, info)?;
    host_config.mounts = etc.map(Etc::mounts);
    Ok(ContainerRequest {
        image: Some(image.to_owned()),
        // The OCI runtime makes the network namespace, and CNI the network. Otherwise Docker up to 25 runs a second process
        // of the daemon's program in each start to register the namespace, which takes more than half of the start's time.
        network_disabled: (!host_network).then_some(true),
        // A pod on the host's network has the host's name.
        hostname: (!host_network && !config.hostname.is_empty()).then(|| config.hostname.clone()),
        user: user(&pod, &security)?,
        labels: Some(naming::sandbox_labels(&config.labels, &config.annotations)),
        healthcheck: Some(HealthConfig::NONE),
        host_config: Some(host_config),
        ..Default::default()
    })
}

fn host_config(
    pod: &str,
    linux: &LinuxPodSandboxConfig,
    security: &LinuxSandboxSecurityContext,
    modes: &NamespaceOption,
    runtime: Option<String>,
    info: &EngineInfo,
) -> Result<HostConfig, Error> {
    let host_network = modes.network() == NamespaceMode::Node;
    Ok(HostConfig {
        network_mode: Some(if host_network { "host" } else { "none" }.to_owned()),
        uts_mode: host_network.then(|| "host".to_owned()),
        ipc_mode: Some(if modes.ipc() == NamespaceMode::Node { "host" } else { "shareable" }.to_owned()),
        pid_mode: (modes.pid() == NamespaceMode::Node).then(|| "host".to_owned()),
        cgroup_parent: docker_parent(pod, &linux.cgroup_parent, info)?,
        resources: Resources { cpu_shares: Some(PAUSE_CPU_SHARES), ..Default::default() },
        oom_score_adj: Some(info.clamp_oom_score(PAUSE_OOM_SCORE_ADJ)),
        sysctls: (!linux.sysctls.is_empty()).then(|| linux.sysctls.clone().into_iter().collect()),
        // The pause program writes nothing, and is never privileged, even if its containers are.
        readonly_rootfs: Some(true),
        security_opt: Some(security::sandbox_options(pod, security, info)?),
        group_add: security::groups(pod, &security.supplemental_groups)?,
        restart_policy: Some(RestartPolicy::NO),
        // The pause program is made to be pid 1; the daemon's setting must not start docker-init before it.
        init: Some(false),
        runtime,
        ..Default::default()
    })
}

fn user(pod: &str, security: &LinuxSandboxSecurityContext) -> Result<Option<String>, Error> {
    const USER: &str = "linux.security_context.run_as_user";
    let Some(uid) = &security.run_as_user else { return Ok(None) };
    let uid = security::id(pod, USER, uid.value)?;
    Ok(Some(match &security.run_as_group {
        Some(gid) => format!("{uid}:{}", security::id(pod, "linux.security_context.run_as_group", gid.value)?),
        None => uid.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;

    fn pod() -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "web".into(),
                namespace: "default".into(),
                uid: "u1".into(),
                attempt: 0,
            }),
            hostname: "web".into(),
            ..Default::default()
        }
    }

    fn with_modes(network: NamespaceMode, ipc: NamespaceMode) -> PodSandboxConfig {
        let options = NamespaceOption { network: network.into(), ipc: ipc.into(), ..Default::default() };
        let security = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
        PodSandboxConfig { linux: Some(linux), ..pod() }
    }

    #[test]
    fn a_missing_name_is_refused_by_its_field() {
        let mut config = pod();
        config.metadata.as_mut().unwrap().uid.clear();
        assert!(check(&config).unwrap_err().to_string().contains("metadata.uid"));
        config.metadata = None;
        assert!(check(&config).unwrap_err().to_string().contains("config.metadata"));
    }

    #[test]
    fn a_hostname_cannot_inject_a_line_of_hosts() {
        let with = |hostname: &str| check(&PodSandboxConfig { hostname: hostname.to_owned(), ..pod() }).map(|_| ());
        assert!(with("web-0.example").is_ok());
        for name in ["a\n192.0.2.6 registry", "a b", "a#", "a\0"] {
            assert!(with(name).unwrap_err().to_string().contains("hostname"), "{name:?}");
        }
    }

    #[test]
    fn a_pod_has_its_own_network_with_no_address_until_cni_gives_one() {
        let etc = Etc::new("/state/etc/k".into());
        let body = pause_container(&pod(), "pause", None, Some(&etc), &engine_info(41)).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.ipc_mode.as_deref(), Some("shareable"));
        assert_eq!((body.hostname.as_deref(), body.network_disabled), (Some("web"), Some(true)));
        let mounted: Vec<_> = host.mounts.unwrap().into_iter().map(|mount| mount.target).collect();
        assert_eq!(mounted, ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"]);
    }

    #[test]
    fn a_pod_on_the_hosts_network_has_the_hosts_name() {
        let body = pause_container(
            &with_modes(NamespaceMode::Node, NamespaceMode::Node),
            "pause",
            None,
            None,
            &engine_info(41),
        )
        .unwrap();
        assert_eq!(body.network_disabled, None);
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), host.uts_mode.as_deref()), (Some("host"), Some("host")));
        assert_eq!(host.ipc_mode.as_deref(), Some("host"));
        assert_eq!(body.hostname, None);
    }

    #[test]
    fn sysctls_of_a_shared_namespace_are_refused() {
        let mut config = with_modes(NamespaceMode::Node, NamespaceMode::Pod);
        config.linux.as_mut().unwrap().sysctls.insert("net.core.somaxconn".into(), "10".into());
        assert!(check(&config).unwrap_err().to_string().contains("net.core.somaxconn"));
        let mut config = pod();
        let sysctls = BTreeMap::from([("vm.swappiness".to_owned(), "1".to_owned())]);
        config.linux = Some(LinuxPodSandboxConfig { sysctls, ..Default::default() });
        assert!(check(&config).unwrap_err().to_string().contains("vm.swappiness"));
    }

    #[test]
    fn a_user_namespace_for_one_pod_is_refused() {
        let mut config = with_modes(NamespaceMode::Pod, NamespaceMode::Pod);
        let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        security.namespace_options.as_mut().unwrap().userns_options = Some(Default::default());
        assert!(check(&config).unwrap_err().to_string().contains("userns_options"));
    }
}
