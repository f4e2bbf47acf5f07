//! What a pod shares with its containers and with the node: namespaces, host names, DNS and sysctls.

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::pods::netns;
use crate::pods::texts;
use crate::runtime;
use harness::*;

/// The namespace modes of a pod.
fn modes(network: NamespaceMode, pid: NamespaceMode, ipc: NamespaceMode) -> NamespaceOption {
    NamespaceOption { network: network.into(), pid: pid.into(), ipc: ipc.into(), ..Default::default() }
}

fn with_modes(config: PodSandboxConfig, options: NamespaceOption) -> PodSandboxConfig {
    let mut linux = config.linux.clone().unwrap_or_default();
    linux.security_context.get_or_insert_default().namespace_options = Some(options);
    PodSandboxConfig { linux: Some(linux), ..config }
}

/// A container with the namespace modes of its pod, as a kubelet requests it.
fn with_container_modes(config: ContainerConfig, options: NamespaceOption) -> ContainerConfig {
    let mut linux = config.linux.clone().unwrap_or_default();
    linux.security_context.get_or_insert_default().namespace_options = Some(options);
    ContainerConfig { linux: Some(linux), ..config }
}

async fn try_run(runtime: &mut Runtime, config: &PodSandboxConfig) -> Result<String, tonic::Status> {
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    Ok(runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

async fn reported_modes(runtime: &mut Runtime, id: &str) -> NamespaceOption {
    pod_status(runtime, id).await.linux.unwrap().namespaces.unwrap().options.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_join_the_namespaces_of_their_pod() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    // The kubelet's default: each container has its own pid namespace.
    let options = modes(Pod, Container, Pod);
    let config = with_modes(pod("own-namespaces"), options.clone());
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(reported_modes(&mut runtime, &id).await, options);
    let main = with_container_modes(container("main", UNTIL_TERM), options);
    let main = run_container(&mut runtime, &id, &config, &main).await;
    let (pause, main) = (pid_of(&id), pid_of(&main));
    for kind in ["net", "ipc", "uts", "pid", "mnt"] {
        assert_ne!(namespace(pause, kind), namespace("self", kind), "the pod is in the node's {kind}");
    }
    for kind in ["net", "ipc"] {
        assert_eq!(namespace(pause, kind), namespace(main, kind), "the container is not in the pod's {kind}");
    }
    assert_ne!(namespace(pause, "pid"), namespace(main, "pid"));
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_node_namespaces_is_in_them_with_all_its_containers() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    let options = modes(Node, Node, Node);
    let config = PodSandboxConfig { hostname: String::new(), ..with_modes(pod("on-the-node"), options.clone()) };
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(reported_modes(&mut runtime, &id).await, options);
    assert_eq!(pod_status(&mut runtime, &id).await.network.unwrap().ip, "");
    let main = with_container_modes(container("main", "hostname; sleep 86404"), options);
    let main = run_container(&mut runtime, &id, &config, &main).await;
    for pid in [pid_of(&id), pid_of(&main)] {
        for kind in ["net", "ipc", "uts", "pid"] {
            assert_eq!(namespace(pid, kind), namespace("self", kind), "not in the node's {kind}");
        }
    }
    let node_name = run("hostname", &[]);
    eventually("the container says its name", async || (logs(&main) == node_name).then_some(())).await;
    assert_eq!(netns(&mut runtime, &id).await, None);
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_mode_is_independent_and_reported() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    for (number, (options, kind)) in
        [(modes(Node, Container, Pod), "net"), (modes(Pod, Node, Pod), "pid"), (modes(Pod, Pod, Node), "ipc")]
            .iter()
            .enumerate()
    {
        let config = with_modes(pod(&format!("one-of-the-nodes-{number}")), options.clone());
        let id = run_pod(&mut runtime, &config).await;
        assert_eq!(reported_modes(&mut runtime, &id).await, *options);
        let pause = pid_of(&id);
        for other in ["net", "pid", "ipc"] {
            let shared = namespace(pause, other) == namespace("self", other);
            assert_eq!(shared, other == *kind, "{options:?}: {other}");
        }
        remove_pod(&mut runtime, &id).await;
    }
    // Without namespace options the pod has its own namespaces.
    let config = PodSandboxConfig { linux: None, ..pod("no-linux") };
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(reported_modes(&mut runtime, &id).await, NamespaceOption::default());
    assert_ne!(pod_status(&mut runtime, &id).await.network.unwrap().ip, "");
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_namespaces_are_shared_as_each_container_requests() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    let config = pod("processes");
    let id = run_pod(&mut runtime, &config).await;
    let with_pid = |name: &str, pid: NamespaceMode, target: &str| {
        let options = NamespaceOption { target_id: target.to_owned(), ..modes(Pod, pid, Pod) };
        with_container_modes(container(name, UNTIL_TERM), options)
    };
    let own = run_container(&mut runtime, &id, &config, &with_pid("own", Container, "")).await;
    let pods = run_container(&mut runtime, &id, &config, &with_pid("pods", Pod, "")).await;
    let nodes = run_container(&mut runtime, &id, &config, &with_pid("nodes", Node, "")).await;
    let joined = run_container(&mut runtime, &id, &config, &with_pid("joined", Target, &own)).await;
    let of = |id: &str| namespace(pid_of(id), "pid");
    assert_eq!(of(&pods), of(&id));
    assert_eq!(of(&nodes), namespace("self", "pid"));
    assert_eq!(of(&joined), of(&own));
    assert_ne!(of(&own), of(&id));
    assert_ne!(of(&own), namespace("self", "pid"));
    // Process 1 of the pod is the pause program, which reaps orphaned processes.
    assert_eq!(inside(&pods, "cat /proc/1/comm"), "pause");
    assert_eq!(inside(&own, "tr '\\0' ' ' </proc/1/cmdline | cut -c1-10"), "/bin/sh -c");
    inside(&pods, "(sleep 0.01 &) ; true");
    eventually("no zombie is left in the pod", async || {
        inside(&pods, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").eq("0").then_some(())
    })
    .await;

    let elsewhere_config = pod("processes-elsewhere");
    let elsewhere = run_pod(&mut runtime, &elsewhere_config).await;
    const FIELD: &str = "linux.security_context.namespace_options.target_id";
    for (target, word) in
        [(own.as_str(), "another sandbox"), ("no-such-container", "does not exist"), ("", "does not exist")]
    {
        let refused =
            try_create(&mut runtime, &elsewhere, &elsewhere_config, &with_pid("joined", Target, target)).await;
        assert_refused(refused, Code::InvalidArgument, &[FIELD, word]);
    }
    stop_container(&mut runtime, &own, 0).await;
    let refused = try_create(&mut runtime, &id, &config, &with_pid("late", Target, &own)).await;
    assert_refused(refused, Code::InvalidArgument, &[FIELD, "does not run"]);
    remove_pod(&mut runtime, &elsewhere).await;
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_container_kills_all_its_processes_in_a_shared_pid_namespace() {
    let mut runtime = runtime().await;
    let config = pod("shared-stop");
    let id = run_pod(&mut runtime, &config).await;
    let script = "sleep 86405 & setsid sleep 86405 & exec sleep 86405";
    let main = run_container(&mut runtime, &id, &config, &container("main", script)).await;
    let other = run_container(&mut runtime, &id, &config, &container("other", "exec sleep 86406")).await;
    eventually("three processes", async || (processes_with("sleep 86405").len() >= 3).then_some(())).await;
    stop_container(&mut runtime, &main, 1).await;
    eventually("none of them is left", async || processes_with("sleep 86405").is_empty().then_some(())).await;
    assert_eq!(container_status(&mut runtime, &other).await.state(), ContainerState::ContainerRunning);
    assert_eq!(pod_status(&mut runtime, &id).await.state(), PodSandboxState::SandboxReady);
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_pod_share_dev_shm() {
    let mut runtime = runtime().await;
    let config = pod("shared-memory");
    let id = run_pod(&mut runtime, &config).await;
    let one = run_container(&mut runtime, &id, &config, &container("one", UNTIL_TERM)).await;
    let two = run_container(&mut runtime, &id, &config, &container("two", UNTIL_TERM)).await;
    inside(&one, "echo here >/dev/shm/note");
    assert_eq!(inside(&two, "cat /dev/shm/note"), "here");
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_name_and_dns_are_the_same_in_every_container() {
    let mut runtime = runtime().await;
    let dns = DnsConfig {
        servers: ["10.10.10.10", "fd00::10"].map(str::to_owned).into(),
        searches: ["default.svc.cluster.local", "google.com"].map(str::to_owned).into(),
        options: ["ndots:8", "edns0"].map(str::to_owned).into(),
    };
    let expected = "search default.svc.cluster.local google.com\nnameserver 10.10.10.10\nnameserver fd00::10\noptions ndots:8 edns0";
    let config = PodSandboxConfig { hostname: "a-name".to_owned(), dns_config: Some(dns), ..pod("named") };
    let id = run_pod(&mut runtime, &config).await;
    let main = run_container(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
    let second = run_container(&mut runtime, &id, &config, &container("second", UNTIL_TERM)).await;
    for container in [&main, &second] {
        assert_eq!(inside(container, "cat /etc/resolv.conf"), expected);
        assert_eq!(inside(container, "hostname; cat /etc/hostname"), "a-name\na-name");
    }
    let hosts = inside(&main, "cat /etc/hosts");
    let ip = pod_status(&mut runtime, &id).await.network.unwrap().ip;
    assert!(hosts.contains("127.0.0.1\tlocalhost") && hosts.ends_with(&format!("{ip}\ta-name")), "{hosts}");
    // A container joined by hand sees the same.
    let network = format!("container:{id}");
    let by_hand = |file| docker(&["run", "--rm", "--network", &network, BUSYBOX, "cat", file]);
    assert_eq!(by_hand("/etc/resolv.conf"), expected);
    assert_eq!(by_hand("/etc/hosts"), hosts);
    assert_eq!(by_hand("/etc/hostname"), "a-name");
    remove_pod(&mut runtime, &id).await;

    let injected = DnsConfig { searches: vec!["a\nnameserver 6.6.6.6".to_owned()], ..Default::default() };
    let config = PodSandboxConfig { dns_config: Some(injected), ..pod("injected") };
    assert_refused(try_run(&mut runtime, &config).await, Code::InvalidArgument, &["default/injected", "dns_config"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_longer_than_linux_allows_is_refused() {
    let mut runtime = runtime().await;
    let config = PodSandboxConfig { hostname: "x".repeat(65), ..pod("long-name") };
    assert_refused(
        try_run(&mut runtime, &config).await,
        Code::InvalidArgument,
        &["default/long-name", "hostname", "64"],
    );
    let config = PodSandboxConfig { hostname: "x".repeat(64), ..pod("long-name") };
    let id = run_pod(&mut runtime, &config).await;
    let main = run_container(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
    assert_eq!(inside(&main, "hostname"), "x".repeat(64));
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sysctls_are_set_in_the_pod_and_never_on_the_node() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    let sysctls = [
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "100"),
        ("net.ipv4.ip_unprivileged_port_start", "79"),
        ("net.core.somaxconn", "1234"),
    ];
    let linux = LinuxPodSandboxConfig { sysctls: texts(&sysctls), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(linux), ..pod("sysctls") };
    let node_before: Vec<String> = sysctls.iter().map(|(name, _)| run("sysctl", &["-n", name])).collect();
    let id = run_pod(&mut runtime, &config).await;
    let main = run_container(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
    for ((name, value), before) in sysctls.iter().zip(node_before) {
        assert_eq!(inside(&main, &format!("cat /proc/sys/{}", name.replace('.', "/"))), *value, "{name}");
        assert_eq!(run("sysctl", &["-n", name]), before, "{name} of the node");
    }
    remove_pod(&mut runtime, &id).await;

    for (name, options) in [
        ("vm.swappiness", modes(Pod, Container, Pod)),
        ("kernel.panic", modes(Pod, Container, Pod)),
        ("net.core.somaxconn", modes(Node, Container, Pod)),
        ("kernel.shm_rmid_forced", modes(Pod, Container, Node)),
    ] {
        let linux = LinuxPodSandboxConfig { sysctls: texts(&[(name, "1")]), ..Default::default() };
        let config = with_modes(PodSandboxConfig { linux: Some(linux), ..pod("bad-sysctl") }, options);
        assert_refused(try_run(&mut runtime, &config).await, Code::InvalidArgument, &["linux.sysctls", name]);
    }
    // A sysctl that only the kernel refuses fails the request too, and leaves nothing.
    let linux = LinuxPodSandboxConfig { sysctls: texts(&[("net.no.such_setting", "1")]), ..Default::default() };
    let config = PodSandboxConfig { linux: Some(linux), ..pod("bad-sysctl") };
    let error = try_run(&mut runtime, &config).await.unwrap_err();
    assert!(error.message().contains("no/such_setting") || error.message().contains("no.such_setting"), "{error}");
    assert!(!docker_has("k8s_POD_bad-sysctl_default_uid-bad-sysctl_0"));
    assert!(!sandboxes(&mut runtime).await.iter().any(|pod| pod.metadata.as_ref().unwrap().name == "bad-sysctl"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_process_runs_as_the_pods_user() {
    let mut runtime = runtime().await;
    let id_value = |value| Some(Int64Value { value });
    let security = LinuxSandboxSecurityContext {
        run_as_user: id_value(1234),
        run_as_group: id_value(2345),
        supplemental_groups: vec![3456],
        ..Default::default()
    };
    let with_security = |security| {
        let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
        PodSandboxConfig { linux: Some(linux), ..pod("pause-user") }
    };
    let id = run_pod(&mut runtime, &with_security(security)).await;
    let pause = pid_of(&id);
    assert_eq!(proc_status(pause, "Uid"), "1234\t1234\t1234\t1234");
    assert_eq!(proc_status(pause, "Gid"), "2345\t2345\t2345\t2345");
    assert!(proc_status(pause, "Groups").split(' ').any(|group| group == "3456"));
    assert_eq!(proc_status(pause, "NoNewPrivs"), "1");
    assert_eq!(proc_status(pause, "Seccomp"), "2", "the pause process is confined unless the pod says otherwise");
    assert_eq!(std::fs::read_to_string(format!("/proc/{pause}/comm")).unwrap().trim(), "pause");
    remove_pod(&mut runtime, &id).await;

    let alone = LinuxSandboxSecurityContext { run_as_group: id_value(1), ..Default::default() };
    let refused = try_run(&mut runtime, &with_security(alone)).await;
    assert_refused(refused, Code::InvalidArgument, &["linux.security_context.run_as_group"]);
    let overflow = LinuxSandboxSecurityContext { run_as_user: id_value(1 << 32), ..Default::default() };
    let refused = try_run(&mut runtime, &with_security(overflow)).await;
    assert_refused(refused, Code::InvalidArgument, &["linux.security_context.run_as_user", "4294967296"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_a_network_mode_has_its_pods_network() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    for (name, network) in [("silent-in-pod", Pod), ("silent-on-node", Node)] {
        let config = with_modes(pod(name), modes(network, Pod, Pod));
        let id = run_pod(&mut runtime, &config).await;
        let main = run_container(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
        let expected = if network == Node { namespace("self", "net") } else { namespace(pid_of(&id), "net") };
        assert_eq!(namespace(pid_of(&main), "net"), expected, "{name}");
        remove_pod(&mut runtime, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_namespace_per_pod_is_refused_by_field() {
    use NamespaceMode::*;
    let mut runtime = runtime().await;
    let userns = |mode: NamespaceMode| UserNamespace { mode: mode.into(), ..Default::default() };
    let config = |name, mode| {
        let options = NamespaceOption { userns_options: Some(userns(mode)), ..modes(Pod, Container, Pod) };
        with_modes(pod(name), options)
    };
    for mode in [Pod, Container, Target] {
        let refused = try_run(&mut runtime, &config("userns", mode)).await;
        assert_refused(refused, Code::FailedPrecondition, &["default/userns", "userns_options"]);
    }
    let asked = config("userns-of-the-node", Node);
    let id = run_pod(&mut runtime, &asked).await;
    assert_eq!(reported_modes(&mut runtime, &id).await.userns_options, Some(userns(Node)));
    assert_eq!(namespace(pid_of(&id), "user"), namespace("self", "user"));
    remove_pod(&mut runtime, &id).await;
    for options in
        [modes(Container, Pod, Pod), modes(Target, Pod, Pod), modes(Pod, Target, Pod), modes(Pod, Pod, Container)]
    {
        let refused = try_run(&mut runtime, &with_modes(pod("bad-modes"), options)).await;
        assert_refused(refused, Code::InvalidArgument, &["linux.security_context.namespace_options"]);
    }
}
