//! Pods that have to wait, and what ends that.

use serde_json::json;

use crate::flood::Flood;
use crate::flood::ROOM;
use harness::in_cluster::*;
use harness::replica::Replica;

/// A replica for these pods alone.
pub fn working(flood: &Flood) -> Replica {
    Replica::start(&["--scheduler-name", flood.name, "--leader-elect=false", "--listen=127.0.0.1:0"])
}

fn message(flood: &Flood, pod: &str) -> Option<String> {
    let condition = "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}";
    Some(kubectl(&["get", "pod", "-n", flood.name, pod, "-o", condition])).filter(|message| !message.is_empty())
}

fn node_of(flood: &Flood, pod: &str) -> Option<String> {
    let node = kubectl(&["get", "pod", "-n", flood.name, pod, "-o", "jsonpath={.spec.nodeName}"]);
    Some(node).filter(|node| !node.is_empty())
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_gets_the_first_node_that_helps() {
    let flood = Flood::new("fits-nowhere", 1);
    let replica = working(&flood);
    flood.pods();
    flood.is_in_place();
    apply(&flood.pod("one-too-many"));
    let told = eventually("a condition", || message(&flood, "one-too-many"));
    // Other tests have nodes, too.
    assert!(told.contains("nodes are available: ") && told.contains("1 Insufficient cpu"), "{told}");
    kubectl(&["delete", "pod", "-n", flood.name, "p-7", "--force", "--grace-period=0"]);
    let node = eventually("a node", || node_of(&flood, "one-too-many"));
    assert_eq!(node, "fits-nowhere-0");
    assert_eq!(flood.bound().len(), ROOM);
    replica.stop();
}

#[test]
fn a_gated_pod_waits_for_its_last_gate() {
    let flood = Flood::new("gated", 1);
    let replica = working(&flood);
    let mut pod = flood.pod("behind-gates");
    pod["spec"]["schedulingGates"] = json!([{"name": "example.com/one"}, {"name": "example.com/two"}]);
    apply(&pod);
    apply(&flood.pod("free"));
    eventually("a node", || node_of(&flood, "free"));
    let opened = || {
        let open = json!([{"op": "remove", "path": "/spec/schedulingGates/0"}]).to_string();
        kubectl(&["patch", "pod", "-n", flood.name, "behind-gates", "--type=json", "-p", &open]);
    };
    opened();
    apply(&flood.pod("free-too"));
    eventually("a node", || node_of(&flood, "free-too"));
    assert_eq!(node_of(&flood, "behind-gates"), None);
    opened();
    eventually("a node", || node_of(&flood, "behind-gates"));
    replica.stop();
}

#[test]
fn a_pod_that_needs_what_is_not_done_here_is_told_so() {
    let flood = Flood::new("not-done", 1);
    let replica = working(&flood);
    let mut pod = flood.pod("claims-a-device");
    pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "gpu"}]);
    apply(&pod);
    let told = eventually("a condition", || message(&flood, "claims-a-device"));
    assert!(told.contains("spec.resourceClaims"), "{told}");
    let event = ["get", "events.events.k8s.io", "-n", flood.name, "--field-selector=reason=FailedScheduling"];
    let notes = || Some(kubectl(&[&event[..], &["-o", "jsonpath={.items[*].note}"]].concat()));
    let note = eventually("an event", || notes().filter(|note| !note.is_empty()));
    assert!(note.contains("spec.resourceClaims"), "{note}");
    replica.stop();
}
