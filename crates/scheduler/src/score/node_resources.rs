//! Two scores on processor and memory: the emptier the better, and the more evenly both are used the better.

use super::MAX;
use super::Score;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::model::Pod;

pub(super) const LEAST_ALLOCATED: Score = Score { name: "NodeResourcesFit", weight: 1, score: least_allocated };
pub(super) const BALANCED: Score = Score { name: "NodeResourcesBalancedAllocation", weight: 1, score: balanced };

fn least_allocated(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let wanted = pod.shape.wanted;
    let points = |id: &NodeId| {
        let info = cluster.node(*id);
        let has = &info.node.allocatable;
        let (cpu, memory) = (info.taken.0.get(), info.taken.1.get());
        let both = [(has.cpu, cpu.saturating_add(wanted.cpu)), (has.memory, memory.saturating_add(wanted.memory))];
        let (mut sum, mut count) = (0, 0);
        for (has, used) in both.into_iter().filter(|(has, _)| *has != 0) {
            sum += if used > has { 0 } else { free_share(has, used) };
            count += 1;
        }
        if count == 0 { 0 } else { sum / count }
    };
    Some(nodes.iter().map(points).collect())
}

/// What is left, in hundredths of what there is.
fn free_share(has: i64, used: i64) -> i64 {
    let left = has - used;
    match left.checked_mul(MAX) {
        Some(hundredfold) => hundredfold / has,
        // More bytes than any machine has.
        None => left / (has / MAX),
    }
}

fn balanced(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let wanted = &pod.shape.requests;
    if wanted.cpu == 0 && wanted.memory == 0 {
        return None;
    }
    let points = |id: &NodeId| {
        let info = cluster.node(*id);
        let (has, used) = (&info.node.allocatable, &info.requested);
        // A node without one of the two has nothing to balance.
        let deviation = if has.cpu == 0 || has.memory == 0 {
            0.0
        } else {
            let cpu = share(used.cpu.get().saturating_add(wanted.cpu), has.cpu);
            let memory = share(used.memory.get().saturating_add(wanted.memory), has.memory);
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

    /// Nodes of 4 processors and 8 GiB, the second half full.
    fn cluster() -> Builder {
        Builder::default().nodes(&["a", "b"]).runs("p", "b", asks("2", "4Gi"))
    }

    #[test]
    fn emptier_nodes_are_better() {
        // (75 + 75) / 2 and (25 + 25) / 2
        assert_eq!(points(&LEAST_ALLOCATED, &cluster(), asks("1", "2Gi")), Some(vec![75, 25]));
        // 97.5 and 97.56 percent are left of the one, 47.5 and 47.56 of the other.
        assert_eq!(points(&LEAST_ALLOCATED, &cluster(), json!({})), Some(vec![97, 47]));
    }

    #[test]
    fn what_does_not_fit_is_worth_nothing() {
        assert_eq!(points(&LEAST_ALLOCATED, &cluster(), asks("3", "2Gi")), Some(vec![50, 12]));
    }

    #[test]
    fn even_use_is_better() {
        // 25 and 50 percent, and 75 and 100: both 25 apart, so half of that is lost.
        assert_eq!(points(&BALANCED, &cluster(), asks("1", "4Gi")), Some(vec![87, 87]));
        assert_eq!(points(&BALANCED, &cluster(), asks("2", "4Gi")), Some(vec![100, 100]));
        assert_eq!(points(&BALANCED, &cluster(), json!({})), None);
    }
}
