//! A cordoned node takes only pods that tolerate its taint.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Effect;
use crate::model::Pod;
use crate::model::Taint;

pub(super) const FILTER: Filter =
    Filter { name: "NodeUnschedulable", prepare, events: ClusterEvents::NODE_ADDED.or(ClusterEvents::NODE_TAINTS) };

const TAINT: &str = "node.kubernetes.io/unschedulable";

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    if pod.shape.tolerations.iter().any(|toleration| {
        let taint = Taint { key: TAINT.into(), value: "".into(), effect: Effect::NoSchedule };
        toleration.tolerates(&taint)
    }) {
        return Ok(None);
    }
    Ok(Some(Box::new(|_, info| {
        if info.node.unschedulable { Err(Refusal::unresolvable("node(s) were unschedulable")) } else { Ok(()) }
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    #[test]
    fn a_cordoned_node_takes_only_pods_that_tolerate_it() {
        let builder = Builder::default().nodes(&["a"]).node("b", json!({"spec": {"unschedulable": true}}));
        assert_eq!(fits(&builder, json!({})), ["a"]);
        let tolerant = json!({"spec": {"tolerations": [{"key": super::TAINT, "operator": "Exists"}]}});
        assert_eq!(fits(&builder, tolerant), ["a", "b"]);
    }
}
