//! Nodes score the sum of the weights of the preferred node affinity terms they match.

use super::Score;
use super::normalize;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::model::Pod;

pub(super) const SCORE: Score = Score { name: "NodeAffinity", weight: 2, score };

fn score(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let preferred = &pod.shape.preferred_nodes;
    if preferred.is_empty() {
        return None;
    }
    let sum = |id: &NodeId| {
        let node = &cluster.node(*id).node;
        let holding = preferred.iter().filter(|(_, term)| term.matches(&node.name, &node.labels));
        holding.map(|(weight, _)| i64::from(*weight)).sum()
    };
    let mut points: Vec<i64> = nodes.iter().map(sum).collect();
    normalize(&mut points);
    Some(points)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::score::tests::points;

    #[test]
    fn weights_of_matching_terms_add_up() {
        let term = |key: &str, weight: i32| json!({"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}});
        let pod = json!({"spec": {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [term("x", 30), term("y", 10), {"weight": 5}],
        }}}});
        let builder = Builder::default()
            .node("a", json!({"metadata": {"labels": {"x": "", "y": ""}}}))
            .node("b", json!({"metadata": {"labels": {"y": ""}}}))
            .nodes(&["c"]);
        assert_eq!(points(&SCORE, &builder, pod), Some(vec![100, 25, 0]));
        assert_eq!(points(&SCORE, &builder, json!({})), None);
    }

    #[test]
    fn a_term_with_an_invalid_number_matches_no_node() {
        let larger = |than: &str, weight: i32| json!({"weight": weight, "preference": {"matchExpressions": [{"key": "size", "operator": "Gt", "values": [than]}]}});
        let pod = json!({"spec": {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [larger("5.10", 50), larger("5", 10)],
        }}}});
        let builder = Builder::default().node("a", json!({"metadata": {"labels": {"size": "6"}}})).nodes(&["b"]);
        assert_eq!(points(&SCORE, &builder, pod), Some(vec![100, 0]));
    }
}
