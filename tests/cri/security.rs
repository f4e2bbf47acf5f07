//! What a container's process may do, read from /proc.

use std::os::unix::fs::PermissionsExt;

use dockside::proto::security_profile::ProfileType;
use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::docker_knows;
use crate::inspect::*;
use crate::runtime;
use harness::*;

pub(crate) type Security = LinuxContainerSecurityContext;

pub(crate) fn id(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

pub(crate) fn secured(name: &str, security: Security) -> ContainerConfig {
    let linux = LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    ContainerConfig { linux: Some(linux), ..container(name, UNTIL_TERM) }
}

fn profile(kind: ProfileType, reference: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: reference.to_owned() })
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Creates, starts and returns the container's process.
pub(crate) async fn process(
    runtime: &mut Runtime,
    sandbox: &str,
    pod: &PodSandboxConfig,
    config: &ContainerConfig,
) -> (String, u32) {
    let id = run_container(runtime, sandbox, pod, config).await;
    let pid = pid_of(&id);
    (id, pid)
}

/// The bits of a capability set of a process.
fn capabilities(pid: u32, set: &str) -> u64 {
    u64::from_str_radix(&proc_status(pid, set), 16).unwrap()
}

const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const CHOWN: u64 = 1;

/// Docker's documented default set.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_are_added_and_dropped() {
    let mut runtime = runtime().await;
    let config = pod("capabilities");
    let sandbox = run_pod(&mut runtime, &config).await;
    let change = |add: &[&str], drop: &[&str]| {
        let capabilities = Capability {
            add_capabilities: strings(add),
            drop_capabilities: strings(drop),
            add_ambient_capabilities: Vec::new(),
        };
        Security { capabilities: Some(capabilities), ..Default::default() }
    };
    for (number, (security, expected)) in [
        (change(&[], &[]), DEFAULT_CAPABILITIES),
        (change(&["NET_ADMIN"], &["NET_RAW"]), (DEFAULT_CAPABILITIES | NET_ADMIN) & !NET_RAW),
        (change(&["CAP_NET_ADMIN"], &["cap_chown"]), (DEFAULT_CAPABILITIES | NET_ADMIN) & !CHOWN),
        (change(&[], &["ALL"]), 0),
        (change(&["NET_RAW"], &["ALL"]), NET_RAW),
    ]
    .into_iter()
    .enumerate()
    {
        let case = format!("{:?}", security.capabilities);
        let (_, pid) = process(&mut runtime, &sandbox, &config, &secured(&format!("main-{number}"), security)).await;
        for set in ["CapBnd", "CapEff", "CapPrm"] {
            assert_eq!(capabilities(pid, set), expected, "{set} of {case}");
        }
        assert_eq!(capabilities(pid, "CapAmb"), 0);
    }
    let refused = try_create(&mut runtime, &sandbox, &config, &secured("refused", change(&["NO_SUCH"], &[]))).await;
    let error = refused.unwrap_err();
    assert!(error.message().contains("NO_SUCH"), "{error}");
    let ambient = Capability { add_ambient_capabilities: strings(&["NET_BIND_SERVICE"]), ..Default::default() };
    let refused = Security { capabilities: Some(ambient), ..Default::default() };
    let refused = try_create(&mut runtime, &sandbox, &config, &secured("ambient", refused)).await;
    assert_refused(
        refused,
        Code::FailedPrecondition,
        &["linux.security_context.capabilities.add_ambient_capabilities"],
    );
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_file_system_is_writable_unless_read_only_is_requested() {
    let mut runtime = runtime().await;
    let config = pod("rootfs");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (name, readonly_rootfs, expected) in
        [("writable", false, "Found"), ("read-only", true, "touch: /new: Read-only file system")]
    {
        let security = Security { readonly_rootfs, ..Default::default() };
        let script = "touch /new && test -e /new && echo Found";
        let wanted = ContainerConfig { command: strings(&["/bin/sh", "-c", script]), ..secured(name, security) };
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        ended(&mut runtime, &id).await;
        assert_eq!(logs(&id), expected);
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_and_readonly_paths_are_exactly_the_requested_ones() {
    let mut runtime = runtime().await;
    let config = pod("paths");
    let sandbox = run_pod(&mut runtime, &config).await;
    let lists = |masked: &[&str], readonly: &[&str]| Security {
        masked_paths: strings(masked),
        readonly_paths: strings(readonly),
        ..Default::default()
    };
    let (listed, _) = process(
        &mut runtime,
        &sandbox,
        &config,
        &secured("listed", lists(&["/bin/ls", "/proc/meminfo"], &["/tmp", "/proc/sys"])),
    )
    .await;
    assert_eq!(inside(&listed, "/bin/sh -c ls 2>&1; true"), "/bin/sh: ls: Permission denied");
    assert_eq!(inside(&listed, "touch /tmp/test 2>&1; true"), "touch: /tmp/test: Read-only file system");
    let mounts = inside(&listed, "cat /proc/self/mounts");
    assert!(mounts.contains(" /proc/meminfo ") && mounts.contains(" /proc/sys proc ro,"), "{mounts}");
    // Empty lists must not become Docker's defaults: procMount Unmasked is sent as empty lists.
    let (bare, _) = process(&mut runtime, &sandbox, &config, &secured("bare", lists(&[], &[]))).await;
    let mounts = inside(&bare, "cat /proc/self/mounts");
    let over_proc: Vec<&str> =
        mounts.lines().filter(|line| line.split(' ').nth(1).is_some_and(|path| path.starts_with("/proc/"))).collect();
    assert_eq!(over_proc, Vec::<&str>::new());
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_new_privileges_is_set_only_when_requested() {
    let mut runtime = runtime().await;
    let config = pod("nnp");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (name, no_new_privs, expected) in [("on", true, "1"), ("off", false, "0")] {
        let security = Security { no_new_privs, ..Default::default() };
        let (_, pid) = process(&mut runtime, &sandbox, &config, &secured(name, security)).await;
        assert_eq!(proc_status(pid, "NoNewPrivs"), expected);
    }
    remove_pod(&mut runtime, &sandbox).await;
}

const NO_CHMOD: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn seccomp_profiles_filter_as_requested() {
    use ProfileType::*;
    let mut runtime = runtime().await;
    let config = pod("seccomp");
    let sandbox = run_pod(&mut runtime, &config).await;
    let path = "/var/lib/kubelet/seccomp/no-chmod.json";
    std::fs::create_dir_all("/var/lib/kubelet/seccomp").unwrap();
    std::fs::write(path, NO_CHMOD).unwrap();
    let with = |seccomp| Security { seccomp, ..Default::default() };
    #[allow(deprecated)]
    let old = |text: &str| Security { seccomp_profile_path: text.to_owned(), ..Default::default() };
    for (name, security, filtered, chmod) in [
        ("nothing-said", with(None), "0", true),
        ("unconfined", with(profile(Unconfined, "")), "0", true),
        ("default", with(profile(RuntimeDefault, "")), "2", true),
        ("local", with(profile(Localhost, path)), "2", false),
        ("old-default", old("runtime/default"), "2", true),
        ("old-unconfined", old("unconfined"), "0", true),
        ("old-local", old(&format!("localhost/{path}")), "2", false),
    ] {
        let (id, pid) = process(&mut runtime, &sandbox, &config, &secured(name, security)).await;
        assert_eq!(proc_status(pid, "Seccomp"), filtered, "{name}");
        let answer = inside(&id, "chmod 700 /tmp 2>&1; true");
        assert_eq!(answer.contains("Operation not permitted"), !chmod, "{name}: {answer}");
    }
    std::fs::write("/var/lib/kubelet/seccomp/broken.json", "{").unwrap();
    for (reference, word) in [
        ("/var/lib/kubelet/seccomp/missing.json", "No such file"),
        ("no-chmod.json", "absolute"),
        ("/var/lib/kubelet/seccomp/broken.json", "JSON"),
    ] {
        let wanted = secured("refused", with(profile(Localhost, reference)));
        let refused = try_create(&mut runtime, &sandbox, &config, &wanted).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            &["container refused", "linux.security_context.seccomp", reference, word],
        );
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_process_has_the_pods_seccomp_profile() {
    let mut runtime = runtime().await;
    let path = "/var/lib/kubelet/seccomp/pod.json";
    std::fs::create_dir_all("/var/lib/kubelet/seccomp").unwrap();
    std::fs::write(path, NO_CHMOD).unwrap();
    for (kind, reference, filtered) in [
        (ProfileType::RuntimeDefault, "", "2"),
        (ProfileType::Unconfined, "", "0"),
        (ProfileType::Localhost, path, "2"),
    ] {
        let security = LinuxSandboxSecurityContext { seccomp: profile(kind, reference), ..Default::default() };
        let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
        let sandbox = run_pod(&mut runtime, &PodSandboxConfig { linux: Some(linux), ..pod("pod-profile") }).await;
        assert_eq!(proc_status(pid_of(&sandbox), "Seccomp"), filtered, "{kind:?}");
        remove_pod(&mut runtime, &sandbox).await;
    }
    let missing = profile(ProfileType::Localhost, "/var/lib/kubelet/seccomp/missing.json");
    let security = LinuxSandboxSecurityContext { seccomp: missing, ..Default::default() };
    let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(linux), ..pod("pod-profile") };
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
    let refused = runtime.run_pod_sandbox(request).await;
    assert_refused(refused, Code::InvalidArgument, &["default/pod-profile", "seccomp", "missing.json"]);
    assert!(!docker_has("k8s_POD_pod-profile_default_uid-pod-profile_0"));
}

/// A pod that may have privileged containers.
async fn run_privileged_pod(runtime: &mut Runtime, name: &str) -> (PodSandboxConfig, String) {
    let security = LinuxSandboxSecurityContext { privileged: true, ..Default::default() };
    let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(linux), ..pod(name) };
    // A machine without CAP_SYS_RESOURCE needs the box's wrapper around runc for it.
    let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner();
    let wrapped = status.runtime_handlers.iter().any(|handler| handler.name == "wrapped");
    let handler = if wrapped { "wrapped" } else { "" };
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
    let sandbox = runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
    (config, sandbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_container_has_an_unmasked_writable_proc() {
    let mut runtime = runtime().await;
    let (config, sandbox) = run_privileged_pod(&mut runtime, "privileged-paths").await;
    // A kubelet sends these for every container whose procMount is Default.
    let security = Security {
        privileged: true,
        masked_paths: strings(&[
            "/proc/asound",
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
        ]),
        readonly_paths: strings(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        ..Default::default()
    };
    let (id, _) = process(&mut runtime, &sandbox, &config, &secured("main", security)).await;
    let mounts = inside(&id, "cat /proc/self/mounts");
    let over: Vec<&str> = mounts
        .lines()
        .filter(|line| {
            let path = line.split(' ').nth(1).unwrap();
            path.starts_with("/proc/") || path.starts_with("/sys/firmware")
        })
        .collect();
    assert_eq!(over, Vec::<&str>::new());
    // A sysctl of the pod's own network namespace, so that no other test sees it.
    inside(&id, "echo 61000 >/proc/sys/net/ipv4/tcp_keepalive_time");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_container_needs_a_privileged_pod() {
    let mut runtime = runtime().await;
    let privileged = Security { privileged: true, ..Default::default() };
    let config = pod("unprivileged");
    let sandbox = run_pod(&mut runtime, &config).await;
    let refused = try_create(&mut runtime, &sandbox, &config, &secured("main", privileged.clone())).await;
    assert_refused(refused, Code::InvalidArgument, &["container main", "linux.security_context.privileged"]);
    remove_pod(&mut runtime, &sandbox).await;

    let (config, sandbox) = run_privileged_pod(&mut runtime, "privileged").await;
    let blocking = Security { seccomp: profile(ProfileType::Localhost, "/does/not/exist"), ..privileged };
    let (id, pid) = process(&mut runtime, &sandbox, &config, &secured("main", blocking)).await;
    // All capabilities that root has here, as far as Docker knows them (20.10 ends with AUDIT_READ), and no profile.
    let known = if docker_knows(44) { u64::MAX } else { (1 << 38) - 1 };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
    assert_eq!(capabilities(pid, "CapEff"), u64::from_str_radix(own, 16).unwrap() & known);
    assert_eq!(proc_status(pid, "Seccomp"), "0");
    inside(&id, "mkdir /tmp/m && mount -t tmpfs none /tmp/m");
    // The same capabilities by name, without the other effects of privileged.
    let all = Capability { add_capabilities: strings(&["ALL"]), ..Default::default() };
    let all = Security { capabilities: Some(all), ..Default::default() };
    let (_, pid) = process(&mut runtime, &sandbox, &config, &secured("all", all)).await;
    assert_eq!(capabilities(pid, "CapEff"), u64::from_str_radix(own, 16).unwrap() & known);
    assert_eq!(inspect(&sandbox)["HostConfig"]["Privileged"], false);
    // The pause process does not get them.
    assert_eq!(capabilities(pid_of(&sandbox), "CapEff"), 0);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn security_options_the_host_cannot_enforce_are_refused_by_field() {
    use ProfileType::*;
    let mut runtime = runtime().await;
    let config = pod("no-lsm");
    let sandbox = run_pod(&mut runtime, &config).await;
    let options = docker(&["info", "-f", "{{.SecurityOptions}}"]);
    if !options.contains("apparmor") {
        let with = |apparmor| Security { apparmor, ..Default::default() };
        #[allow(deprecated)]
        let old = |text: &str| Security { apparmor_profile: text.to_owned(), ..Default::default() };
        for (name, security) in [("new", with(profile(Localhost, "mine"))), ("old", old("localhost/mine"))] {
            let refused = try_create(&mut runtime, &sandbox, &config, &secured(name, security)).await;
            assert_refused(
                refused,
                Code::FailedPrecondition,
                &[name, "linux.security_context.apparmor", "mine", "AppArmor"],
            );
        }
        for (name, kind) in [("default", RuntimeDefault), ("unconfined", Unconfined)] {
            create(&mut runtime, &sandbox, &config, &secured(name, with(profile(kind, "")))).await;
        }
    }
    let userns = UserNamespace { mode: NamespaceMode::Pod.into(), ..Default::default() };
    let modes = NamespaceOption { userns_options: Some(userns), ..Default::default() };
    let security = Security { namespace_options: Some(modes), ..Default::default() };
    let refused = try_create(&mut runtime, &sandbox, &config, &secured("userns", security)).await;
    assert_refused(refused, Code::FailedPrecondition, &["container userns", "userns_options"]);
    let modes = NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() };
    let security = Security { namespace_options: Some(modes), ..Default::default() };
    let refused = try_create(&mut runtime, &sandbox, &config, &secured("host", security)).await;
    assert_refused(refused, Code::InvalidArgument, &["linux.security_context.namespace_options.network"]);
    remove_pod(&mut runtime, &sandbox).await;
}

/// A conformant node must accept it: Kubernetes' own tests of emptyDir volumes always set a label.
#[tokio::test(flavor = "multi_thread")]
async fn an_selinux_label_is_refused_only_if_selinux_would_be_enforced() {
    let mut runtime = runtime().await;
    if docker(&["info", "-f", "{{.SecurityOptions}}"]).contains("selinux") {
        return;
    }
    let label = SeLinuxOption { level: "s0:c1,c2".to_owned(), ..Default::default() };
    let security = LinuxSandboxSecurityContext { selinux_options: Some(label.clone()), ..Default::default() };
    let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(linux), ..pod("label") };
    let security = Security { selinux_options: Some(label), ..Default::default() };
    let container = secured("label", security);
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let refused = runtime.run_pod_sandbox(request).await;
        assert_refused(refused, Code::FailedPrecondition, &["default/label", "linux.security_context.selinux_options"]);
        let config = pod("no-label");
        let sandbox = run_pod(&mut runtime, &config).await;
        let refused = try_create(&mut runtime, &sandbox, &config, &container).await;
        assert_refused(refused, Code::FailedPrecondition, &["linux.security_context.selinux_options", "SELinux"]);
        remove_pod(&mut runtime, &sandbox).await;
    } else {
        let sandbox = run_pod(&mut runtime, &config).await;
        let id = create(&mut runtime, &sandbox, &config, &container).await;
        start(&mut runtime, &id).await;
        for id in [&sandbox, &id] {
            assert!(!inspect(id)["HostConfig"]["SecurityOpt"].to_string().contains("label"));
        }
        remove_pod(&mut runtime, &sandbox).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_files_are_accessible_to_root_only() {
    let mut runtime = runtime().await;
    let config = pod("secrets");
    let sandbox = run_pod(&mut runtime, &config).await;
    let envs = vec![KeyValue { key: "PASSWORD".to_owned(), value: b"correct horse battery".to_vec() }];
    create(&mut runtime, &sandbox, &config, &ContainerConfig { envs, ..container("main", "true") }).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let state = crate::node().dir.join("state");
    for directory in ["sandboxes", "containers"] {
        assert_eq!(mode(&state.join(directory)), 0o700);
        for entry in std::fs::read_dir(state.join(directory)).unwrap().flatten() {
            // Other tests create and remove records meanwhile.
            if let Ok(found) = entry.metadata() {
                assert_eq!(found.permissions().mode() & 0o077, 0, "{}", entry.path().display());
            }
        }
    }
    assert_eq!(mode(&crate::node().socket()), 0o600);
    assert!(!crate::node().log().contains("correct horse battery"), "a secret in the log");
    remove_pod(&mut runtime, &sandbox).await;
}
