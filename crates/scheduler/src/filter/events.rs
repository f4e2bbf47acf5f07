//! Cluster events that may make a rejected pod schedulable (kube-scheduler's ClusterEvent).

use std::ops::BitOr;

/// A set of cluster events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterEvents(u16);

impl ClusterEvents {
    /// No event.
    pub(crate) const NONE: ClusterEvents = ClusterEvents(0);
    /// A node was added.
    pub(crate) const NODE_ADDED: ClusterEvents = ClusterEvents(1);
    /// A node was deleted.
    pub(crate) const NODE_REMOVED: ClusterEvents = ClusterEvents(1 << 1);
    /// A node's allocatable resources changed.
    pub(crate) const NODE_ALLOCATABLE: ClusterEvents = ClusterEvents(1 << 2);
    /// A node's labels changed.
    pub(crate) const NODE_LABELS: ClusterEvents = ClusterEvents(1 << 3);
    /// A node's taints changed, or it was cordoned or uncordoned.
    pub(crate) const NODE_TAINTS: ClusterEvents = ClusterEvents(1 << 4);
    /// A pod left its node, or requests less than before.
    pub(crate) const POD_REMOVED: ClusterEvents = ClusterEvents(1 << 5);
    /// A pod was assigned to a node, or its labels changed.
    pub(crate) const POD_ADDED: ClusterEvents = ClusterEvents(1 << 6);
    /// A PersistentVolumeClaim changed.
    pub(crate) const CLAIM: ClusterEvents = ClusterEvents(1 << 7);
    /// A PersistentVolume changed.
    pub(crate) const VOLUME: ClusterEvents = ClusterEvents(1 << 8);
    /// A StorageClass changed.
    pub(crate) const STORAGE_CLASS: ClusterEvents = ClusterEvents(1 << 9);
    /// A CSINode, CSIDriver, CSIStorageCapacity or VolumeAttachment changed.
    pub(crate) const CSI: ClusterEvents = ClusterEvents(1 << 10);
    /// A namespace changed.
    pub(crate) const NAMESPACE: ClusterEvents = ClusterEvents(1 << 11);

    /// The union, for constants.
    pub(crate) const fn or(self, other: ClusterEvents) -> ClusterEvents {
        ClusterEvents(self.0 | other.0)
    }

    /// Whether the set is empty.
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the sets have a common event.
    pub(crate) fn intersects(self, other: ClusterEvents) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for ClusterEvents {
    type Output = ClusterEvents;

    fn bitor(self, other: ClusterEvents) -> ClusterEvents {
        self.or(other)
    }
}
