//! Test support: waiting pods, and the scheduler's program.

use serde_json::Value;
use serde_json::json;

pub(crate) use harness::in_cluster::*;

/// The path of `dockside-scheduler`.
pub(crate) fn scheduler_path() -> String {
    harness::program("dockside-scheduler").to_str().unwrap().to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The cluster's only node.
pub(crate) fn node() -> String {
    environment("NODE")
}

/// What the scheduler prints for a subcommand.
pub(crate) fn scheduler(args: &[&str]) -> String {
    run_with(&scheduler_path(), args, "")
}

/// Creates a pod with this scheduler name and these requests; `more` is merged into its spec.
pub(crate) fn create_with(name: &str, scheduler: &str, requests: &Value, more: &Value) {
    let container = json!({
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        "resources": {"requests": requests, "limits": more["limits"]},
    });
    let spec = json!({
        "schedulerName": scheduler,
        "priorityClassName": more["priority"],
        "terminationGracePeriodSeconds": 2,
        "containers": [container],
    });
    let metadata = json!({"name": name, "labels": more["labels"]});
    apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}));
}

/// Creates a pod that requests this much CPU and little memory.
pub(crate) fn create(name: &str, scheduler: &str, cpu: &str) {
    create_with(name, scheduler, &json!({"cpu": cpu, "memory": "16Mi"}), &Value::Null);
}

pub(crate) fn pod(name: &str) -> Value {
    serde_json::from_str(&kubectl(&["get", "pod", name, "-o", "json"])).unwrap()
}

/// Waits until a pod has a phase, and returns it.
pub(crate) fn phase(name: &str, phase: &str) -> Value {
    let condition = format!("--for=jsonpath={{.status.phase}}={phase}");
    kubectl(&["wait", &condition, &format!("pod/{name}"), &format!("--timeout={}s", DEADLINE.as_secs())]);
    pod(name)
}

/// Waits until a pod runs on the node, and deletes it.
pub(crate) fn runs_on_the_node(name: &str) {
    let pod = phase(name, "Running");
    assert_eq!(pod["spec"]["nodeName"], node(), "{pod}");
    kubectl(&["delete", "pod", name, "--wait=false"]);
}

/// The component that reported the binding of a pod in an event.
pub(crate) fn bound_by(name: &str) -> String {
    let about = format!("--field-selector=regarding.name={name},reason=Scheduled");
    let event = ["get", "events.events.k8s.io", &about, "-o", "jsonpath={.items[*].reportingController}"];
    kubectl(&event)
}
