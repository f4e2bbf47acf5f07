//! Nodes grouped by the value of one label.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cluster;
use super::NodeId;

/// The nodes grouped by the value of one label, in domains numbered from 0. Rebuilt when a node's labels change.
#[derive(Debug)]
pub(crate) struct Topology {
    /// The domain of each node slot, or [`NONE`].
    of: Vec<u32>,
    domains: usize,
}

const NONE: u32 = u32::MAX;

impl Topology {
    pub(super) fn new(key: &str, cluster: &Cluster) -> Topology {
        let mut numbers: HashMap<&Arc<str>, u32> = HashMap::new();
        let mut of = vec![NONE; cluster.node_slots()];
        for (id, info) in cluster.nodes() {
            if let Some(value) = info.node.labels.get(key) {
                let next = u32::try_from(numbers.len()).unwrap_or(NONE);
                of[id.index()] = *numbers.entry(value).or_insert(next);
            }
        }
        Topology { of, domains: numbers.len() }
    }

    /// The domain of a node; `None` if the node does not exist or does not have the label.
    pub(crate) fn domain(&self, node: NodeId) -> Option<usize> {
        self.of.get(node.index()).filter(|number| **number != NONE).map(|number| *number as usize)
    }

    /// The number of domains.
    pub(crate) fn domains(&self) -> usize {
        self.domains
    }
}
