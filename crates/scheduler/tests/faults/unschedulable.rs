//! Unschedulable and gated pods, and what makes them schedulable.

use serde_json::json;

use crate::workload::ROOM;
use crate::workload::Workload;
use harness::in_cluster::*;
use harness::replica::Replica;

/// A replica for these pods only.
pub(crate) fn working(workload: &Workload) -> Replica {
    Replica::start(&["--scheduler-name", workload.name, "--leader-elect=false", "--listen=127.0.0.1:0"])
}

fn message(workload: &Workload, pod: &str) -> Option<String> {
    let condition = "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}";
    Some(kubectl(&["get", "pod", "-n", workload.name, pod, "-o", condition])).filter(|message| !message.is_empty())
}

fn node_of(workload: &Workload, pod: &str) -> Option<String> {
    let node = kubectl(&["get", "pod", "-n", workload.name, pod, "-o", "jsonpath={.spec.nodeName}"]);
    Some(node).filter(|node| !node.is_empty())
}

#[test]
fn an_unschedulable_pod_has_a_reason_and_gets_the_first_node_that_fits() {
    let workload = Workload::new("fits-nowhere", 1);
    let replica = working(&workload);
    workload.pods();
    workload.is_in_place();
    apply(&workload.pod("one-too-many"));
    let message_of_pod = eventually("a condition", || message(&workload, "one-too-many"));
    // The nodes of other tests are counted too.
    assert!(
        message_of_pod.contains("nodes are available: ") && message_of_pod.contains("1 Insufficient cpu"),
        "{message_of_pod}"
    );
    kubectl(&["delete", "pod", "-n", workload.name, "p-7", "--force", "--grace-period=0"]);
    let node = eventually("a node", || node_of(&workload, "one-too-many"));
    assert_eq!(node, "fits-nowhere-0");
    assert_eq!(workload.bound().len(), ROOM);
    replica.stop();
}

#[test]
fn a_gated_pod_waits_for_its_last_gate() {
    let workload = Workload::new("gated", 1);
    let replica = working(&workload);
    let mut pod = workload.pod("behind-gates");
    pod["spec"]["schedulingGates"] = json!([{"name": "example.com/one"}, {"name": "example.com/two"}]);
    apply(&pod);
    apply(&workload.pod("free"));
    eventually("a node", || node_of(&workload, "free"));
    let opened = || {
        let open = json!([{"op": "remove", "path": "/spec/schedulingGates/0"}]).to_string();
        kubectl(&["patch", "pod", "-n", workload.name, "behind-gates", "--type=json", "-p", &open]);
    };
    opened();
    apply(&workload.pod("free-too"));
    eventually("a node", || node_of(&workload, "free-too"));
    assert_eq!(node_of(&workload, "behind-gates"), None);
    opened();
    eventually("a node", || node_of(&workload, "behind-gates"));
    replica.stop();
}

#[test]
fn a_pod_with_an_unsupported_field_has_a_condition_and_an_event() {
    let workload = Workload::new("not-done", 1);
    let replica = working(&workload);
    let mut pod = workload.pod("claims-a-device");
    pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "gpu"}]);
    apply(&pod);
    let message_of_pod = eventually("a condition", || message(&workload, "claims-a-device"));
    assert!(message_of_pod.contains("spec.resourceClaims"), "{message_of_pod}");
    let event = ["get", "events.events.k8s.io", "-n", workload.name, "--field-selector=reason=FailedScheduling"];
    let notes = || Some(kubectl(&[&event[..], &["-o", "jsonpath={.items[*].note}"]].concat()));
    let note = eventually("an event", || notes().filter(|note| !note.is_empty()));
    assert!(note.contains("spec.resourceClaims"), "{note}");
    replica.stop();
}
