//! What a person is told of the pods that wait and of the nodes. Pure: made from the world whenever it has changed.
//!
//! Who calls in: `screen` and `plain`.

use std::sync::Arc;

use super::super::table::bytes;
use super::super::table::cpu;
use crate::cluster::NodeInfo;
use crate::decide::Verdict;
use crate::decide::explain;
use crate::filter::FILTERS;
use crate::model::Pod;
use crate::model::Standing;
use crate::world::World;

/// A node, as it looks to one pod.
#[derive(Debug)]
pub(super) struct NodeFacts {
    pub(super) name: Arc<str>,
    pub(super) verdict: Verdict,
    /// Free and all of it.
    pub(super) cpu: (String, String),
    pub(super) memory: (String, String),
    pub(super) pods: (i64, i64),
    pub(super) taints: String,
    pub(super) ready: bool,
}

/// What one filter says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opinion {
    /// This pod is none of its business.
    Silent,
    Fits,
    Refuses(String),
}

/// The pods that wait, the most important and oldest first. Those with a binding under way wait no more.
pub(super) fn waiting(world: &World) -> Vec<Arc<Pod>> {
    let mut pods: Vec<_> = world.queue.pods().filter(|pod| !world.cluster.is_assumed(&pod.uid)).cloned().collect();
    pods.sort_by_cached_key(|pod| (-i64::from(pod.shape.priority), pod.created, pod.to_string()));
    pods
}

/// The nodes, the best first, and after those that fit the others by name.
pub(super) fn nodes(world: &mut World, pod: &Pod) -> Vec<NodeFacts> {
    let verdicts = explain(pod, &mut world.cluster);
    let mut nodes: Vec<_> =
        verdicts.into_iter().map(|(id, verdict)| NodeFacts::new(world.cluster.node(id), verdict)).collect();
    nodes.sort_by_key(|node| (node.verdict.points().map_or(i64::MAX, |total| -total), node.name.clone()));
    nodes
}

/// What every filter says of a node, also those behind the first that refuses it.
pub(super) fn opinions(world: &World, pod: &Pod, node: &str) -> Vec<(&'static str, Opinion)> {
    let cluster = &world.cluster;
    let Some(id) = cluster.node_named(node) else { return Vec::new() };
    let ask = |filter: &crate::filter::Filter| {
        let checked = match (filter.prepare)(pod, cluster) {
            Ok(None) => return Opinion::Silent,
            Ok(Some(check)) => check(id, cluster.node(id)),
            Err(refusal) => Err(refusal),
        };
        checked.map_or_else(|refusal| Opinion::Refuses(refusal.to_string()), |()| Opinion::Fits)
    };
    FILTERS.iter().map(|filter| (filter.name, ask(filter))).collect()
}

/// How far a pod has come: a word or two.
pub(super) fn state(pod: &Pod) -> &'static str {
    match pod.standing() {
        Standing::Gated => "gated",
        Standing::Nominated(_) => "nominated",
        Standing::Refused(_) => "refused",
        Standing::New => "new",
    }
}

impl NodeFacts {
    fn new(info: &NodeInfo, verdict: Verdict) -> NodeFacts {
        let (node, used) = (&info.node, &info.requested);
        let has = &node.allocatable;
        let placed = i64::try_from(info.pods.len()).unwrap_or(i64::MAX);
        let taints: Vec<_> = node.taints.iter().map(ToString::to_string).collect();
        NodeFacts {
            name: node.name.clone(),
            verdict,
            cpu: (cpu(has.cpu - used.cpu.get()), cpu(has.cpu)),
            memory: (bytes(has.memory - used.memory.get()), bytes(has.memory)),
            pods: (node.max_pods - placed, node.max_pods),
            taints: taints.join(", "),
            ready: node.ready,
        }
    }
}
