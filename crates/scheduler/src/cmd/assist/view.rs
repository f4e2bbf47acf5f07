//! Pending pods and nodes, prepared for display. Pure: computed from the store whenever it has changed.
//!
//! Callers: `screen` and `plain`.

use std::sync::Arc;

use super::super::table::bytes;
use super::super::table::cpu;
use crate::cluster::NodeInfo;
use crate::decide::Verdict;
use crate::decide::explain;
use crate::filter::FILTERS;
use crate::model::PendingState;
use crate::model::Pod;
use crate::store::Store;

/// A node and its verdict for one pod.
#[derive(Debug)]
pub(super) struct NodeView {
    pub(super) name: Arc<str>,
    pub(super) verdict: Verdict,
    /// Free, and in total; also below.
    pub(super) cpu: (String, String),
    pub(super) memory: (String, String),
    pub(super) pods: (i64, i64),
    pub(super) taints: String,
    pub(super) ready: bool,
}

/// The result of one filter for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FilterResult {
    /// The filter does not apply to this pod.
    Skipped,
    /// It accepts the node.
    Accepted,
    /// It rejects the node, for these reasons.
    Rejected(String),
}

/// Pending pods, by priority and age. Pods whose binding is in flight are not included.
pub(super) fn pending_pods(store: &Store) -> Vec<Arc<Pod>> {
    let mut pods: Vec<_> = store.queue.pods().filter(|pod| !store.cluster.is_assumed(&pod.uid)).cloned().collect();
    pods.sort_by_cached_key(|pod| (-i64::from(pod.shape.priority), pod.created, pod.to_string()));
    pods
}

/// The feasible nodes by score, then the others by name.
pub(super) fn nodes(store: &mut Store, pod: &Pod) -> Vec<NodeView> {
    let verdicts = explain(pod, &mut store.cluster);
    let mut nodes: Vec<_> =
        verdicts.into_iter().map(|(id, verdict)| NodeView::new(store.cluster.node(id), verdict)).collect();
    nodes.sort_by_key(|node| (node.verdict.points().map_or(i64::MAX, |total| -total), node.name.clone()));
    nodes
}

/// The result of every filter for a node, also after the first that rejects it.
pub(super) fn filter_results(store: &Store, pod: &Pod, node: &str) -> Vec<(&'static str, FilterResult)> {
    let cluster = &store.cluster;
    let Some(id) = cluster.node_named(node) else { return Vec::new() };
    let ask = |filter: &crate::filter::Filter| {
        let checked = match (filter.prepare)(pod, cluster) {
            Ok(None) => return FilterResult::Skipped,
            Ok(Some(check)) => check(id, cluster.node(id)),
            Err(refusal) => Err(refusal),
        };
        checked.map_or_else(|refusal| FilterResult::Rejected(refusal.to_string()), |()| FilterResult::Accepted)
    };
    FILTERS.iter().map(|filter| (filter.name, ask(filter))).collect()
}

/// Why a pod is pending, in one word.
pub(super) fn state(pod: &Pod) -> &'static str {
    match pod.pending_state() {
        PendingState::Gated => "gated",
        PendingState::Nominated(_) => "nominated",
        PendingState::Unschedulable(_) => "refused",
        PendingState::New => "new",
    }
}

impl NodeView {
    fn new(info: &NodeInfo, verdict: Verdict) -> NodeView {
        let (node, used) = (&info.node, &info.requested);
        let has = &node.allocatable;
        let placed = i64::try_from(info.pods.len()).unwrap_or(i64::MAX);
        let taints: Vec<_> = node.taints.iter().map(ToString::to_string).collect();
        NodeView {
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
