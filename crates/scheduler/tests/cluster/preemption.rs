//! Preemption by a pod of higher priority.

use serde_json::json;

use crate::support::apply;
use crate::support::create_with;
use crate::support::eventually;
use crate::support::kubectl;
use crate::support::node;
use crate::support::phase;
use crate::support::pod;
use harness::replica::Replica;

/// An extended resource that only the pods of this test request.
const RESOURCE: &str = "dockside.io/seat";
const NAME: &str = "preemption";

#[test]
fn a_pod_of_higher_priority_preempts_one_that_no_disruption_budget_protects() {
    let status = json!({"capacity": {RESOURCE: "2"}, "allocatable": {RESOURCE: "2"}});
    let patch = json!({"status": status}).to_string();
    kubectl(&["patch", "node", &node(), "--subresource=status", "--type=merge", "-p", &patch]);
    apply(&json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"},
        "value": 1000}));
    apply(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "protected"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "protected"}}}}));
    let request = json!({RESOURCE: "1"});
    let replica = Replica::start(&["--scheduler-name", NAME, "--leader-elect=false", "--listen=127.0.0.1:0"]);
    create_with("protected", NAME, &request, &json!({"limits": request, "labels": {"app": "protected"}}));
    create_with("unprotected", NAME, &request, &json!({"limits": request}));
    phase("protected", "Running");
    phase("unprotected", "Running");
    kubectl(&["wait", "--for=jsonpath={.status.currentHealthy}=1", "pdb/protected", "--timeout=60s"]);

    create_with("important", NAME, &request, &json!({"limits": request, "priority": "important"}));
    phase("important", "Running");
    assert_eq!(phase("protected", "Running")["metadata"].get("deletionTimestamp"), None);
    let gone = || kubectl(&["get", "pod", "unprotected", "--ignore-not-found", "-o", "name"]).is_empty().then_some(());
    eventually("the unprotected pod is gone", gone);
    let about = "--field-selector=reason=Preempted";
    let query = ["get", "events.events.k8s.io", about, "-o", "jsonpath={.items[*]['regarding.name','related.name']}"];
    assert_eq!(
        eventually("an event", || Some(kubectl(&query)).filter(|names| !names.is_empty())),
        "unprotected important"
    );

    // It cannot preempt a pod of the same priority, and its condition says so.
    create_with("later", NAME, &request, &json!({"limits": request, "priority": "important"}));
    kubectl(&["delete", "pdb", "protected"]);
    phase("later", "Running");
    create_with("too-late", NAME, &request, &json!({"limits": request, "priority": "important"}));
    let condition = || {
        let condition = &pod("too-late")["status"]["conditions"][0];
        condition["message"].as_str().map(str::to_owned)
    };
    let message = eventually("a condition", condition);
    // The rest of the message depends on the pods of other tests, which have lower priority but not this resource.
    let begin = format!("0/1 nodes are available: 1 Insufficient {RESOURCE}. preemption: 0/1 nodes are available: 1 ");
    assert!(message.starts_with(&begin), "{message}");
    kubectl(&["delete", "pod", "important", "--wait=false"]);
    phase("too-late", "Running");
    kubectl(&["delete", "pod", "later", "too-late", "--wait=false"]);
    replica.stop();
}
