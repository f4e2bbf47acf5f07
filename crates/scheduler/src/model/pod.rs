//! Pods, as far as scheduling depends on them.
//!
//! Most of a pod is the same for all pods of one controller: it is in a [`Shape`], which such pods share. The pod
//! itself is little more than a name and a node.

use std::fmt;
use std::sync::Arc;

use super::affinity::NodeSelector;
use super::affinity::NodeTerm;
use super::affinity::PodTerm;
use super::affinity::Spread;
use super::labels::Labels;
use super::node::Node;
use super::node::Taint;
use super::node::Toleration;
use super::node::find_untolerated_taint;
use super::resources::Resources;

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    /// The uid, or `namespace/name` if the API server sent none.
    pub(crate) uid: Arc<str>,
    /// `metadata.name`.
    pub(crate) name: Box<str>,
    /// What it has in common with equal pods.
    pub(crate) shape: Arc<Shape>,
    /// The node it is bound to.
    pub(crate) node: Option<Arc<str>>,
    /// The node nominated for it (`status.nominatedNodeName`).
    pub(crate) nominated: Option<Arc<str>>,
    /// It is being deleted.
    pub(crate) terminating: bool,
    /// It is being deleted because a scheduler preempted it.
    pub(crate) preempted: bool,
    /// Succeeded or Failed: it uses no resources any more.
    pub(crate) finished: bool,
    /// It has scheduling gates and must not be scheduled yet.
    pub(crate) gated: bool,
    /// Creation time in seconds since 1970, for display only.
    pub(crate) created: i64,
    /// Start time in seconds since 1970; the maximum for a pod that has not started.
    pub(crate) started: i64,
    /// The message of its condition PodScheduled=False, if it has that.
    pub(crate) unscheduled: Option<Arc<str>>,
}

impl Pod {
    /// `metadata.namespace`.
    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.shape.namespace
    }

    /// Why it is pending, as long as it has no node.
    pub(crate) fn pending_state(&self) -> PendingState<'_> {
        match (&self.nominated, &self.unscheduled) {
            _ if self.gated => PendingState::Gated,
            (Some(node), _) => PendingState::Nominated(node),
            (None, Some(message)) => PendingState::Unschedulable(message),
            (None, None) => PendingState::New,
        }
    }

    /// Whether it counts on a node.
    pub(crate) fn is_placed(&self) -> bool {
        self.node.is_some() && !self.finished
    }

    /// The name of the claim that a volume of this pod refers to.
    pub(crate) fn claim_name(&self, claim: &ClaimRef) -> String {
        match claim {
            ClaimRef::Named(name) => name.to_string(),
            ClaimRef::Ephemeral(volume) => format!("{}-{volume}", self.name),
        }
    }
}

/// Why a pod is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingState<'a> {
    /// It has scheduling gates.
    Gated,
    /// Its victims on this node are terminating.
    Nominated(&'a str),
    /// No node fit in the last attempt, with that attempt's message.
    Unschedulable(&'a str),
    /// It has not been tried yet.
    New,
}

/// `namespace/name`.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shape.namespace, self.name)
    }
}

/// Everything that decides which nodes fit and how they score. Equal pods share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// `metadata.namespace`.
    pub(crate) namespace: Arc<str>,
    /// `metadata.labels`.
    pub(crate) labels: Labels,
    /// `spec.schedulerName`.
    pub(crate) scheduler: Arc<str>,
    /// `spec.priority`.
    pub(crate) priority: i32,
    /// Whether it may preempt other pods.
    pub(crate) preempts: bool,
    /// What it requests, by Kubernetes' formula for pods.
    pub(crate) requests: Resources,
    /// CPU and memory for scores while the pod is incoming. Containers without a request count with a default.
    pub(crate) nonzero_incoming: NonZeroRequests,
    /// CPU and memory for scores once the pod is on a node.
    pub(crate) nonzero_placed: NonZeroRequests,
    /// Host ports.
    pub(crate) ports: Box<[HostPort]>,
    /// `spec.tolerations`.
    pub(crate) tolerations: Box<[Toleration]>,
    /// `spec.nodeSelector`.
    pub(crate) node_selector: Labels,
    /// Required node affinity.
    pub(crate) node_affinity: Option<NodeSelector>,
    /// Preferred node affinity: weight and term.
    pub(crate) preferred_nodes: Box<[(i32, NodeTerm)]>,
    /// Required pod affinity.
    pub(crate) affinity: Box<[PodTerm]>,
    /// Required pod anti-affinity.
    pub(crate) anti_affinity: Box<[PodTerm]>,
    /// Preferred pod affinity: weight and term.
    pub(crate) preferred_affinity: Box<[(i32, PodTerm)]>,
    /// Preferred pod anti-affinity: weight and term.
    pub(crate) preferred_anti_affinity: Box<[(i32, PodTerm)]>,
    /// Topology spread constraints.
    pub(crate) spread: Box<[Spread]>,
    /// PersistentVolumeClaims of its volumes.
    pub(crate) claims: Box<[ClaimRef]>,
    /// In-line disks with exclusive access.
    pub(crate) disks: Box<[Disk]>,
    /// The image of each container and init container.
    pub(crate) images: Box<[Arc<str>]>,
    /// The controller, if it is of a kind whose pods are spread.
    pub(crate) owner: Option<Owner>,
    /// Fields that this scheduler does not support or cannot read, for the refusal.
    pub(crate) unsupported: Box<[Box<str>]>,
}

impl Shape {
    /// Whether it has any pod affinity or anti-affinity term.
    pub(crate) fn has_pod_terms(&self) -> bool {
        !(self.affinity.is_empty()
            && self.anti_affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty())
    }
}

/// Whether a node matches a pod's node selector and required node affinity.
pub(crate) fn node_matches(shape: &Shape, node: &Node) -> bool {
    shape.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && shape.node_affinity.as_ref().is_none_or(|selector| selector.matches(&node.name, &node.labels))
}

impl Spread {
    /// Whether a node's pods count for a pod of this shape.
    pub(crate) fn counts(&self, shape: &Shape, node: &Node) -> bool {
        let allowed = |taints: &[Taint]| find_untolerated_taint(taints, &shape.tolerations).is_none();
        (!self.honor_affinity || node_matches(shape, node)) && (!self.honor_taints || allowed(&node.taints))
    }
}

/// CPU (millicores) and memory (bytes) as scores count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct NonZeroRequests {
    /// In millicores.
    pub(crate) cpu: i64,
    /// In bytes.
    pub(crate) memory: i64,
}

/// A host port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    /// `0.0.0.0` stands for every address.
    pub(crate) ip: Arc<str>,
    /// TCP, UDP or SCTP.
    pub(crate) protocol: Arc<str>,
    /// The number.
    pub(crate) port: i32,
}

impl HostPort {
    /// The address that stands for every address.
    pub(crate) const EVERY_IP: &'static str = "0.0.0.0";

    /// Whether pods with these ports cannot be on one node.
    pub(crate) fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || *self.ip == *Self::EVERY_IP || *other.ip == *Self::EVERY_IP)
    }
}

/// The PersistentVolumeClaim of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClaimRef {
    /// A claim by name.
    Named(Arc<str>),
    /// A claim made for a generic ephemeral volume; this is the volume's name.
    Ephemeral(Arc<str>),
}

/// An in-line disk of a kind that allows one writer only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    /// Equal for the same disk.
    pub(crate) id: Arc<str>,
    /// RBD monitors: the disk is the same only if one monitor is in common. Empty for other kinds.
    pub(crate) monitors: Box<[Arc<str>]>,
    /// Mounted read-only: two such pods do not conflict.
    pub(crate) shareable: bool,
}

impl Disk {
    /// Whether pods with these disks cannot be on one node.
    pub(crate) fn conflicts(&self, other: &Disk) -> bool {
        let common = self.monitors.is_empty() || self.monitors.iter().any(|monitor| other.monitors.contains(monitor));
        self.id == other.id && common && !(self.shareable && other.shareable)
    }
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// Its kind.
    pub(crate) kind: OwnerKind,
    /// Its name, in the pod's namespace.
    pub(crate) name: Arc<str>,
}

/// The kinds of controllers whose pods are spread by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OwnerKind {
    /// A ReplicationController.
    ReplicationController,
    /// A ReplicaSet.
    ReplicaSet,
    /// A StatefulSet.
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
