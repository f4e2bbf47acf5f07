//! The cluster and the queue, kept current from the reflectors. Pure: updates go in, and pods that an update may help
//! are requeued.
//!
//! Callers: `run` and the subcommands; each owns one `Store`.

use std::collections::HashMap;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::cluster::Cluster;
use super::cluster::key;
use super::filter::ClusterEvents;

use super::model::Node;
use super::model::Pod;
use super::queue::MonotonicTime;
use super::queue::Queue;
use super::update::Change;
use super::update::Kind;
use super::update::Update;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Nodes, pods on them, volumes and policies.
    pub(crate) cluster: Cluster,
    /// Pods without a node.
    pub(crate) queue: Queue,
    /// Scheduler names whose pods are queued here.
    names: HashSet<Arc<str>>,
    /// Objects applied since their list started.
    listed: Listed,
    /// Kinds that have been listed completely.
    synced: HashSet<Kind>,
}

/// Names (for pods: uids) by kind. A kind is present only while it is being listed.
type Listed = HashMap<Kind, HashSet<String>>;

impl Store {
    /// An empty store whose queue takes the pods of these schedulers.
    pub(crate) fn new(names: impl IntoIterator<Item = Arc<str>>) -> Store {
        Store { names: names.into_iter().collect(), ..Store::default() }
    }

    /// Whether every kind has been listed (client-go's `HasSynced`).
    pub(crate) fn is_synced(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.synced.contains(kind))
    }

    /// Applies an update and requeues the pods it may help.
    pub(crate) fn apply(&mut self, update: Update, now: MonotonicTime) {
        let events = match update {
            Update::Pod(change) => self.pod(change, now),
            Update::Node(change) => self.node(change),
            Update::Namespace(change) => {
                self.apply_to_map(change, Kind::Namespace, ClusterEvents::NAMESPACE, |cluster| {
                    KindMap::new(&mut cluster.namespaces, |namespace| (namespace.name, namespace.labels))
                })
            }
            Update::Claim(change) => self.apply_to_map(change, Kind::Claim, ClusterEvents::CLAIM, |cluster| {
                KindMap::new(&mut cluster.storage.claims, |claim| (key(&claim.namespace, &claim.name), Arc::new(claim)))
            }),
            Update::Volume(change) => self.apply_to_map(change, Kind::Volume, ClusterEvents::VOLUME, |cluster| {
                KindMap::new(&mut cluster.storage.volumes, |volume| (volume.name.clone(), Arc::new(volume)))
            }),
            Update::Class(change) => self.apply_to_map(change, Kind::Class, ClusterEvents::STORAGE_CLASS, |cluster| {
                KindMap::new(&mut cluster.storage.classes, |class| (class.name.clone(), class))
            }),
            Update::CsiNode(change) => self.apply_to_map(change, Kind::CsiNode, ClusterEvents::CSI, |cluster| {
                KindMap::new(&mut cluster.storage.csi_nodes, |node| (node.name.clone(), node))
            }),
            Update::CsiDriver(change) => self.apply_to_map(change, Kind::CsiDriver, ClusterEvents::CSI, |cluster| {
                KindMap::new(&mut cluster.storage.csi_drivers, |driver| (driver.name.clone(), driver))
            }),
            Update::Capacity(change) => self.apply_to_map(change, Kind::Capacity, ClusterEvents::CSI, |cluster| {
                let entry_of = |capacity: super::model::Capacity| (key(&capacity.namespace, &capacity.name), capacity);
                KindMap::new(&mut cluster.storage.capacities, entry_of)
            }),
            Update::Attachment(change) => self.apply_to_map(change, Kind::Attachment, ClusterEvents::CSI, |cluster| {
                KindMap::new(&mut cluster.storage.attachments, |attachment| (attachment.name.clone(), attachment))
            }),
            Update::Budget(change) => self.apply_to_map(change, Kind::Budget, ClusterEvents::NONE, |cluster| {
                KindMap::new(&mut cluster.budgets, |budget| (key(&budget.namespace, &budget.name), budget))
            }),
            Update::Group(kind, change) => self.apply_to_map(change, kind.into(), ClusterEvents::NONE, |cluster| {
                let groups = cluster.groups.entry(kind).or_default();
                KindMap::new(groups, |group| (key(&group.namespace, &group.name), group))
            }),
        };
        self.queue.requeue(events, now);
    }

    fn pod(&mut self, change: Change<Pod>, now: MonotonicTime) -> ClusterEvents {
        match change {
            Change::ListStarted => self.start_list(Kind::Pod),
            Change::Applied(pod) => {
                mark_listed(&mut self.listed, Kind::Pod, &pod.uid);
                self.put_pod(Arc::new(pod), now)
            }
            Change::Deleted(pod) => self.remove_pod(&pod.uid),
            Change::ListComplete => {
                let listed = self.finish_list(Kind::Pod);
                let waiting = self.queue.pods().map(|pod| &pod.uid);
                let unlisted = |uid: &&Arc<str>| !listed.contains(&***uid);
                let gone: Vec<_> = self.cluster.confirmed().chain(waiting).filter(unlisted).cloned().collect();
                gone.iter().fold(ClusterEvents::NONE, |events, uid| events | self.remove_pod(uid))
            }
        }
    }

    /// Applies a pod as the API server has it. Also called with the result of a GET after an ambiguous response.
    pub(crate) fn put_pod(&mut self, pod: Arc<Pod>, now: MonotonicTime) -> ClusterEvents {
        if pod.finished {
            return self.remove_pod(&pod.uid);
        }
        if pod.node.is_some() {
            self.queue.remove(&pod.uid);
            let cleared = self.cluster.nominations.remove(&pod.uid).filter(|node| pod.node.as_ref() != Some(node));
            let was_assumed = self.cluster.is_assumed(&pod.uid);
            let before = self.cluster.put_pod(pod.clone());
            return pod_events(before.filter(|_| !was_assumed).as_deref(), &pod) | nomination_cleared(cleared);
        }
        if !self.names.contains(&pod.shape.scheduler) || pod.terminating {
            self.queue.remove(&pod.uid);
            return nomination_cleared(self.cluster.nominations.remove(&pod.uid));
        }
        if self.cluster.has_pod(&pod.uid) && self.queue.get(&pod.uid).is_none() {
            // The pod is bound, and this is an older version of it: for example the response to our own status patch.
            return ClusterEvents::NONE;
        }
        let pod = self.cluster.nominations.with_unconfirmed(pod);
        self.queue.put(pod.clone(), now);
        if self.cluster.is_assumed(&pod.uid) {
            ClusterEvents::NONE
        } else {
            nomination_cleared(self.cluster.nominations.put(pod))
        }
    }

    fn remove_pod(&mut self, uid: &str) -> ClusterEvents {
        self.queue.remove(uid);
        let cleared = self.cluster.nominations.remove(uid);
        let placed = self.cluster.remove_pod(uid);
        if placed.is_some() { ClusterEvents::POD_REMOVED } else { nomination_cleared(cleared) }
    }

    /// Reserves a node for a pending pod. Returns the pod with its nomination.
    pub(crate) fn nominate(&mut self, pod: &Pod, node: &Arc<str>, now: MonotonicTime) -> Arc<Pod> {
        let (pod, before) = self.cluster.nominations.nominate(pod, node);
        self.queue.put(pod.clone(), now);
        self.queue.requeue(nomination_cleared(before), now);
        pod
    }

    /// Clears a pod's nomination. Pods waiting for that node, this one included, are requeued.
    pub(crate) fn clear_nomination(&mut self, pod: &Pod, now: MonotonicTime) {
        let events = nomination_cleared(self.cluster.nominations.remove(&pod.uid));
        self.queue.put(Arc::new(Pod { nominated: None, ..Pod::clone(pod) }), now);
        self.queue.requeue(events, now);
    }

    fn node(&mut self, change: Change<Node>) -> ClusterEvents {
        match change {
            Change::ListStarted => self.start_list(Kind::Node),
            Change::Applied(node) => {
                mark_listed(&mut self.listed, Kind::Node, &node.name);
                self.put_node(node)
            }
            Change::Deleted(node) => self.remove_node(&node.name),
            Change::ListComplete => {
                let listed = self.finish_list(Kind::Node);
                let names = self.cluster.nodes().map(|(_, info)| &info.node.name);
                let gone: Vec<_> = names.filter(|name| !listed.contains(&***name)).cloned().collect();
                gone.iter().fold(ClusterEvents::NONE, |events, name| events | self.remove_node(name))
            }
        }
    }

    fn put_node(&mut self, node: Node) -> ClusterEvents {
        // A heartbeat changes no field that scheduling depends on.
        let known = self.cluster.node_named(&node.name);
        if known.is_some_and(|id| self.cluster.node(id).node == node) {
            return ClusterEvents::NONE;
        }
        let after = node.clone();
        match self.cluster.put_node(node) {
            None => ClusterEvents::NODE_ADDED,
            Some(before) => node_events(&before, &after),
        }
    }

    fn remove_node(&mut self, name: &str) -> ClusterEvents {
        if self.cluster.remove_node(name) { ClusterEvents::NODE_REMOVED } else { ClusterEvents::NONE }
    }

    fn start_list(&mut self, kind: Kind) -> ClusterEvents {
        self.listed.insert(kind, HashSet::new());
        ClusterEvents::NONE
    }

    fn finish_list(&mut self, kind: Kind) -> HashSet<String> {
        self.synced.insert(kind);
        self.listed.remove(&kind).unwrap_or_default()
    }

    /// Applies a change of a kind stored in a map. Returns `events` if the map changed.
    fn apply_to_map<T, K, V>(
        &mut self,
        change: Change<T>,
        kind: Kind,
        events: ClusterEvents,
        map_of: impl for<'a> FnOnce(&'a mut Cluster) -> KindMap<'a, T, K, V>,
    ) -> ClusterEvents
    where
        K: Hash + Eq + AsRef<str>,
        V: PartialEq,
    {
        match change {
            Change::ListStarted => self.start_list(kind),
            Change::ListComplete => {
                let listed = self.finish_list(kind);
                let map = map_of(&mut self.cluster).map;
                let before = map.len();
                map.retain(|key, _| listed.contains(key.as_ref()));
                if map.len() == before { ClusterEvents::NONE } else { events }
            }
            Change::Applied(object) => {
                let KindMap { map, entry_of } = map_of(&mut self.cluster);
                let (key, value) = entry_of(object);
                mark_listed(&mut self.listed, kind, key.as_ref());
                if map.get(&key) == Some(&value) {
                    return ClusterEvents::NONE;
                }
                map.insert(key, value);
                events
            }
            Change::Deleted(object) => {
                let KindMap { map, entry_of } = map_of(&mut self.cluster);
                map.remove(&entry_of(object).0);
                events
            }
        }
    }
}

/// Records that an object exists, if its kind is being listed.
fn mark_listed(listed: &mut Listed, kind: Kind, name: &str) {
    if let Some(listed) = listed.get_mut(&kind) {
        listed.insert(name.to_owned());
    }
}

/// The map that stores a kind, and how an object becomes its key and value.
struct KindMap<'a, T, K, V> {
    map: &'a mut HashMap<K, V>,
    entry_of: fn(T) -> (K, V),
}

impl<'a, T, K, V> KindMap<'a, T, K, V> {
    fn new(map: &'a mut HashMap<K, V>, entry_of: fn(T) -> (K, V)) -> Self {
        KindMap { map, entry_of }
    }
}

/// A cleared nomination frees room like a deleted pod.
fn nomination_cleared(node: Option<Arc<str>>) -> ClusterEvents {
    if node.is_some() { ClusterEvents::POD_REMOVED } else { ClusterEvents::NONE }
}

/// What a pod's arrival on a node, or its change there, means for other pods.
fn pod_events(before: Option<&Pod>, after: &Pod) -> ClusterEvents {
    let Some(before) = before else { return ClusterEvents::POD_ADDED };
    let (was, is) = (&before.shape, &after.shape);
    let shrunk = || {
        let less = |was: i64, is: i64| is < was;
        less(was.requests.cpu, is.requests.cpu)
            || less(was.requests.memory, is.requests.memory)
            || less(was.requests.ephemeral_storage, is.requests.ephemeral_storage)
            || was.requests.named.iter().any(|(name, amount)| is.requests.get(name) < *amount)
    };
    let mut events = ClusterEvents::NONE;
    if !Arc::ptr_eq(was, is) && was.labels != is.labels {
        events = events | ClusterEvents::POD_ADDED | ClusterEvents::POD_REMOVED;
    }
    if (!Arc::ptr_eq(was, is) && shrunk()) || (after.terminating && !before.terminating) {
        events = events | ClusterEvents::POD_REMOVED;
    }
    events
}

/// What changed on a node.
fn node_events(before: &Node, after: &Node) -> ClusterEvents {
    let mut events = ClusterEvents::NONE;
    if before.allocatable != after.allocatable || before.max_pods != after.max_pods {
        events = events | ClusterEvents::NODE_ALLOCATABLE;
    }
    if before.labels != after.labels {
        events = events | ClusterEvents::NODE_LABELS;
    }
    if before.taints != after.taints || before.unschedulable != after.unschedulable {
        events = events | ClusterEvents::NODE_TAINTS;
    }
    events
}

#[cfg(test)]
mod tests;
