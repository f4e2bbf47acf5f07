//! Pods that are to go to a node once others have made room for them there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::scheduler::model::Pod;

/// Which waiting pods have a node kept for them.
#[derive(Debug, Default)]
pub struct Nominations {
    by_node: HashMap<Arc<str>, Vec<Arc<Pod>>>,
}

impl Nominations {
    /// Takes note of where a waiting pod is to go, or that it is to go nowhere any more.
    pub fn put(&mut self, pod: Arc<Pod>) {
        self.remove(&pod.uid);
        if let Some(node) = &pod.nominated {
            self.by_node.entry(node.clone()).or_default().push(pod);
        }
    }

    pub fn remove(&mut self, uid: &str) {
        if self.by_node.is_empty() {
            return;
        }
        self.by_node.retain(|_, pods| {
            pods.retain(|pod| *pod.uid != *uid);
            !pods.is_empty()
        });
    }

    /// The nodes that are kept for pods of at least this priority, with those pods, without the pod that asks.
    pub fn before(&self, pod: &Pod) -> Vec<(Arc<str>, Vec<Arc<Pod>>)> {
        let first = |other: &&Arc<Pod>| other.shape.priority >= pod.shape.priority && other.uid != pod.uid;
        self.by_node
            .iter()
            .map(|(node, pods)| (node.clone(), pods.iter().filter(first).cloned().collect::<Vec<_>>()))
            .filter(|(_, pods)| !pods.is_empty())
            .collect()
    }

    /// Pods of less than this priority for which a node is kept.
    pub fn below(&self, node: &str, priority: i32) -> Vec<Arc<Pod>> {
        let pods = self.by_node.get(node).map_or(&[][..], Vec::as_slice);
        pods.iter().filter(|pod| pod.shape.priority < priority).cloned().collect()
    }
}
