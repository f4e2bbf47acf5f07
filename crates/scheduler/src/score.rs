//! Where a pod is best placed: each score is a file here, and a line in [`SCORES`].
//!
//! A score sees all nodes that fit at once and gives each 0 to 100. Names, formulas and weights are kube-scheduler's
//! defaults; arithmetic is in whole numbers where it is there, and rounds where it rounds.

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_resources;
mod pod_topology_spread;
mod taint_toleration;

use super::cluster::Cluster;
use super::cluster::NodeId;
use super::model::Pod;

/// The best a score can give.
pub const MAX: i64 = 100;

/// One way to compare nodes.
pub struct Score {
    /// kube-scheduler's name of it.
    pub name: &'static str,
    pub weight: i64,
    /// Gives each of the nodes its points; `None` when it makes no difference to this pod.
    pub score: fn(&Pod, &Cluster, &[NodeId]) -> Option<Vec<i64>>,
}

/// All scores.
pub static SCORES: [Score; 7] = [
    taint_toleration::SCORE,
    node_affinity::SCORE,
    node_resources::LEAST_ALLOCATED,
    pod_topology_spread::SCORE,
    inter_pod_affinity::SCORE,
    node_resources::BALANCED,
    image_locality::SCORE,
];

/// The weighted points of each node, in the order of the nodes.
pub fn totals(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for score in &SCORES {
        for (total, points) in totals.iter_mut().zip((score.score)(pod, cluster, nodes).unwrap_or_default()) {
            *total += points * score.weight;
        }
    }
    totals
}

/// Stretches points so that the highest is [`MAX`].
fn normalize(points: &mut [i64]) {
    let highest = points.iter().max().copied().unwrap_or(0);
    if highest > 0 {
        points.iter_mut().for_each(|one| *one = MAX * *one / highest);
    }
}

/// Stretches points so that the highest is worth nothing and none is worth [`MAX`].
fn normalize_reversed(points: &mut [i64]) {
    normalize(points);
    points.iter_mut().for_each(|one| *one = MAX - *one);
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cluster::testing::Builder;

    /// What one score gives to each node, in order.
    pub(crate) fn points(score: &Score, builder: &Builder, pod: Value) -> Option<Vec<i64>> {
        let nodes: Vec<_> = builder.cluster.nodes().map(|(id, _)| id).collect();
        (score.score)(&builder.pod(pod), &builder.cluster, &nodes)
    }

    #[test]
    fn points_are_stretched_to_the_whole_range() {
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
