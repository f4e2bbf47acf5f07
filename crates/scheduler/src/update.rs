//! Changes of objects in the API server, as the reflectors deliver them.

use super::model::Attachment;
use super::model::Budget;
use super::model::Capacity;
use super::model::Claim;
use super::model::Class;
use super::model::CsiDriver;
use super::model::CsiNode;
use super::model::Group;
use super::model::GroupKind;
use super::model::Namespace;
use super::model::Node;
use super::model::OwnerKind;
use super::model::Pod;
use super::model::Volume;

/// A change of one kind of object.
#[derive(Debug)]
pub(crate) enum Change<T> {
    /// A list starts: every existing object follows as `Applied`.
    ListStarted,
    /// The object exists: it is new, changed, or part of a list.
    Applied(T),
    /// The object was deleted.
    Deleted(T),
    /// The list is complete: objects that were not applied since it started are deleted.
    ListComplete,
}

/// A change of any kind of object.
#[derive(Debug)]
pub(crate) enum Update {
    /// A pod that is not Succeeded or Failed.
    Pod(Change<Pod>),
    /// A node.
    Node(Change<Node>),
    /// A namespace.
    Namespace(Change<Namespace>),
    /// A PersistentVolumeClaim.
    Claim(Change<Claim>),
    /// A PersistentVolume.
    Volume(Change<Volume>),
    /// A StorageClass.
    Class(Change<Class>),
    /// A CSINode.
    CsiNode(Change<CsiNode>),
    /// A CSIDriver.
    CsiDriver(Change<CsiDriver>),
    /// A CSIStorageCapacity.
    Capacity(Change<Capacity>),
    /// A VolumeAttachment.
    Attachment(Change<Attachment>),
    /// A PodDisruptionBudget.
    Budget(Change<Budget>),
    /// A Service or a controller.
    Group(GroupKind, Change<Group>),
}

macro_rules! kinds {
    ($($kind:ident,)*) => {
        /// A kind of object that is listed and watched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// Every kind, in the order in which listing starts.
            pub(crate) const ALL: &'static [Kind] = &[$(Kind::$kind,)*];
        }
    };
}

// Pods come last: what they refer to is mostly known by then.
kinds! {
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
    Service,
    ReplicationController,
    ReplicaSet,
    StatefulSet,
    Pod,
}

impl From<GroupKind> for Kind {
    fn from(kind: GroupKind) -> Kind {
        match kind {
            GroupKind::Service => Kind::Service,
            GroupKind::Controller(OwnerKind::ReplicationController) => Kind::ReplicationController,
            GroupKind::Controller(OwnerKind::ReplicaSet) => Kind::ReplicaSet,
            GroupKind::Controller(OwnerKind::StatefulSet) => Kind::StatefulSet,
        }
    }
}
