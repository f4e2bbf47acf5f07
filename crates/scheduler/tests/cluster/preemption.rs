//! A pod that is more important than those that run.

use serde_json::json;

use crate::support::apply;
use crate::support::create_with;
use crate::support::eventually;
use crate::support::kubectl;
use crate::support::node;
use crate::support::phase;
use crate::support::pod;
use harness::replica::Replica;

/// What the pods of this test need, and no other pod has.
const SEAT: &str = "dockside.io/seat";
const NAME: &str = "preemption";

#[test]
fn a_more_important_pod_takes_the_seat_of_one_that_no_budget_protects() {
    let status = json!({"capacity": {SEAT: "2"}, "allocatable": {SEAT: "2"}});
    let patch = json!({"status": status}).to_string();
    kubectl(&["patch", "node", &node(), "--subresource=status", "--type=merge", "-p", &patch]);
    apply(&json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"},
        "value": 1000}));
    apply(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "protected"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "protected"}}}}));
    let seat = json!({SEAT: "1"});
    let replica = Replica::start(&["--scheduler-name", NAME, "--leader-elect=false", "--listen=127.0.0.1:0"]);
    create_with("protected", NAME, &seat, &json!({"limits": seat, "labels": {"app": "protected"}}));
    create_with("unprotected", NAME, &seat, &json!({"limits": seat}));
    phase("protected", "Running");
    phase("unprotected", "Running");
    kubectl(&["wait", "--for=jsonpath={.status.currentHealthy}=1", "pdb/protected", "--timeout=60s"]);

    create_with("important", NAME, &seat, &json!({"limits": seat, "priority": "important"}));
    phase("important", "Running");
    assert_eq!(phase("protected", "Running")["metadata"].get("deletionTimestamp"), None);
    let gone = || kubectl(&["get", "pod", "unprotected", "--ignore-not-found", "-o", "name"]).is_empty().then_some(());
    eventually("the unprotected pod is gone", gone);
    let about = "--field-selector=reason=Preempted";
    let told = ["get", "events.events.k8s.io", about, "-o", "jsonpath={.items[*]['regarding.name','related.name']}"];
    assert_eq!(
        eventually("an event", || Some(kubectl(&told)).filter(|told| !told.is_empty())),
        "unprotected important"
    );

    // It waits for the end of one that is as important, and says so.
    create_with("later", NAME, &seat, &json!({"limits": seat, "priority": "important"}));
    kubectl(&["delete", "pdb", "protected"]);
    phase("later", "Running");
    create_with("too-late", NAME, &seat, &json!({"limits": seat, "priority": "important"}));
    let condition = || {
        let condition = &pod("too-late")["status"]["conditions"][0];
        condition["message"].as_str().map(str::to_owned)
    };
    let message = eventually("a condition", condition);
    // What comes then depends on the pods of other tests: they are less important, but have no seat to give.
    let begin = format!("0/1 nodes are available: 1 Insufficient {SEAT}. preemption: 0/1 nodes are available: 1 ");
    assert!(message.starts_with(&begin), "{message}");
    kubectl(&["delete", "pod", "important", "--wait=false"]);
    phase("too-late", "Running");
    kubectl(&["delete", "pod", "later", "too-late", "--wait=false"]);
    replica.stop();
}
