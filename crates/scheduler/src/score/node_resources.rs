//! Two scores on CPU and memory: LeastAllocated prefers free nodes, BalancedAllocation prefers equal use of both.

use super::MAX;
use super::Score;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::model::Pod;

pub(super) const LEAST_ALLOCATED: Score = Score { name: "NodeResourcesFit", weight: 1, score: least_allocated };
pub(super) const BALANCED: Score = Score { name: "NodeResourcesBalancedAllocation", weight: 1, score: balanced };

fn least_allocated(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let requests = pod.shape.nonzero_incoming;
    let points = |id: &NodeId| {
        let info = cluster.node(*id);
        let has = &info.node.allocatable;
        let (cpu, memory) = (info.nonzero_requested.0.get(), info.nonzero_requested.1.get());
        let both = [(has.cpu, cpu.saturating_add(requests.cpu)), (has.memory, memory.saturating_add(requests.memory))];
        let (mut sum, mut count) = (0, 0);
        for (has, used) in both.into_iter().filter(|(has, _)| *has != 0) {
            sum += if used > has { 0 } else { free_share(has, used) };
            count += 1;
        }
        if count == 0 { 0 } else { sum / count }
    };
    Some(nodes.iter().map(points).collect())
}

/// The free share, in hundredths.
fn free_share(has: i64, used: i64) -> i64 {
    let left = has - used;
    match left.checked_mul(MAX) {
        Some(hundredfold) => hundredfold / has,
        // More bytes than any machine has.
        None => left / (has / MAX),
    }
}

fn balanced(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let requests = &pod.shape.requests;
    if requests.cpu == 0 && requests.memory == 0 {
        return None;
    }
    let points = |id: &NodeId| {
        let info = cluster.node(*id);
        let (has, used) = (&info.node.allocatable, &info.requested);
        // A node without one of the two resources has nothing to balance.
        let deviation = if has.cpu == 0 || has.memory == 0 {
            0.0
        } else {
            let cpu = share(used.cpu.get().saturating_add(requests.cpu), has.cpu);
            let memory = share(used.memory.get().saturating_add(requests.memory), has.memory);
            ((cpu - memory) / 2.0).abs()
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let points = ((1.0 - deviation) * MAX as f64) as i64;
        points
    };
    Some(nodes.iter().map(points).collect())
}

#[allow(clippy::cast_precision_loss)]
fn share(used: i64, has: i64) -> f64 {
    (used as f64 / has as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::score::tests::points;

    fn asks(cpu: &str, memory: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}})
    }

    /// Nodes of 4 CPUs and 8 GiB, the second one half full.
    fn cluster() -> Builder {
        Builder::default().nodes(&["a", "b"]).runs("p", "b", asks("2", "4Gi"))
    }

    #[test]
    fn emptier_nodes_score_higher() {
        // (75 + 75) / 2 and (25 + 25) / 2
        assert_eq!(points(&LEAST_ALLOCATED, &cluster(), asks("1", "2Gi")), Some(vec![75, 25]));
        // 97.5 % of the CPU and 97.56 % of the memory are free on the first, 47.5 % and 47.56 % on the second.
        assert_eq!(points(&LEAST_ALLOCATED, &cluster(), json!({})), Some(vec![97, 47]));
    }

    #[test]
    fn an_overcommitted_resource_scores_zero() {
        assert_eq!(points(&LEAST_ALLOCATED, &cluster(), asks("3", "2Gi")), Some(vec![50, 12]));
    }

    #[test]
    fn balanced_use_scores_higher() {
        // 25 % and 50 % used, and 75 % and 100 %: 25 points apart, half of which is lost.
        assert_eq!(points(&BALANCED, &cluster(), asks("1", "4Gi")), Some(vec![87, 87]));
        assert_eq!(points(&BALANCED, &cluster(), asks("2", "4Gi")), Some(vec![100, 100]));
        assert_eq!(points(&BALANCED, &cluster(), json!({})), None);
    }
}
