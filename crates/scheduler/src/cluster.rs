//! All that a decision looks at, in memory: nodes with what runs on them, volumes, policies.
//!
//! One owner changes it, as the watches tell, and asks filters and scores in between. A pod that was chosen a place but
//! is not known to be bound yet is *assumed*: it takes its room at once, and until the watch confirms it or the binding
//! is known to have failed. Sums are kept per node, and equal pods are counted together ([`Population`]), so that a
//! decision does not walk over every pod there is. Nothing here does I/O.

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

pub use self::nominations::Nominations;
pub use self::population::Count;
pub use self::population::Population;
use self::population::Populations;
pub use self::storage::AssumedVolumes;
pub use self::storage::Storage;
pub use self::storage::VolumePlan;
pub(crate) use self::storage::key;
pub use self::topology::Topology;
use super::model::Budget;
use super::model::Group;
use super::model::GroupKind;
use super::model::HostPort;
use super::model::Labels;
use super::model::Node;
use super::model::Pod;
use super::model::Total;
use super::model::Totals;

/// A node's place in the cluster's lists, for as long as the node exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The place in a list with one entry per node (see [`Cluster::node_slots`]).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node and what takes room on it.
#[derive(Debug, Default)]
pub struct NodeInfo {
    pub node: Node,
    /// Whether the node exists. Pods can be bound to one that is not known yet, or no more.
    known: bool,
    /// What its pods ask for.
    pub requested: Totals,
    /// Processor and memory as scores count them.
    pub taken: (Total, Total),
    pub pods: Vec<Arc<Pod>>,
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.shape.requests);
        self.taken.0.add(pod.shape.taken.cpu);
        self.taken.1.add(pod.shape.taken.memory);
        self.ports.extend(pod.shape.ports.iter().cloned());
        self.pods.push(pod);
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|pod| *pod.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.remove(&pod.shape.requests);
        self.taken.0.remove(pod.shape.taken.cpu);
        self.taken.1.remove(pod.shape.taken.memory);
        for port in &pod.shape.ports {
            if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }
}

/// A pod that takes room.
#[derive(Debug)]
struct Placed {
    node: NodeId,
    pod: Arc<Pod>,
    /// Not confirmed by the API server yet.
    assumed: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<Arc<str>, NodeId>,
    free: Vec<NodeId>,
    known_nodes: usize,
    pods: HashMap<Arc<str>, Placed>,
    assumed: usize,
    populations: Populations,
    images: HashMap<Arc<str>, usize>,
    topologies: Mutex<HashMap<Arc<str>, Arc<Topology>>>,
    pub nominations: Nominations,
    pub storage: Storage,
    /// The labels of each namespace.
    pub namespaces: HashMap<Arc<str>, Labels>,
    /// By `namespace/name`.
    pub budgets: HashMap<String, Budget>,
    /// Services and controllers, by kind and `namespace/name`.
    pub groups: HashMap<GroupKind, HashMap<String, Group>>,
}

impl Cluster {
    // --- nodes ---

    /// Every node that exists.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeInfo)> {
        // The number of slots is limited where they are made.
        #[allow(clippy::cast_possible_truncation)]
        let numbered = self.nodes.iter().enumerate().map(|(at, info)| (NodeId(at as u32), info));
        numbered.filter(|(_, info)| info.known)
    }

    /// How many nodes exist.
    pub fn node_count(&self) -> usize {
        self.known_nodes
    }

    /// How long a list with one entry per [`NodeId`] has to be.
    pub fn node_slots(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&self, id: NodeId) -> &NodeInfo {
        &self.nodes[id.index()]
    }

    /// Whether a node exists, and is not just where some pod is bound to.
    pub fn is_known(&self, id: NodeId) -> bool {
        self.node(id).known
    }

    /// The node of this name, if it exists.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied().filter(|id| self.node(*id).known)
    }

    /// Adds or changes a node; returns what it was before.
    pub fn put_node(&mut self, node: Node) -> Option<Node> {
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

    /// Removes a node. Pods that are bound to it stay known until they are removed themselves.
    pub fn remove_node(&mut self, name: &str) -> bool {
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

    /// On how many nodes an image is.
    pub fn nodes_with_image(&self, image: &str) -> usize {
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

    /// The slot of a node, made if need be.
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

    /// Frees the slot of a node that is neither known nor has pods.
    fn reclaim(&mut self, id: NodeId) {
        let info = &mut self.nodes[id.index()];
        if !info.known && info.pods.is_empty() {
            self.by_name.remove(&info.node.name);
            *info = NodeInfo::default();
            self.free.push(id);
        }
    }

    // --- groups ---

    pub fn put_group(&mut self, group: Group) {
        self.groups.entry(group.kind).or_default().insert(key(&group.namespace, &group.name), group);
    }

    // --- topology ---

    /// Which nodes are together, by the value of the label `key`.
    pub fn topology(&self, key: &Arc<str>) -> Arc<Topology> {
        let mut topologies = self.topologies.lock();
        if let Some(known) = topologies.get(key) {
            return known.clone();
        }
        let made = Arc::new(Topology::new(key, self));
        topologies.insert(key.clone(), made.clone());
        made
    }

    // --- pods ---

    /// Takes note of a pod that takes room on a node, as the API server tells: adds it, moves it, changes it, or
    /// confirms what was assumed. Returns the pod as it was known before.
    pub fn put_pod(&mut self, pod: Arc<Pod>) -> Option<Arc<Pod>> {
        let Some(name) = pod.node.clone() else { return self.remove_pod(&pod.uid) };
        let before = self.remove_pod(&pod.uid);
        let node = self.slot(&name);
        self.place(pod, node, false);
        before
    }

    /// The pod takes room on the node from now on, though it is not bound yet.
    pub fn assume(&mut self, pod: Arc<Pod>, node: NodeId) {
        self.remove_pod(&pod.uid);
        self.place(pod, node, true);
    }

    /// Removes a pod, wherever it is; returns it.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let placed = self.take(uid)?;
        self.reclaim(placed.node);
        Some(placed.pod)
    }

    /// Takes an assumed pod back; a pod that has been confirmed since stays.
    pub fn forget(&mut self, uid: &str) -> bool {
        let assumed = self.is_assumed(uid);
        if assumed {
            self.remove_pod(uid);
        }
        assumed
    }

    /// Whether a pod takes room somewhere.
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// Whether a pod is assumed and not confirmed.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    /// How many pods take room, and how many of them are only assumed.
    pub fn pod_counts(&self) -> (usize, usize) {
        (self.pods.len(), self.assumed)
    }

    /// The uids of all pods that the API server told of.
    pub fn confirmed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pods.iter().filter(|(_, placed)| !placed.assumed).map(|(uid, _)| uid)
    }

    fn place(&mut self, pod: Arc<Pod>, node: NodeId, assumed: bool) {
        self.populations.add(&pod, node);
        self.nodes[node.index()].add(pod.clone());
        self.assumed += usize::from(assumed);
        self.pods.insert(pod.uid.clone(), Placed { node, pod, assumed });
    }

    /// The opposite of `place`. The slot of the node stays, even if nothing is in it any more.
    fn take(&mut self, uid: &str) -> Option<Placed> {
        let placed = self.pods.remove(uid)?;
        self.assumed -= usize::from(placed.assumed);
        self.nodes[placed.node.index()].remove(uid);
        self.populations.remove(&placed.pod, placed.node);
        Some(placed)
    }

    /// Asks a question as if these pods were not there.
    pub fn without<T>(&mut self, uids: &[Arc<str>], question: impl FnOnce(&mut Cluster) -> T) -> T {
        // Not `remove_pod`: the slot of the node must stay.
        let taken: Vec<_> = uids.iter().filter_map(|uid| self.take(uid)).collect();
        let answer = question(self);
        for Placed { pod, node, assumed } in taken {
            self.place(pod, node, assumed);
        }
        answer
    }

    /// Asks a question as if these pods were on this node.
    pub fn with<T>(&mut self, pods: &[Arc<Pod>], node: NodeId, question: impl FnOnce(&Cluster) -> T) -> T {
        let missing: Vec<_> = pods.iter().filter(|pod| !self.pods.contains_key(&pod.uid)).cloned().collect();
        for pod in &missing {
            self.place(pod.clone(), node, true);
        }
        let answer = question(self);
        for pod in &missing {
            self.remove_pod(&pod.uid);
        }
        answer
    }

    /// Pods that are equal, with where they are.
    pub fn populations(&self) -> impl Iterator<Item = &Population> {
        self.populations.all()
    }

    /// Those that keep some pods away.
    pub fn populations_with_anti_affinity(&self) -> impl Iterator<Item = &Population> {
        self.populations.with_anti_affinity()
    }

    /// Those with any term about other pods.
    pub fn populations_with_pod_terms(&self) -> impl Iterator<Item = &Population> {
        self.populations.with_pod_terms()
    }
}
