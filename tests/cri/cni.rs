//! The node's own CNI configuration: it is noticed and used, and a failed plugin leaves nothing half-made.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use dockside::proto::*;
use serde_json::json;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use harness::*;

/// A plugin for tests. A file beside it, named after the verb, has its answer; without one it does nothing and passes
/// the previous result on. It appends each call to the file `calls`.
const CABLE: &str = r#"#!/bin/sh
here=$(dirname "$0")
conf=$(cat)
echo "$CNI_COMMAND" >>"$here/calls"
case $(cat "$here/$CNI_COMMAND" 2>/dev/null) in
fail)
	echo '{"cniVersion": "1.0.0", "code": 100, "msg": "the cable is cut", "details": "by a mouse"}'
	exit 1 ;;
garbage)
	echo 'a mouse is no JSON' ;;
silence)
	exit 3 ;;
hang)
	exec sleep 30 ;;
*)
	if [ "$CNI_COMMAND" = VERSION ]; then
		echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}'
	elif [ "$CNI_COMMAND" = ADD ]; then
		printf '%s' "$conf" | jq -c .prevResult
	fi ;;
esac
"#;

/// A node with a network of its own: a bridge, then the plugin above.
struct Wired {
    node: Node,
    name: String,
    plugins: PathBuf,
}

impl Wired {
    /// `number` keeps the networks of one box apart.
    async fn start(number: u8) -> Wired {
        Wired::start_under(number, &[]).await
    }

    async fn start_under(number: u8, under: &[&str]) -> Wired {
        let name = format!("wired{number}");
        let plugins = PathBuf::from(format!("/var/lib/dockside/plugins-{name}"));
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::write(plugins.join("cable"), CABLE).unwrap();
        std::fs::set_permissions(plugins.join("cable"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut node = Node::prepare(&["--cni-bin-dir", &format!("{},/usr/lib/cni", plugins.display())]);
        node.under = under.iter().map(|word| (*word).to_owned()).collect();
        configure(&node, "10-wired.conflist", &conflist(&name, number, &["cable", "firewall"]));
        node.spawn();
        node.wait_ready().await;
        Wired { node, name, plugins }
    }

    /// Sets how the plugin answers a verb from now on.
    fn make(&self, verb: &str, answer: &str) {
        std::fs::write(self.plugins.join(verb), answer).unwrap();
    }

    fn repair(&self) {
        for verb in ["ADD", "DEL"] {
            let _ = std::fs::remove_file(self.plugins.join(verb));
        }
    }

    fn calls(&self, verb: &str) -> usize {
        let calls = std::fs::read_to_string(self.plugins.join("calls")).unwrap_or_default();
        calls.lines().filter(|call| *call == verb).count()
    }

    /// What is left of this pod on this node; other tests use the same Docker.
    fn leftovers(&self, pod: &str) -> Vec<String> {
        let names = docker(&["ps", "-a", "--format", "{{.Names}}"]);
        let mut left: Vec<String> = names.lines().filter(|name| name.contains(pod)).map(str::to_owned).collect();
        let addresses = Path::new("/var/lib/cni/networks").join(&self.name);
        left.extend(files(&addresses).into_iter().filter(|file| file.contains("/10.")));
        left.extend(files(&Path::new("/sys/class/net").join(&self.name).join("brif")));
        for own in ["cni/results", "state/sandboxes", "state/containers"] {
            left.extend(files(&self.node.dir.join(own)));
        }
        let netns = format!("/run/netns/dockside-{}", dockside::key_of(&format!("k8s_POD_{pod}_default_uid-{pod}_0")));
        left.extend(Path::new(&netns).exists().then_some(netns));
        left
    }
}

fn files(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
}

fn conflist(name: &str, number: u8, more: &[&str]) -> String {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": format!("10.99.{number}.0/24")}]]});
    let mut plugins = vec![json!({"type": "bridge", "bridge": name, "isGateway": true, "ipam": ipam})];
    plugins.extend(more.iter().map(|kind| json!({"type": kind})));
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins}).to_string()
}

/// Installs a network configuration atomically.
fn configure(node: &Node, file: &str, text: &str) {
    let directory = node.dir.join("net.d");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("new"), text).unwrap();
    std::fs::rename(directory.join("new"), directory.join(file)).unwrap();
}

async fn condition(runtime: &mut Runtime, kind: &str) -> RuntimeCondition {
    let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner().status.unwrap();
    status.conditions.into_iter().find(|condition| condition.r#type == kind).unwrap()
}

async fn try_run(runtime: &mut Runtime, config: &PodSandboxConfig) -> Result<String, tonic::Status> {
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    Ok(runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_add_is_undone_and_quoted_and_the_request_succeeds_when_repeated() {
    let wired = Wired::start(1).await;
    let mut runtime = wired.node.runtime().await;
    let config = pod("failing");
    for (answer, words) in [
        ("fail", &["cable", "ADD", "the cable is cut", "by a mouse"][..]),
        ("garbage", &["cable", "ADD", "a mouse is no JSON"]),
        ("silence", &["cable", "ADD", "exit status: 3"]),
    ] {
        wired.make("ADD", answer);
        let deletions = wired.calls("DEL");
        assert_refused(try_run(&mut runtime, &config).await, Code::Unknown, words);
        assert!(wired.calls("DEL") > deletions, "no DEL after {answer}");
        assert_eq!(wired.leftovers("failing"), Vec::<String>::new(), "after {answer}");
        assert_eq!(sandboxes(&mut runtime).await, Vec::new());
        wired.repair();
        let id = run_pod(&mut runtime, &config).await;
        let status = pod_status(&mut runtime, &id).await;
        assert!(status.network.unwrap().ip.starts_with("10.99.1."));
        remove_pod(&mut runtime, &id).await;
        assert_eq!(wired.leftovers("failing"), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_can_be_neither_created_nor_undone_is_listed_until_it_can_be_removed() {
    let mut wired = Wired::start(2).await;
    let mut runtime = wired.node.runtime().await;
    let config = pod("stuck");
    wired.make("ADD", "fail");
    wired.make("DEL", "fail");
    assert_refused(try_run(&mut runtime, &config).await, Code::Unknown, &["the cable is cut", "could not undo it"]);
    for restart in [false, true] {
        if restart {
            wired.node.kill();
            wired.node.spawn();
            wired.node.wait_ready().await;
            runtime = wired.node.runtime().await;
        }
        let listed = sandboxes(&mut runtime).await;
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].state(), &listed[0].metadata), (PodSandboxState::SandboxNotready, &config.metadata));
        let request = RemovePodSandboxRequest { pod_sandbox_id: listed[0].id.clone() };
        assert_refused(runtime.remove_pod_sandbox(request).await, Code::Unknown, &["DEL", "the cable is cut"]);
        assert_eq!(sandboxes(&mut runtime).await.len(), 1);
    }
    wired.repair();
    let id = sandboxes(&mut runtime).await[0].id.clone();
    remove_pod(&mut runtime, &id).await;
    assert_eq!(wired.leftovers("stuck"), Vec::<String>::new());
    let again = run_pod(&mut runtime, &config).await;
    remove_pod(&mut runtime, &again).await;
    assert_eq!(wired.leftovers("stuck"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_pod_after_its_client_left_during_add_leaves_nothing() {
    let mut wired = Wired::start(7).await;
    wired.make("ADD", "hang");
    let (mut runtime, config) = (wired.node.runtime().await, pod("abandoned"));
    let begun = tokio::spawn(async move { try_run(&mut runtime, &config).await });
    eventually("the plugin hangs", async || (wired.calls("ADD") > 0).then_some(())).await;
    wired.node.kill();
    begun.await.unwrap().unwrap_err();
    wired.repair();
    docker(&["rm", "-f", "k8s_POD_abandoned_default_uid-abandoned_0"]);
    assert!(wired.leftovers("abandoned").len() > 3);
    wired.node.spawn();
    wired.node.wait_ready().await;
    eventually("nothing is left", async || wired.leftovers("abandoned").is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dockside_raises_its_limit_of_open_files() {
    let wired = Wired::start_under(8, &["prlimit", "--nofile=64:4096"]).await;
    assert_eq!(wired.node.limits_of_files(), ["4096", "4096"]);
    let mut clients = Vec::new();
    while wired.node.open_files() < 100 {
        let mut runtime = wired.node.runtime().await;
        runtime.version(VersionRequest::default()).await.unwrap();
        clients.push(runtime);
    }
    let id = run_pod(&mut clients[0], &pod("roomy")).await;
    remove_pod(&mut clients[0], &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_reports_a_failed_del_and_completes_when_repeated() {
    let wired = Wired::start(3).await;
    let mut runtime = wired.node.runtime().await;
    let config = pod("stop-fails");
    let id = run_pod(&mut runtime, &config).await;
    let main = run_container(&mut runtime, &id, &config, &container("main", UNTIL_TERM)).await;
    wired.make("DEL", "fail");
    let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
    assert_refused(runtime.stop_pod_sandbox(request.clone()).await, Code::Unknown, &["DEL", "the cable is cut"]);
    // The rest of the stop was done.
    assert_eq!(container_status(&mut runtime, &main).await.state(), ContainerState::ContainerExited);
    assert_eq!(pod_status(&mut runtime, &id).await.state(), PodSandboxState::SandboxNotready);
    wired.repair();
    runtime.stop_pod_sandbox(request).await.unwrap();
    remove_pod(&mut runtime, &id).await;
    assert_eq!(wired.leftovers("stop-fails"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_detached_from_its_network_after_the_configuration_is_gone() {
    let wired = Wired::start(4).await;
    let mut runtime = wired.node.runtime().await;
    let id = run_pod(&mut runtime, &pod("moved")).await;
    std::fs::remove_file(wired.node.dir.join("net.d/10-wired.conflist")).unwrap();
    configure(&wired.node, "20-other.conflist", &conflist("other4", 104, &["firewall"]));
    eventually("the other network serves", async || {
        let config = pod("moved-later");
        let id = try_run(&mut runtime, &config).await.ok()?;
        let ip = pod_status(&mut runtime, &id).await.network.unwrap().ip;
        remove_pod(&mut runtime, &id).await;
        ip.starts_with("10.99.104.").then_some(())
    })
    .await;
    let deletions = wired.calls("DEL");
    remove_pod(&mut runtime, &id).await;
    assert_eq!(wired.calls("DEL"), deletions + 1);
    assert_eq!(wired.leftovers("moved"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_port_without_a_portmap_plugin_is_refused_with_the_remedy() {
    let wired = Wired::start(5).await;
    let mut runtime = wired.node.runtime().await;
    let port = PortMapping { container_port: 80, host_port: 12090, ..Default::default() };
    let config = PodSandboxConfig { port_mappings: vec![port], ..pod("no-portmap") };
    let refused = try_run(&mut runtime, &config).await;
    assert_refused(refused, Code::Unknown, &["host port 12090", "portmap", "10-wired.conflist"]);
    assert_eq!(wired.leftovers("no-portmap"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_only_host_network_pods_start_until_a_configuration_appears() {
    let node = Node::start_unready(&["--pod-cidr", ""]);
    let mut runtime = eventually("dockside answers", async || node.try_runtime().await).await;
    eventually("Docker is reached", async || condition(&mut runtime, "RuntimeReady").await.status.then_some(())).await;
    let network = condition(&mut runtime, "NetworkReady").await;
    assert!(!network.status);
    assert_eq!(network.reason, "NetworkPluginNotReady");
    assert!(network.message.contains("net.d"), "{}", network.message);
    let config = pod("no-network");
    assert_refused(try_run(&mut runtime, &config).await, Code::Unknown, &["network", "net.d"]);
    assert!(!docker_has("k8s_POD_no-network_default_uid-no-network_0"));
    let modes = NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() };
    let security = LinuxSandboxSecurityContext { namespace_options: Some(modes), ..Default::default() };
    let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
    let id = run_pod(&mut runtime, &PodSandboxConfig { linux: Some(linux), ..pod("on-host") }).await;
    remove_pod(&mut runtime, &id).await;

    // An unusable configuration is reported with its file and what is wrong with it.
    configure(&node, "10-late.conflist", "{ not JSON");
    eventually("the broken file is reported", async || {
        let network = condition(&mut runtime, "NetworkReady").await;
        (!network.status && network.message.contains("10-late.conflist")).then_some(())
    })
    .await;
    configure(&node, "10-late.conflist", &conflist("late", 6, &["no-such-plugin"]));
    eventually("the missing plugin is reported", async || {
        let network = condition(&mut runtime, "NetworkReady").await;
        (!network.status && network.message.contains("no-such-plugin")).then_some(())
    })
    .await;
    let began = std::time::Instant::now();
    configure(&node, "10-late.conflist", &conflist("late", 6, &[]));
    eventually("the network is ready", async || condition(&mut runtime, "NetworkReady").await.status.then_some(()))
        .await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "noticed only after {:?}", began.elapsed());

    // Docker's FORWARD policy drops traffic between pods unless a plugin allows it: that is a warning, not an error.
    let network = condition(&mut runtime, "NetworkReady").await;
    assert!(
        network.message.contains("`firewall`") && network.message.contains("10-late.conflist"),
        "{}",
        network.message
    );
    eventually("a warning in the log", async || {
        node.log().lines().any(|line| line.contains("WARN") && line.contains("no `firewall` plugin")).then_some(())
    })
    .await;
    let id = run_pod(&mut runtime, &config).await;
    assert!(pod_status(&mut runtime, &id).await.network.unwrap().ip.starts_with("10.99.6."));
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_cidr_of_the_kubelet_enables_the_built_in_network_and_is_remembered() {
    let mut node = Node::start_unready(&["--pod-cidr", ""]);
    let mut runtime = eventually("dockside answers", async || node.try_runtime().await).await;
    let bring = |cidr: &str| UpdateRuntimeConfigRequest {
        runtime_config: Some(RuntimeConfig { network_config: Some(NetworkConfig { pod_cidr: cidr.to_owned() }) }),
    };
    assert!(!condition(&mut runtime, "NetworkReady").await.status);
    let refused = runtime.update_runtime_config(bring("10.88.0.0/99")).await;
    assert_refused(refused, Code::InvalidArgument, &["pod_cidr", "10.88.0.0/99"]);
    // An empty pod CIDR is not an error.
    runtime.update_runtime_config(UpdateRuntimeConfigRequest::default()).await.unwrap();
    runtime.update_runtime_config(bring("")).await.unwrap();
    assert!(!condition(&mut runtime, "NetworkReady").await.status);
    runtime.update_runtime_config(bring("10.88.0.0/16")).await.unwrap();
    assert!(condition(&mut runtime, "NetworkReady").await.status);
    node.kill();
    node.spawn();
    node.wait_ready().await;
    runtime = node.runtime().await;
    let id = run_pod(&mut runtime, &pod("brought")).await;
    assert!(pod_status(&mut runtime, &id).await.network.unwrap().ip.starts_with("10.88."));
    remove_pod(&mut runtime, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_an_address_of_each_family_with_a_pod_cidr() {
    let node = Node::prepare(&["--pod-cidr", ""]);
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.99.7.0/24"}], [{"subnet": "fd99:7::/64"}]]});
    let bridge = json!({"type": "bridge", "bridge": "wired7", "isGateway": true, "ipam": ipam});
    let list = json!({"cniVersion": "1.0.0", "name": "wired7", "plugins": [bridge, {"type": "firewall"}]});
    configure(&node, "10.conflist", &list.to_string());
    let mut node = node;
    node.spawn();
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    let id = run_pod(&mut runtime, &pod("two-families")).await;
    let network = pod_status(&mut runtime, &id).await.network.unwrap();
    assert!(network.ip.starts_with("10.99.7."), "{network:?}");
    assert_eq!(network.additional_ips.len(), 1);
    assert!(network.additional_ips[0].ip.starts_with("fd99:7::"), "{network:?}");
    remove_pod(&mut runtime, &id).await;
}
