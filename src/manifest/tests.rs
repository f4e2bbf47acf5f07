//! `up`, `down` and `ls` against a fake runtime.

use super::fake::Fake;
use super::load::Manifest;
use super::report::tests::Output;
use super::target::Target;
use super::target::by_name;
use super::*;
use crate::proto::ContainerState;

/// A fake runtime with directories of its own.
struct Node {
    fake: Fake,
    root: tempfile::TempDir,
    output: Output,
}

impl Node {
    fn new() -> Node {
        let fake = Fake::serve();
        fake.node.lock().images.insert("x:1".into());
        Node { fake, root: tempfile::tempdir().unwrap(), output: Output::default() }
    }

    fn dirs(&self) -> PodDirs {
        PodDirs { pods: self.root.path().join("pods"), logs: self.root.path().join("logs") }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.fake.socket, Duration::from_secs(5)).await.unwrap()
    }

    /// Brings up a Pod with this spec; returns whether it succeeded, and the calls.
    async fn up(&self, spec: &str) -> (bool, Vec<String>) {
        let manifest = manifest(spec);
        let (client, dirs, report) = (self.client().await, self.dirs(), Report::to(self.output.clone()));
        let host = Host { memory: 1 << 30, ..Host::default() };
        let worked = Up { client: &client, report: &report, dirs: &dirs, host: &host }.bring_up(&manifest).await;
        (worked, self.fake.node.lock().take_calls())
    }

    /// Takes the Pod down; returns whether it succeeded, and the calls.
    async fn down(&self, target: &Target) -> (bool, Vec<String>) {
        let (client, dirs, report) = (self.client().await, self.dirs(), Report::to(self.output.clone()));
        let worked = Down { client: &client, report: &report, dirs: &dirs }.take_down(target).await;
        (worked, self.fake.node.lock().take_calls())
    }

    fn assert_reported(&self, text: &str) {
        assert!(self.output.text().contains(text), "{text} is not in:\n{}", self.output.text());
    }
}

fn manifest(spec: &str) -> Manifest {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web, uid: uid-1}}\nspec:\n{spec}");
    load::parse("test", &text).unwrap_or_else(|error| panic!("{error}")).remove(0)
}

fn web() -> Target {
    by_name("default/web").unwrap()
}

const PLAIN: &str = "containers: [{name: c, image: 'x:1'}]";

#[tokio::test]
async fn a_pod_comes_up_in_the_kubelets_order() {
    let node = Node::new();
    let spec = "initContainers: [{name: i1, image: 'x:1'}, {name: i2, image: 'y:1'}]\ncontainers: [{name: a, image: 'x:1'}, {name: b, image: 'y:1'}]";
    node.fake.node.lock().exits.extend([("i1".into(), 0), ("i2".into(), 0)]);
    let (worked, calls) = node.up(spec).await;
    assert!(worked);
    let expected = [
        "RunPodSandbox web 0",
        "CreateContainer i1 0",
        "StartContainer i1",
        "PullImage y:1",
        "CreateContainer i2 0",
        "StartContainer i2",
        "CreateContainer a 0",
        "StartContainer a",
        "CreateContainer b 0",
        "StartContainer b",
    ];
    assert_eq!(calls, expected);
    node.assert_reported("pod default/web is up, IP 10.88.0.5\n");
    node.assert_reported("init container i1: exited with code 0");
    node.assert_reported("image y:1: not on this node");
    assert!(node.root.path().join("logs/default_web_uid-1/a").is_dir());
    let hosts = std::fs::read_to_string(node.root.path().join("pods/uid-1/etc-hosts")).unwrap();
    assert!(hosts.ends_with("10.88.0.5\tweb\n"), "{hosts}");
}

#[tokio::test]
async fn a_pod_that_is_up_is_left_alone() {
    let node = Node::new();
    node.up(PLAIN).await;
    let (worked, calls) = node.up(PLAIN).await;
    assert!(worked);
    assert_eq!(calls, [""; 0]);
    node.assert_reported("pod default/web was up already, IP 10.88.0.5\n");
    assert!(!node.output.text().contains("another manifest"));
    node.up("containers: [{name: c, image: 'x:1', tty: true}]").await;
    node.assert_reported("container c was started from another manifest");
}

#[tokio::test]
async fn a_sandbox_that_is_not_ready_is_followed_by_the_next_attempt() {
    let node = Node::new();
    node.up(PLAIN).await;
    node.fake.node.lock().crash();
    let (worked, calls) = node.up(PLAIN).await;
    assert!(worked);
    assert_eq!(calls, ["StopPodSandbox sandbox-1", "RunPodSandbox web 1", "CreateContainer c 1", "StartContainer c"]);
}

#[tokio::test]
async fn containers_of_a_sandbox_that_is_not_ready_are_stopped_first() {
    let node = Node::new();
    let spec = format!("terminationGracePeriodSeconds: 9\n{PLAIN}");
    node.up(&spec).await;
    node.fake.node.lock().crash();
    node.fake.node.lock().containers[0].state = ContainerState::ContainerRunning.into();
    let (worked, calls) = node.up(&spec).await;
    assert!(worked);
    assert_eq!(calls[..3], ["StopContainer c 9", "StopPodSandbox sandbox-1", "RunPodSandbox web 1"]);
}

#[tokio::test]
async fn a_container_in_unknown_state_is_stopped_before_it_is_replaced() {
    let node = Node::new();
    let spec = format!("terminationGracePeriodSeconds: 9\n{PLAIN}");
    node.up(&spec).await;
    node.fake.node.lock().containers[0].state = ContainerState::ContainerUnknown.into();
    let (worked, calls) = node.up(&spec).await;
    assert!(worked);
    assert_eq!(calls, ["StopContainer c 9", "CreateContainer c 1", "StartContainer c"]);
}

#[tokio::test]
async fn an_exited_container_is_restarted_by_its_policy() {
    for (policy, code, restarts) in
        [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 3, true), ("Never", 0, false)]
    {
        let node = Node::new();
        let spec = format!("restartPolicy: {policy}\n{PLAIN}");
        node.up(&spec).await;
        {
            let mut state = node.fake.node.lock();
            state.containers[0].state = ContainerState::ContainerExited.into();
            state.exits.insert("c".into(), code);
        }
        let (_, calls) = node.up(&spec).await;
        assert_eq!(calls.contains(&"CreateContainer c 1".to_owned()), restarts, "{policy} {code}");
    }
}

#[tokio::test]
async fn init_containers_run_again_only_before_the_first_container() {
    let node = Node::new();
    let spec =
        "initContainers: [{name: i1, image: 'x:1'}, {name: i2, image: 'x:1'}]\ncontainers: [{name: c, image: 'x:1'}]";
    node.fake.node.lock().exits.extend([("i1".into(), 0), ("i2".into(), 4)]);
    let (worked, calls) = node.up(spec).await;
    assert!(!worked);
    assert_eq!(calls.last().unwrap(), "StartContainer i2");
    node.assert_reported("pod default/web is not up: container i2: exited with code 4, log ");
    node.assert_reported("To remove it: dockside pod down default/web\n");

    node.fake.node.lock().exits.insert("i2".into(), 0);
    // For the fake all containers of a name exit alike: i2 has completed now, and i1 does not run again.
    let (worked, calls) = node.up(spec).await;
    assert!(worked);
    assert_eq!(calls, ["CreateContainer c 0", "StartContainer c"]);

    let (_, calls) = node.up(spec).await;
    assert_eq!(calls, [""; 0]);
}

#[tokio::test]
async fn a_failed_init_container_runs_again() {
    let node = Node::new();
    let spec = "initContainers: [{name: i, image: 'x:1'}]\ncontainers: [{name: c, image: 'x:1'}]";
    node.fake.node.lock().exits.insert("i".into(), 1);
    node.up(spec).await;
    let (worked, calls) = node.up(spec).await;
    assert!(!worked);
    assert_eq!(calls, ["CreateContainer i 1", "StartContainer i"]);
}

#[tokio::test]
async fn a_container_that_fails_does_not_keep_the_others_from_starting() {
    let node = Node::new();
    node.fake.node.lock().exits.insert("a".into(), 7);
    let (worked, calls) =
        node.up("restartPolicy: Never\ncontainers: [{name: a, image: 'x:1'}, {name: b, image: 'x:1'}]").await;
    assert!(!worked);
    assert_eq!(calls.last().unwrap(), "StartContainer b");
    node.assert_reported("container a: exited with code 7, log ");
}

#[tokio::test]
async fn a_container_that_exits_soon_after_its_start_is_reported() {
    let node = Node::new();
    let state = std::sync::Arc::clone(&node.fake.node);
    let crash = async {
        while state.lock().containers.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut state = state.lock();
        state.exits.insert("c".into(), 4);
        state.containers[0].state = ContainerState::ContainerExited.into();
    };
    let ((worked, _), ()) = tokio::join!(node.up(PLAIN), crash);
    assert!(!worked);
    node.assert_reported("container c: running\n");
    node.assert_reported("pod default/web is not up: container c: exited with code 4, log ");
}

#[tokio::test]
async fn a_container_that_completed_is_a_success() {
    let node = Node::new();
    node.fake.node.lock().exits.insert("c".into(), 0);
    let (worked, _) = node.up(&format!("restartPolicy: Never\n{PLAIN}")).await;
    assert!(worked);
    node.assert_reported("container c: exited with code 0");
}

#[tokio::test]
async fn a_failed_call_is_reported_with_its_status_and_up_continues_there() {
    let node = Node::new();
    node.fake.node.lock().failing.insert("StartContainer");
    let (worked, _) = node.up(PLAIN).await;
    assert!(!worked);
    node.assert_reported(" s  container c: FAILED\n");
    node.assert_reported(
        "pod default/web is not up: StartContainer of container c: Unknown: StartContainer is broken\n",
    );
    node.fake.node.lock().failing.clear();
    let (worked, calls) = node.up(PLAIN).await;
    assert!(worked);
    // As by the kubelet, a container that was created and not started is left alone.
    assert_eq!(calls, ["CreateContainer c 1", "StartContainer c"]);
}

#[tokio::test]
async fn pull_policies_are_obeyed() {
    for (image, policy, pulls, works) in [
        ("x:1", "Never", false, true),
        ("y:1", "Never", false, false),
        ("x:1", "IfNotPresent", false, true),
        ("y:1", "IfNotPresent", true, true),
        ("x:1", "Always", true, true),
    ] {
        let node = Node::new();
        let spec = format!("containers: [{{name: c, image: '{image}', imagePullPolicy: {policy}}}]");
        let (worked, calls) = node.up(&spec).await;
        assert_eq!(worked, works, "{image} {policy}");
        assert_eq!(calls.contains(&format!("PullImage {image}")), pulls, "{image} {policy}");
    }
}

#[tokio::test]
async fn a_running_pod_of_the_same_name_with_another_uid_is_refused() {
    let node = Node::new();
    node.up(PLAIN).await;
    let mut other = manifest(PLAIN);
    other.pod.metadata.uid = "uid-2".into();
    let (client, dirs, report) = (node.client().await, node.dirs(), Report::to(node.output.clone()));
    let up = Up { client: &client, report: &report, dirs: &dirs, host: &Host::default() };
    assert!(!up.bring_up(&other).await);
    node.assert_reported("a pod of this name with another UID, uid-1, is running");
}

#[tokio::test]
async fn a_pod_taken_down_by_name_leaves_nothing() {
    let node = Node::new();
    node.up("terminationGracePeriodSeconds: 7\nvolumes: [{name: v}]\ncontainers: [{name: a, image: 'x:1'}, {name: b, image: 'x:1'}]").await;
    let (worked, mut calls) = node.down(&web()).await;
    assert!(worked);
    // Containers are stopped concurrently, and removed concurrently.
    calls[..2].sort();
    calls[3..5].sort();
    let expected = [
        "StopContainer a 7",
        "StopContainer b 7",
        "StopPodSandbox sandbox-1",
        "RemoveContainer a",
        "RemoveContainer b",
        "RemovePodSandbox sandbox-1",
    ];
    assert_eq!(calls, expected);
    node.assert_reported("pod default/web is gone\n");
    for directory in ["pods", "logs"] {
        assert_eq!(std::fs::read_dir(node.root.path().join(directory)).unwrap().count(), 0, "{directory}");
    }
    let (worked, calls) = node.down(&web()).await;
    assert!(worked);
    assert_eq!(calls, [""; 0]);
    node.assert_reported("pod default/web was gone already\n");
}

#[tokio::test]
async fn the_manifests_grace_period_wins() {
    let node = Node::new();
    node.up(PLAIN).await;
    let (_, calls) = node.down(&Target { grace: Some(1), ..web() }).await;
    assert_eq!(calls[0], "StopContainer c 1");
}

#[tokio::test]
async fn what_does_not_stop_keeps_its_files() {
    let node = Node::new();
    node.up(PLAIN).await;
    node.fake.node.lock().failing.insert("StopPodSandbox");
    let (worked, calls) = node.down(&web()).await;
    assert!(!worked);
    assert!(!calls.iter().any(|call| call.starts_with("Remove")), "{calls:?}");
    node.assert_reported("StopPodSandbox of sandbox sandbox-1…: Unknown: StopPodSandbox is broken");
    assert!(node.dirs().pod("uid-1").exists());
    node.fake.node.lock().failing.clear();
    assert!(node.down(&web()).await.0);
    assert!(!node.dirs().pod("uid-1").exists());
}

#[tokio::test]
async fn pods_are_listed_with_their_address() {
    let node = Node::new();
    node.up(PLAIN).await;
    let client = node.client().await;
    let rows = ls::list(&client, &[]).await.unwrap();
    let table = ls::table(&rows, 3);
    assert!(table.contains("default     web    Ready   10.88.0.5   2s    1/1\n"), "{table}");
    assert!(ls::list(&client, &[by_name("default/other").unwrap()]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_missing_runtime_is_an_error_with_a_hint() {
    let error = Client::connect(Path::new("/nowhere/x.sock"), Duration::from_secs(1)).await.err().unwrap().to_string();
    assert!(error.starts_with("could not reach a runtime at /nowhere/x.sock: "), "{error}");
    assert!(error.ends_with("is `dockside serve` running?"), "{error}");
}
