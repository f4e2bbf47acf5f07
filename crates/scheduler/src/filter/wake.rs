//! What happens in a cluster, as far as it can make a pod fit that did not.

use std::ops::BitOr;

/// Some kinds of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u16);

impl Events {
    pub const NONE: Events = Events(0);
    pub const NODE_ADDED: Events = Events(1);
    pub const NODE_REMOVED: Events = Events(1 << 1);
    /// A node offers other amounts.
    pub const NODE_ALLOCATABLE: Events = Events(1 << 2);
    pub const NODE_LABELS: Events = Events(1 << 3);
    /// Taints, or whether it takes pods at all.
    pub const NODE_TAINTS: Events = Events(1 << 4);
    /// A pod left its node, or takes less of it.
    pub const POD_GONE: Events = Events(1 << 5);
    /// A pod came to a node, or has other labels.
    pub const POD_PLACED: Events = Events(1 << 6);
    pub const CLAIM: Events = Events(1 << 7);
    pub const VOLUME: Events = Events(1 << 8);
    pub const STORAGE_CLASS: Events = Events(1 << 9);
    /// What CSI drivers publish, and what they have attached.
    pub const CSI: Events = Events(1 << 10);
    pub const NAMESPACE: Events = Events(1 << 11);

    /// For tables.
    pub const fn or(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn intersects(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Events {
    type Output = Events;

    fn bitor(self, other: Events) -> Events {
        self.or(other)
    }
}
