//! The cache that decisions read: nodes with their pods, volumes and policies. No I/O.
//!
//! One owner applies the updates of the watches, and runs filters and scores in between. A pod whose binding is in
//! flight is *assumed*: it counts on its node until the watch confirms it or the binding is known to have failed. Sums
//! are kept per node, and equal pods are counted together ([`Population`]), so that a decision does not iterate over
//! every pod.

mod nominations;
mod population;
mod storage;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use self::nominations::Nominations;
pub(crate) use self::population::Population;
use self::population::Populations;
pub(crate) use self::storage::AssumedVolumes;
pub(crate) use self::storage::Storage;
pub(crate) use self::storage::VolumePlan;
pub(crate) use self::storage::key;
pub(crate) use self::topology::Topology;
use super::model::Budget;
use super::model::Group;
use super::model::GroupKind;
use super::model::HostPort;
use super::model::Labels;
use super::model::Node;
use super::model::Pod;
use super::model::Total;
use super::model::Totals;

/// A node's slot in the cluster, valid as long as the node or one of its pods exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// The index into a list with one entry per slot (see [`Cluster::node_slots`]).
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node and the pods on it.
#[derive(Debug, Default)]
pub(crate) struct NodeInfo {
    /// The node itself; only its name is set while it does not exist.
    pub(crate) node: Node,
    /// Whether the node exists. A pod can be bound to a node that is not listed yet, or was deleted.
    known: bool,
    /// The sum of its pods' requests.
    pub(crate) requested: Totals,
    /// CPU and memory as scores count them (kube-scheduler's NonZeroRequested).
    pub(crate) nonzero_requested: (Total, Total),
    /// The pods on the node, assumed ones included.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The host ports of its pods.
    pub(crate) ports: Vec<HostPort>,
}

impl NodeInfo {
    fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.shape.requests);
        self.nonzero_requested.0.add(pod.shape.nonzero_placed.cpu);
        self.nonzero_requested.1.add(pod.shape.nonzero_placed.memory);
        self.ports.extend(pod.shape.ports.iter().cloned());
        self.pods.push(pod);
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|pod| *pod.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.remove(&pod.shape.requests);
        self.nonzero_requested.0.remove(pod.shape.nonzero_placed.cpu);
        self.nonzero_requested.1.remove(pod.shape.nonzero_placed.memory);
        for port in &pod.shape.ports {
            if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }
}

/// A pod on a node.
#[derive(Debug)]
struct Placed {
    node: NodeId,
    pod: Arc<Pod>,
    /// The API server has not confirmed it yet.
    assumed: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<Arc<str>, NodeId>,
    /// Slots to reuse.
    free: Vec<NodeId>,
    known_nodes: usize,
    pods: HashMap<Arc<str>, Placed>,
    assumed: usize,
    populations: Populations,
    /// The number of nodes that have each image.
    images: HashMap<Arc<str>, usize>,
    /// Built on first use; cleared when a node's labels change.
    topologies: Mutex<HashMap<Arc<str>, Arc<Topology>>>,
    /// Nodes reserved for pending pods.
    pub(crate) nominations: Nominations,
    /// Volumes, claims and drivers.
    pub(crate) storage: Storage,
    /// The labels of each namespace, by name.
    pub(crate) namespaces: HashMap<Arc<str>, Labels>,
    /// PodDisruptionBudgets by `namespace/name`.
    pub(crate) budgets: HashMap<String, Budget>,
    /// Services and controllers by kind and `namespace/name`.
    pub(crate) groups: HashMap<GroupKind, HashMap<String, Group>>,
}

impl Cluster {
    /// Every existing node.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeInfo)> {
        // The number of slots is limited where they are made.
        #[allow(clippy::cast_possible_truncation)]
        let numbered = self.nodes.iter().enumerate().map(|(at, info)| (NodeId(at as u32), info));
        numbered.filter(|(_, info)| info.known)
    }

    /// The number of existing nodes.
    pub(crate) fn node_count(&self) -> usize {
        self.known_nodes
    }

    /// The length of a list with one entry per [`NodeId`].
    pub(crate) fn node_slots(&self) -> usize {
        self.nodes.len()
    }

    /// The node in this slot.
    pub(crate) fn node(&self, id: NodeId) -> &NodeInfo {
        &self.nodes[id.index()]
    }

    /// Whether the node exists, and is not just named by a pod.
    pub(crate) fn is_known(&self, id: NodeId) -> bool {
        self.node(id).known
    }

    /// The existing node of this name.
    pub(crate) fn node_named(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied().filter(|id| self.node(*id).known)
    }

    /// Adds or updates a node; returns the previous version.
    pub(crate) fn put_node(&mut self, node: Node) -> Option<Node> {
        let id = self.slot(&node.name);
        let was_known = self.nodes[id.index()].known;
        for (image, _) in &node.images {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        if !was_known || self.nodes[id.index()].node.labels != node.labels {
            self.topologies.get_mut().clear();
        }
        let info = &mut self.nodes[id.index()];
        info.known = true;
        let before = std::mem::replace(&mut info.node, node);
        if !was_known {
            self.known_nodes += 1;
            return None;
        }
        self.forget_images(&before);
        Some(before)
    }

    /// Removes a node; returns whether it existed. Pods bound to it stay until they are removed themselves.
    pub(crate) fn remove_node(&mut self, name: &str) -> bool {
        let Some(id) = self.node_named(name) else { return false };
        let info = &mut self.nodes[id.index()];
        info.known = false;
        let before = std::mem::replace(&mut info.node, Node { name: Arc::from(name), ..Node::default() });
        self.known_nodes -= 1;
        self.forget_images(&before);
        self.topologies.get_mut().clear();
        self.reclaim(id);
        true
    }

    /// The number of nodes that have an image.
    pub(crate) fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    fn forget_images(&mut self, node: &Node) {
        for (image, _) in &node.images {
            if let Some(count) = self.images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(image);
                }
            }
        }
    }

    /// The slot of a node, allocated if necessary.
    fn slot(&mut self, name: &Arc<str>) -> NodeId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            // Four billion nodes do not fit into memory.
            NodeId(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
        });
        self.nodes[id.index()].node.name = name.clone();
        self.by_name.insert(name.clone(), id);
        id
    }

    /// Frees the slot of a node that neither exists nor has pods.
    fn reclaim(&mut self, id: NodeId) {
        let info = &mut self.nodes[id.index()];
        if !info.known && info.pods.is_empty() {
            self.by_name.remove(&info.node.name);
            *info = NodeInfo::default();
            self.free.push(id);
        }
    }

    /// Adds or updates a service or a controller.
    pub(crate) fn put_group(&mut self, group: Group) {
        self.groups.entry(group.kind).or_default().insert(key(&group.namespace, &group.name), group);
    }

    /// The nodes grouped by the value of the label `key`.
    pub(crate) fn topology(&self, key: &Arc<str>) -> Arc<Topology> {
        let mut topologies = self.topologies.lock();
        if let Some(known) = topologies.get(key) {
            return known.clone();
        }
        let made = Arc::new(Topology::new(key, self));
        topologies.insert(key.clone(), made.clone());
        made
    }

    /// Applies a pod bound to a node: adds, moves or updates it, or confirms an assumed pod. Returns the previous
    /// version.
    pub(crate) fn put_pod(&mut self, pod: Arc<Pod>) -> Option<Arc<Pod>> {
        let Some(name) = pod.node.clone() else { return self.remove_pod(&pod.uid) };
        let before = self.remove_pod(&pod.uid);
        let node = self.slot(&name);
        self.place(pod, node, false);
        before
    }

    /// Counts a pod on a node while its binding is in flight.
    pub(crate) fn assume(&mut self, pod: Arc<Pod>, node: NodeId) {
        self.remove_pod(&pod.uid);
        self.place(pod, node, true);
    }

    /// Removes a pod from its node; returns it.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let placed = self.take(uid)?;
        self.reclaim(placed.node);
        Some(placed.pod)
    }

    /// Removes an assumed pod; a pod confirmed meanwhile stays. Returns whether it was removed.
    pub(crate) fn forget(&mut self, uid: &str) -> bool {
        let assumed = self.is_assumed(uid);
        if assumed {
            self.remove_pod(uid);
        }
        assumed
    }

    /// Whether a pod counts on a node.
    pub(crate) fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// Whether a pod is assumed.
    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    /// The number of pods on nodes, and how many of them are assumed.
    pub(crate) fn pod_counts(&self) -> (usize, usize) {
        (self.pods.len(), self.assumed)
    }

    /// The uids of all pods that the API server has confirmed on a node.
    pub(crate) fn confirmed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pods.iter().filter(|(_, placed)| !placed.assumed).map(|(uid, _)| uid)
    }

    fn place(&mut self, pod: Arc<Pod>, node: NodeId, assumed: bool) {
        self.populations.add(&pod, node);
        self.nodes[node.index()].add(pod.clone());
        self.assumed += usize::from(assumed);
        self.pods.insert(pod.uid.clone(), Placed { node, pod, assumed });
    }

    /// Reverts `place`. The node's slot stays, even when it is empty.
    fn take(&mut self, uid: &str) -> Option<Placed> {
        let placed = self.pods.remove(uid)?;
        self.assumed -= usize::from(placed.assumed);
        self.nodes[placed.node.index()].remove(uid);
        self.populations.remove(&placed.pod, placed.node);
        Some(placed)
    }

    /// Runs `query` as if these pods did not exist.
    pub(crate) fn without<T>(&mut self, uids: &[Arc<str>], query: impl FnOnce(&mut Cluster) -> T) -> T {
        // Not `remove_pod`: the slot of the node must stay.
        let removed: Vec<_> = uids.iter().filter_map(|uid| self.take(uid)).collect();
        let result = query(self);
        for Placed { pod, node, assumed } in removed {
            self.place(pod, node, assumed);
        }
        result
    }

    /// Runs `query` as if these pods were on this node.
    pub(crate) fn with<T>(&mut self, pods: &[Arc<Pod>], node: NodeId, query: impl FnOnce(&Cluster) -> T) -> T {
        let missing: Vec<_> = pods.iter().filter(|pod| !self.pods.contains_key(&pod.uid)).cloned().collect();
        for pod in &missing {
            self.place(pod.clone(), node, true);
        }
        let result = query(self);
        for pod in &missing {
            self.remove_pod(&pod.uid);
        }
        result
    }

    /// Every population.
    pub(crate) fn populations(&self) -> impl Iterator<Item = &Population> {
        self.populations.all()
    }

    /// Populations with required anti-affinity.
    pub(crate) fn populations_with_anti_affinity(&self) -> impl Iterator<Item = &Population> {
        self.populations.with_anti_affinity()
    }

    /// Populations with any pod affinity or anti-affinity term.
    pub(crate) fn populations_with_pod_terms(&self) -> impl Iterator<Item = &Population> {
        self.populations.with_pod_terms()
    }
}
