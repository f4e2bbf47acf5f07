//! The cluster and the pods that wait, kept as the API server tells. Pure: updates go in, and what they can help comes
//! out.
//!
//! Who calls in: `run` and the subcommands, each as the one owner of a `World`.

use std::collections::HashMap;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::cluster::Cluster;
use super::cluster::key;
use super::filter::Events;
use super::model::GroupKind;
use super::model::Node;
use super::model::Pod;
use super::queue::Moment;
use super::queue::Queue;
use super::update::Change;
use super::update::Update;

/// How many kinds are followed: so many lists have to be complete before decisions can be made.
const KINDS: usize = 15;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct World {
    pub cluster: Cluster,
    pub queue: Queue,
    /// Names of schedulers whose pods wait here.
    names: HashSet<Arc<str>>,
    /// What has been put since a list began.
    listed: Listed,
    /// Kinds that were listed completely once.
    complete: HashSet<Kind>,
}

/// Names, or uids, by kind; a kind that is not being listed is not there.
type Listed = HashMap<Kind, HashSet<String>>;

/// A kind, for counting lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Pod,
    Node,
    Namespace,
    Claim,
    Volume,
    Class,
    CsiNode,
    CsiDriver,
    Capacity,
    Attachment,
    Budget,
    Group(GroupKind),
}

impl World {
    /// A world in which the pods wait that ask for one of these schedulers.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> World {
        World { names: names.into_iter().collect(), ..World::default() }
    }

    /// Whether every kind has been listed.
    pub fn is_complete(&self) -> bool {
        self.complete.len() == KINDS
    }

    /// Takes note of news, and wakes pods that they can help.
    pub fn apply(&mut self, update: Update, now: Moment) {
        let events = match update {
            Update::Pod(change) => self.pod(change, now),
            Update::Node(change) => self.node(change),
            Update::Namespace(change) => self.keep(change, Kind::Namespace, Events::NAMESPACE, |cluster| {
                Keep::new(&mut cluster.namespaces, |namespace| (namespace.name, namespace.labels))
            }),
            Update::Claim(change) => self.keep(change, Kind::Claim, Events::CLAIM, |cluster| {
                Keep::new(&mut cluster.storage.claims, |claim| (key(&claim.namespace, &claim.name), Arc::new(claim)))
            }),
            Update::Volume(change) => self.keep(change, Kind::Volume, Events::VOLUME, |cluster| {
                Keep::new(&mut cluster.storage.volumes, |volume| (volume.name.clone(), Arc::new(volume)))
            }),
            Update::Class(change) => self.keep(change, Kind::Class, Events::STORAGE_CLASS, |cluster| {
                Keep::new(&mut cluster.storage.classes, |class| (class.name.clone(), class))
            }),
            Update::CsiNode(change) => self.keep(change, Kind::CsiNode, Events::CSI, |cluster| {
                Keep::new(&mut cluster.storage.csi_nodes, |node| (node.name.clone(), node))
            }),
            Update::CsiDriver(change) => self.keep(change, Kind::CsiDriver, Events::CSI, |cluster| {
                Keep::new(&mut cluster.storage.csi_drivers, |driver| (driver.name.clone(), driver))
            }),
            Update::Capacity(change) => self.keep(change, Kind::Capacity, Events::CSI, |cluster| {
                let named = |capacity: super::model::Capacity| (key(&capacity.namespace, &capacity.name), capacity);
                Keep::new(&mut cluster.storage.capacities, named)
            }),
            Update::Attachment(change) => self.keep(change, Kind::Attachment, Events::CSI, |cluster| {
                Keep::new(&mut cluster.storage.attachments, |attachment| (attachment.name.clone(), attachment))
            }),
            Update::Budget(change) => self.keep(change, Kind::Budget, Events::NONE, |cluster| {
                Keep::new(&mut cluster.budgets, |budget| (key(&budget.namespace, &budget.name), budget))
            }),
            Update::Group(kind, change) => self.keep(change, Kind::Group(kind), Events::NONE, |cluster| {
                let groups = cluster.groups.entry(kind).or_default();
                Keep::new(groups, |group| (key(&group.namespace, &group.name), group))
            }),
        };
        self.queue.wake(events, now);
    }

    // --- pods ---

    fn pod(&mut self, change: Change<Pod>, now: Moment) -> Events {
        match change {
            Change::Begin => self.begin(Kind::Pod),
            Change::Put(pod) => {
                note(&mut self.listed, Kind::Pod, &pod.uid);
                self.put_pod(Arc::new(pod), now)
            }
            Change::Gone(pod) => self.remove_pod(&pod.uid),
            Change::Complete => {
                let listed = self.complete(Kind::Pod);
                let waiting = self.queue.pods().map(|pod| &pod.uid);
                let unlisted = |uid: &&Arc<str>| !listed.contains(&***uid);
                let gone: Vec<_> = self.cluster.confirmed().chain(waiting).filter(unlisted).cloned().collect();
                gone.iter().fold(Events::NONE, |events, uid| events | self.remove_pod(uid))
            }
        }
    }

    /// Takes note of a pod as the API server has it. Also called by who has asked for it, after a doubtful answer.
    pub fn put_pod(&mut self, pod: Arc<Pod>, now: Moment) -> Events {
        if pod.finished {
            return self.remove_pod(&pod.uid);
        }
        if pod.node.is_some() {
            self.queue.remove(&pod.uid);
            let kept = self.cluster.nominations.remove(&pod.uid).filter(|node| pod.node.as_ref() != Some(node));
            let was_assumed = self.cluster.is_assumed(&pod.uid);
            let before = self.cluster.put_pod(pod.clone());
            return came(before.filter(|_| !was_assumed).as_deref(), &pod) | not_kept(kept);
        }
        if !self.names.contains(&pod.shape.scheduler) || pod.terminating {
            self.queue.remove(&pod.uid);
            return not_kept(self.cluster.nominations.remove(&pod.uid));
        }
        if self.cluster.has_pod(&pod.uid) && self.queue.get(&pod.uid).is_none() {
            // It has its node, and this is from before: perhaps what came of telling that it had none.
            return Events::NONE;
        }
        let pod = self.cluster.nominations.complete(pod);
        self.queue.put(pod.clone(), now);
        if self.cluster.is_assumed(&pod.uid) { Events::NONE } else { not_kept(self.cluster.nominations.put(pod)) }
    }

    fn remove_pod(&mut self, uid: &str) -> Events {
        self.queue.remove(uid);
        let kept = self.cluster.nominations.remove(uid);
        let placed = self.cluster.remove_pod(uid);
        if placed.is_some() { Events::POD_GONE } else { not_kept(kept) }
    }

    /// Keeps a node for a waiting pod; returns the pod as it is from now on.
    pub fn nominate(&mut self, pod: &Pod, node: &Arc<str>, now: Moment) -> Arc<Pod> {
        let (pod, before) = self.cluster.nominations.choose(pod, node);
        self.queue.put(pod.clone(), now);
        self.queue.wake(not_kept(before), now);
        pod
    }

    /// Keeps no node for a waiting pod any more. It is tried again if it waits for that node, as are others.
    pub fn denominate(&mut self, pod: &Pod, now: Moment) {
        let events = not_kept(self.cluster.nominations.remove(&pod.uid));
        self.queue.put(Arc::new(Pod { nominated: None, ..Pod::clone(pod) }), now);
        self.queue.wake(events, now);
    }

    // --- nodes ---

    fn node(&mut self, change: Change<Node>) -> Events {
        match change {
            Change::Begin => self.begin(Kind::Node),
            Change::Put(node) => {
                note(&mut self.listed, Kind::Node, &node.name);
                self.put_node(node)
            }
            Change::Gone(node) => self.remove_node(&node.name),
            Change::Complete => {
                let listed = self.complete(Kind::Node);
                let names = self.cluster.nodes().map(|(_, info)| &info.node.name);
                let gone: Vec<_> = names.filter(|name| !listed.contains(&***name)).cloned().collect();
                gone.iter().fold(Events::NONE, |events, name| events | self.remove_node(name))
            }
        }
    }

    fn put_node(&mut self, node: Node) -> Events {
        // A heartbeat changes nothing that matters here.
        let known = self.cluster.node_named(&node.name);
        if known.is_some_and(|id| self.cluster.node(id).node == node) {
            return Events::NONE;
        }
        let after = node.clone();
        match self.cluster.put_node(node) {
            None => Events::NODE_ADDED,
            Some(before) => changed(&before, &after),
        }
    }

    fn remove_node(&mut self, name: &str) -> Events {
        if self.cluster.remove_node(name) { Events::NODE_REMOVED } else { Events::NONE }
    }

    // --- the rest ---

    fn begin(&mut self, kind: Kind) -> Events {
        self.listed.insert(kind, HashSet::new());
        Events::NONE
    }

    fn complete(&mut self, kind: Kind) -> HashSet<String> {
        self.complete.insert(kind);
        self.listed.remove(&kind).unwrap_or_default()
    }

    /// Keeps a kind in a map, and says that `events` happened if that changed.
    fn keep<T, K, V>(
        &mut self,
        change: Change<T>,
        kind: Kind,
        events: Events,
        keep: impl for<'a> FnOnce(&'a mut Cluster) -> Keep<'a, T, K, V>,
    ) -> Events
    where
        K: Hash + Eq + AsRef<str>,
        V: PartialEq,
    {
        match change {
            Change::Begin => self.begin(kind),
            Change::Complete => {
                let listed = self.complete(kind);
                let map = keep(&mut self.cluster).map;
                let before = map.len();
                map.retain(|key, _| listed.contains(key.as_ref()));
                if map.len() == before { Events::NONE } else { events }
            }
            Change::Put(object) => {
                let Keep { map, named } = keep(&mut self.cluster);
                let (key, value) = named(object);
                note(&mut self.listed, kind, key.as_ref());
                if map.get(&key) == Some(&value) {
                    return Events::NONE;
                }
                map.insert(key, value);
                events
            }
            Change::Gone(object) => {
                let Keep { map, named } = keep(&mut self.cluster);
                map.remove(&named(object).0);
                events
            }
        }
    }
}

/// Notes that something is there, if its kind is being listed.
fn note(listed: &mut Listed, kind: Kind, name: &str) {
    if let Some(listed) = listed.get_mut(&kind) {
        listed.insert(name.to_owned());
    }
}

/// Where objects of a kind are kept, and under what.
struct Keep<'a, T, K, V> {
    map: &'a mut HashMap<K, V>,
    named: fn(T) -> (K, V),
}

impl<'a, T, K, V> Keep<'a, T, K, V> {
    fn new(map: &'a mut HashMap<K, V>, named: fn(T) -> (K, V)) -> Self {
        Keep { map, named }
    }
}

/// What it means to others that this node is not kept for a pod any more: as much as if it had been there and left.
fn not_kept(node: Option<Arc<str>>) -> Events {
    if node.is_some() { Events::POD_GONE } else { Events::NONE }
}

/// What it means to others that a pod is on a node now, or has changed there.
fn came(before: Option<&Pod>, after: &Pod) -> Events {
    let Some(before) = before else { return Events::POD_PLACED };
    let (was, is) = (&before.shape, &after.shape);
    let shrunk = || {
        let less = |was: i64, is: i64| is < was;
        less(was.requests.cpu, is.requests.cpu)
            || less(was.requests.memory, is.requests.memory)
            || less(was.requests.ephemeral_storage, is.requests.ephemeral_storage)
            || was.requests.named.iter().any(|(name, amount)| is.requests.get(name) < *amount)
    };
    let mut events = Events::NONE;
    if !Arc::ptr_eq(was, is) && was.labels != is.labels {
        events = events | Events::POD_PLACED | Events::POD_GONE;
    }
    if (!Arc::ptr_eq(was, is) && shrunk()) || (after.terminating && !before.terminating) {
        events = events | Events::POD_GONE;
    }
    events
}

/// What is different about a node.
fn changed(before: &Node, after: &Node) -> Events {
    let mut events = Events::NONE;
    if before.allocatable != after.allocatable || before.max_pods != after.max_pods {
        events = events | Events::NODE_ALLOCATABLE;
    }
    if before.labels != after.labels {
        events = events | Events::NODE_LABELS;
    }
    if before.taints != after.taints || before.unschedulable != after.unschedulable {
        events = events | Events::NODE_TAINTS;
    }
    events
}

#[cfg(test)]
mod tests;
