//! What a scheduler has to know of a pod.
//!
//! Nearly all of it is the same for every pod of one controller: it lives in a [`Shape`], which such pods share. A pod
//! of its own is little more than a name and a place.

use std::fmt;
use std::sync::Arc;

use super::affinity::NodeSelector;
use super::affinity::NodeTerm;
use super::affinity::PodTerm;
use super::affinity::Spread;
use super::labels::Labels;
use super::node::Toleration;
use super::resources::Resources;

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub uid: Arc<str>,
    pub name: Box<str>,
    pub shape: Arc<Shape>,
    /// Where it is bound to.
    pub node: Option<Arc<str>>,
    /// Where it is to go once those that make room for it are gone.
    pub nominated: Option<Arc<str>>,
    /// Somebody deletes it.
    pub terminating: bool,
    /// It is deleted because a scheduler chose it to make room.
    pub preempted: bool,
    /// It has ended: it takes no room any more.
    pub finished: bool,
    /// It has scheduling gates: nobody may place it yet.
    pub gated: bool,
    /// When it was made, in seconds since 1970. Only people look at this.
    pub created: i64,
    /// When it started, in seconds since 1970; a pod that has not is later than all that have.
    pub started: i64,
    /// The message of its condition PodScheduled=False, if it has that.
    pub unscheduled: Option<Arc<str>>,
}

impl Pod {
    pub fn namespace(&self) -> &Arc<str> {
        &self.shape.namespace
    }

    /// How far it has come, as long as it has no node.
    pub fn standing(&self) -> Standing<'_> {
        match (&self.nominated, &self.unscheduled) {
            _ if self.gated => Standing::Gated,
            (Some(node), _) => Standing::Nominated(node),
            (None, Some(message)) => Standing::Refused(message),
            (None, None) => Standing::New,
        }
    }

    /// Whether it takes part of a node.
    pub fn is_placed(&self) -> bool {
        self.node.is_some() && !self.finished
    }

    /// The name of the claim that a volume of this pod is about.
    pub fn claim_name(&self, claim: &ClaimRef) -> String {
        match claim {
            ClaimRef::Named(name) => name.to_string(),
            ClaimRef::Ephemeral(volume) => format!("{}-{volume}", self.name),
        }
    }
}

/// How far a pod that waits has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Nobody may place it yet.
    Gated,
    /// It waits for others to leave this node.
    Nominated(&'a str),
    /// It fitted nowhere when it was tried last, with what was said then.
    Refused(&'a str),
    New,
}

/// `namespace/name`.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shape.namespace, self.name)
    }
}

/// All that decides where a pod may go and where it is best placed. Equal pods share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    pub namespace: Arc<str>,
    pub labels: Labels,
    /// The scheduler that is asked to place it.
    pub scheduler: Arc<str>,
    pub priority: i32,
    /// Whether others may have to go for it.
    pub preempts: bool,
    pub requests: Resources,
    /// What it counts for in scores while it is to be placed: containers that ask for nothing count a little.
    pub wanted: Rough,
    /// The same, once it is placed.
    pub taken: Rough,
    pub ports: Box<[HostPort]>,
    pub tolerations: Box<[Toleration]>,
    pub node_selector: Labels,
    pub node_affinity: Option<NodeSelector>,
    pub preferred_nodes: Box<[(i32, NodeTerm)]>,
    pub affinity: Box<[PodTerm]>,
    pub anti_affinity: Box<[PodTerm]>,
    pub preferred_affinity: Box<[(i32, PodTerm)]>,
    pub preferred_anti_affinity: Box<[(i32, PodTerm)]>,
    pub spread: Box<[Spread]>,
    pub claims: Box<[ClaimRef]>,
    pub disks: Box<[Disk]>,
    /// The image of each container, and of each init container.
    pub images: Box<[Arc<str>]>,
    /// The controller, when it is of a kind that spreads its pods.
    pub owner: Option<Owner>,
    /// What it asks for that this scheduler cannot give, by name of the field.
    pub unsupported: Box<[Box<str>]>,
}

impl Shape {
    /// Whether it has a say in where others of some kind go, or the others in where it goes.
    pub fn has_pod_terms(&self) -> bool {
        !(self.affinity.is_empty()
            && self.anti_affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty())
    }
}

/// Processor and memory as scores count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rough {
    pub cpu: i64,
    pub memory: i64,
}

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `0.0.0.0` stands for every address.
    pub ip: Arc<str>,
    pub protocol: Arc<str>,
    pub port: i32,
}

impl HostPort {
    pub const EVERY_IP: &'static str = "0.0.0.0";

    /// Whether two pods with these ports cannot be on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || *self.ip == *Self::EVERY_IP || *other.ip == *Self::EVERY_IP)
    }
}

/// The persistent volume claim of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClaimRef {
    Named(Arc<str>),
    /// A claim made for this pod; here is the volume's name.
    Ephemeral(Arc<str>),
}

/// A disk named in the pod itself, of a kind that only one node or pod can write to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    /// What has to be equal to be the same disk.
    pub id: Arc<str>,
    /// The servers, for kinds that are the same disk as soon as they have one in common.
    pub monitors: Box<[Arc<str>]>,
    /// Two that only read do not disturb each other.
    pub shareable: bool,
}

impl Disk {
    pub fn conflicts(&self, other: &Disk) -> bool {
        let common = self.monitors.is_empty() || self.monitors.iter().any(|monitor| other.monitors.contains(monitor));
        self.id == other.id && common && !(self.shareable && other.shareable)
    }
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub kind: OwnerKind,
    pub name: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    ReplicationController,
    ReplicaSet,
    StatefulSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_conflict_by_number_protocol_and_address() {
        let port = |ip: &str, protocol: &str, port| HostPort { ip: Arc::from(ip), protocol: Arc::from(protocol), port };
        for (a, b, conflict) in [
            (port("0.0.0.0", "TCP", 80), port("10.0.0.1", "TCP", 80), true),
            (port("10.0.0.1", "TCP", 80), port("0.0.0.0", "TCP", 80), true),
            (port("10.0.0.1", "TCP", 80), port("10.0.0.2", "TCP", 80), false),
            (port("10.0.0.1", "TCP", 80), port("10.0.0.1", "UDP", 80), false),
            (port("0.0.0.0", "TCP", 80), port("0.0.0.0", "TCP", 81), false),
        ] {
            assert_eq!(a.conflicts(&b), conflict, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_disk_is_shared_only_by_readers() {
        let disk = |monitors: &[&str], shareable| Disk {
            id: Arc::from("rbd/pool/image"),
            monitors: monitors.iter().map(|monitor| Arc::from(*monitor)).collect(),
            shareable,
        };
        assert!(disk(&[], false).conflicts(&disk(&[], true)));
        assert!(!disk(&[], true).conflicts(&disk(&[], true)));
        assert!(disk(&["a", "b"], false).conflicts(&disk(&["b"], false)));
        assert!(!disk(&["a"], false).conflicts(&disk(&["b"], false)));
    }
}
