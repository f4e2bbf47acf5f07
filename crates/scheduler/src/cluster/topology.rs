//! Which nodes belong together by the value of one label.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cluster;
use super::NodeId;

/// The nodes by the value of one label. It is made again whenever a node's labels change.
#[derive(Debug)]
pub struct Topology {
    /// The number of the domain of each node slot, or [`NONE`].
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

    /// The number of the domain a node is in; `None` when the node is not known or does not have the label.
    pub fn domain(&self, node: NodeId) -> Option<usize> {
        self.of.get(node.index()).filter(|number| **number != NONE).map(|number| *number as usize)
    }

    /// How many domains there are. Their numbers are below that.
    pub fn domains(&self) -> usize {
        self.domains
    }
}
