//! Pods that wait, and the program.

use std::io::Write;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

/// How long a test waits for anything: several of them share two processors.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dockside-scheduler");

/// The cluster's only node.
pub fn node() -> String {
    std::env::var("NODE").expect("$NODE is not set: run these tests with hack/cluster run")
}

/// Runs a program with an input to its end.
pub fn run(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that does not read its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program prints; panics with its words when it fails.
pub fn output(program: &str, args: &[&str], input: &str) -> String {
    let output = run(program, args, input);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}: {out} {errors}", output.status);
    out
}

pub fn kubectl(args: &[&str]) -> String {
    output("kubectl", args, "").trim_end().to_owned()
}

/// What the scheduler prints for a subcommand.
pub fn scheduler(args: &[&str]) -> String {
    output(PROGRAM, args, "")
}

/// A pod that asks a scheduler of this name for a node.
pub fn create(name: &str, scheduler: &str, cpu: &str) {
    let requests = json!({"cpu": cpu, "memory": "16Mi"});
    let container = json!({
        "name": "main",
        "image": "dockside.test/busybox:1",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        "resources": {"requests": requests},
    });
    let spec = json!({"schedulerName": scheduler, "terminationGracePeriodSeconds": 2, "containers": [container]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    output("kubectl", &["create", "-f", "-"], &pod.to_string());
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
