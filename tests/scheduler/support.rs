//! Pods that wait, and the program.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

pub use crate::programs::*;

/// How long a test waits for anything: several of them share few processors.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dockside-scheduler");

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The cluster's only node.
pub fn node() -> String {
    environment("NODE")
}

/// What the scheduler prints for a subcommand.
pub fn scheduler(args: &[&str]) -> String {
    run_with(PROGRAM, args, "")
}

/// A pod that asks a scheduler of this name for a node.
pub fn create(name: &str, scheduler: &str, cpu: &str) {
    let requests = json!({"cpu": cpu, "memory": "16Mi"});
    let container = json!({
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        "resources": {"requests": requests},
    });
    let spec = json!({"schedulerName": scheduler, "terminationGracePeriodSeconds": 2, "containers": [container]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    run_with("kubectl", &["create", "-f", "-"], &pod.to_string());
}

pub fn pod(name: &str) -> Value {
    serde_json::from_str(&kubectl(&["get", "pod", name, "-o", "json"])).unwrap()
}

/// Waits until a pod has a phase, and returns it.
pub fn phase(name: &str, phase: &str) -> Value {
    let condition = format!("--for=jsonpath={{.status.phase}}={phase}");
    kubectl(&["wait", &condition, &format!("pod/{name}"), &format!("--timeout={}s", DEADLINE.as_secs())]);
    pod(name)
}

/// Waits until a pod runs on the node, and lets it go.
pub fn runs_on_the_node(name: &str) {
    let pod = phase(name, "Running");
    assert_eq!(pod["spec"]["nodeName"], node(), "{pod}");
    kubectl(&["delete", "pod", name, "--wait=false"]);
}

/// Who told of the binding of a pod in an event.
pub fn told_by(name: &str) -> String {
    let about = format!("--field-selector=regarding.name={name},reason=Scheduled");
    let event = ["get", "events.events.k8s.io", &about, "-o", "jsonpath={.items[*].reportingController}"];
    kubectl(&event)
}
