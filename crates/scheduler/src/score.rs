//! Which of the feasible nodes is best: each score is a file in this directory and a line in [`SCORES`].
//!
//! A score sees all feasible nodes at once and gives each 0 to 100 points. Names, formulas and default weights are
//! kube-scheduler's, as are integer arithmetic and rounding.

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_resources;
mod pod_topology_spread;
mod taint_toleration;

use super::cluster::Cluster;
use super::cluster::NodeId;
use super::model::Pod;

/// The highest number of points.
pub(crate) const MAX: i64 = 100;

/// A way to rank nodes.
pub(crate) struct Score {
    /// kube-scheduler's plugin name.
    pub(crate) name: &'static str,
    /// What its points are multiplied with.
    pub(crate) weight: i64,
    /// The points of each of the nodes; `None` if the score does not apply to the pod.
    pub(crate) score: fn(&Pod, &Cluster, &[NodeId]) -> Option<Vec<i64>>,
}

/// All scores. A new score needs a file in `score/` and a line here.
pub(crate) static SCORES: [Score; 7] = [
    taint_toleration::SCORE,
    node_affinity::SCORE,
    node_resources::LEAST_ALLOCATED,
    pod_topology_spread::SCORE,
    inter_pod_affinity::SCORE,
    node_resources::BALANCED,
    image_locality::SCORE,
];

/// The weighted sum of each node, in the order of `nodes`.
pub(crate) fn totals(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for score in &SCORES {
        for (total, points) in totals.iter_mut().zip((score.score)(pod, cluster, nodes).unwrap_or_default()) {
            *total += points * score.weight;
        }
    }
    totals
}

/// Scales points so that the highest becomes [`MAX`].
fn normalize(points: &mut [i64]) {
    let highest = points.iter().max().copied().unwrap_or(0);
    if highest > 0 {
        points.iter_mut().for_each(|one| *one = MAX * *one / highest);
    }
}

/// Scales points so that the highest becomes 0 and 0 becomes [`MAX`].
fn normalize_reversed(points: &mut [i64]) {
    normalize(points);
    points.iter_mut().for_each(|one| *one = MAX - *one);
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cluster::testing::Builder;

    /// The points of one score for each node, in order.
    pub(crate) fn points(score: &Score, builder: &Builder, pod: Value) -> Option<Vec<i64>> {
        let nodes: Vec<_> = builder.cluster.nodes().map(|(id, _)| id).collect();
        (score.score)(&builder.pod(pod), &builder.cluster, &nodes)
    }

    #[test]
    fn points_are_scaled_to_the_whole_range() {
        let stretched = |mut points: Vec<i64>, by: fn(&mut [i64])| {
            by(&mut points);
            points
        };
        assert_eq!(stretched(vec![0, 1, 3], normalize), [0, 33, 100]);
        assert_eq!(stretched(vec![0, 0], normalize), [0, 0]);
        assert_eq!(stretched(vec![0, 1, 3], normalize_reversed), [100, 67, 0]);
        assert_eq!(stretched(vec![0, 0], normalize_reversed), [100, 100]);
    }
}
