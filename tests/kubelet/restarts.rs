//! The kubelet, Dockside and Docker are restarted or killed while pods run and start.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use crate::cluster::*;

/// A pod that runs from before a restart to after it.
struct LongRunningPod {
    pod: Pod,
    status: Value,
    in_docker: Vec<String>,
}

impl LongRunningPod {
    fn start(name: &str) -> LongRunningPod {
        let pod = Pod::of(name, json!([{"name": "main", "image": NGINX}, shell("other", UNTIL_TERM)]));
        let status = pod.ready();
        let in_docker = pod.in_docker();
        LongRunningPod { pod, status, in_docker }
    }

    /// Checks that neither the pod nor a container of it has changed: not now, and not after a later update of the pod.
    fn untouched(self) {
        assert_eq!(self.pod.in_docker(), self.in_docker);
        let status = self.pod.now();
        assert_eq!(status["status"]["podIP"], self.status["status"]["podIP"]);
        for name in ["main", "other"] {
            let (now, before) = (container(&status, name).unwrap(), container(&self.status, name).unwrap());
            assert_eq!((&now["containerID"], &now["restartCount"]), (&before["containerID"], &before["restartCount"]));
        }
        assert_eq!(self.pod.exec("other", "hostname"), self.pod.name);
        self.pod.delete();
    }
}

/// Waits until the node is Ready. Right after a failure it may still be Ready because it has not noticed yet.
fn node_is_ready() {
    let deadline = format!("--timeout={}s", DEADLINE.as_secs());
    kubectl(&["wait", "--for=condition=Ready", &format!("node/{}", node_name()), &deadline]);
}

/// Starts a pod and waits for it, to check that the kubelet and Dockside work.
fn a_pod_can_start(name: &str) {
    let pod = Pod::of(name, json!([shell("main", UNTIL_TERM)]));
    pod.ready();
    pod.delete();
}

#[test]
fn pods_keep_running_when_the_kubelet_restarts() {
    let _node = alone();
    let witness = LongRunningPod::start("kubelet-restart");
    hack("cluster", &["kill", "kubelet"]);
    hack("cluster", &["start", "kubelet"]);
    a_pod_can_start("after-kubelet");
    witness.untouched();
}

#[test]
fn pods_starting_when_dockside_is_killed_come_up_once() {
    let _node = alone();
    let witness = LongRunningPod::start("dockside-restart");
    let names: Vec<String> = (0..12).map(|number| format!("load-{number}")).collect();
    let mut pods = Vec::new();
    for (number, name) in names.iter().enumerate() {
        pods.push(Pod::of(name, json!([shell("main", UNTIL_TERM)])));
        if number % 4 == 3 {
            hack("cluster", &["kill", "dockside"]);
            hack("cluster", &["start", "dockside"]);
        }
    }
    for pod in &pods {
        pod.ready();
    }
    let addresses: BTreeSet<String> = pods.iter().map(|pod| text(&pod.now()["status"]["podIP"]).to_owned()).collect();
    assert_eq!(addresses.len(), pods.len(), "each pod has an address of its own");
    for pod in &pods {
        let running = docker(&[
            "ps",
            "--filter",
            &format!("label=io.kubernetes.pod.name={}", pod.name),
            "--format",
            "{{.Label \"io.kubernetes.container.name\"}}",
        ]);
        let mut running: Vec<&str> = running.lines().collect();
        running.sort_unstable();
        assert_eq!(running, ["POD", "main"], "pod {}", pod.name);
    }
    for pod in pods {
        pod.delete();
    }
    witness.untouched();
}

#[test]
fn pods_run_again_after_docker_restarted() {
    let _node = alone();
    let witness = LongRunningPod::start("docker-restart");
    hack("box-dockerd", &["restart"]);
    node_is_ready();
    let pod = witness.pod;
    let before = text(&container(&witness.status, "main").unwrap()["containerID"]).to_owned();
    pod.wait("it is Ready with new containers", |pod| {
        let new = container(pod, "main").is_some_and(|status| status["containerID"] != *before);
        (new && condition(pod, "Ready") == "True").then_some(())
    });
    assert_eq!(pod.exec("other", "hostname"), "docker-restart");
    a_pod_can_start("after-docker");
    pod.delete();
}

#[test]
fn pods_keep_running_when_docker_is_killed_with_live_restore() {
    let _node = alone();
    hack("box-dockerd", &["stop"]);
    let script = format!("{}/hack/box-dockerd", environment("REPO"));
    let live = |verb: &str| {
        run("env", &["BOX_DOCKERD_FLAGS=--live-restore", &script, verb]);
    };
    live("start");
    node_is_ready();
    let witness = LongRunningPod::start("live-restore");
    hack("box-dockerd", &["kill"]);
    live("start");
    node_is_ready();
    a_pod_can_start("after-live-restore");
    witness.untouched();
    hack("box-dockerd", &["restart"]);
    node_is_ready();
}
