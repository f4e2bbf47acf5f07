//! Nodes with fewer untolerated PreferNoSchedule taints score higher.

use super::Score;
use super::normalize_reversed;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::model::Effect;
use crate::model::Pod;
use crate::model::Taint;

pub(super) const SCORE: Score = Score { name: "TaintToleration", weight: 3, score };

fn score(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let tolerated = |taint: &Taint| pod.shape.tolerations.iter().any(|toleration| toleration.tolerates(taint));
    let unwanted = |taint: &&Taint| taint.effect == Effect::PreferNoSchedule && !tolerated(taint);
    let count = |id: &NodeId| {
        let taints = &cluster.node(*id).node.taints;
        i64::try_from(taints.iter().filter(unwanted).count()).unwrap_or(i64::MAX)
    };
    let mut points: Vec<_> = nodes.iter().map(count).collect();
    normalize_reversed(&mut points);
    Some(points)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::score::tests::points;

    #[test]
    fn nodes_with_prefer_no_schedule_taints_score_less() {
        let taint = |key: &str| json!({"key": key, "effect": "PreferNoSchedule"});
        let builder = Builder::default()
            .nodes(&["a"])
            .node("b", json!({"spec": {"taints": [taint("x")]}}))
            .node("c", json!({"spec": {"taints": [taint("x"), taint("y"), {"key": "z", "effect": "NoSchedule"}]}}));
        assert_eq!(points(&SCORE, &builder, json!({})), Some(vec![100, 50, 0]));
        let tolerant = json!({"spec": {"tolerations": [{"key": "x", "operator": "Exists"}]}});
        assert_eq!(points(&SCORE, &builder, tolerant), Some(vec![100, 100, 0]));
    }
}
