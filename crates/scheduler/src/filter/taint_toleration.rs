//! Every NoSchedule and NoExecute taint of the node must be tolerated.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Pod;
use crate::model::find_untolerated_taint;

pub(super) const FILTER: Filter =
    Filter { name: "TaintToleration", prepare, events: ClusterEvents::NODE_ADDED.or(ClusterEvents::NODE_TAINTS) };

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    Ok(Some(Box::new(|_, info| match find_untolerated_taint(&info.node.taints, &pod.shape.tolerations) {
        None => Ok(()),
        Some(_) => Err(Refusal::unresolvable("node(s) had untolerated taint(s)")),
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    #[test]
    fn taints_reject_unless_tolerated() {
        let tainted = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
        let builder = Builder::default()
            .node("preferred", tainted("PreferNoSchedule"))
            .node("scheduled", tainted("NoSchedule"))
            .node("executed", tainted("NoExecute"));
        let tolerating = |toleration: serde_json::Value| json!({"spec": {"tolerations": [toleration]}});
        assert_eq!(fits(&builder, json!({})), ["preferred"]);
        assert_eq!(
            fits(&builder, tolerating(json!({"key": "k", "value": "v"}))),
            ["preferred", "scheduled", "executed"]
        );
        assert_eq!(fits(&builder, tolerating(json!({"key": "k", "value": "w"}))), ["preferred"]);
        assert_eq!(
            fits(&builder, tolerating(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}))),
            ["preferred", "executed"]
        );
        assert_eq!(fits(&builder, tolerating(json!({"operator": "Exists"}))), ["preferred", "scheduled", "executed"]);
    }
}
