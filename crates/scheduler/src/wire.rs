//! API objects as the API server sends them, reduced to the fields a scheduler reads; decoded from Protobuf or JSON.
//!
//! These are partial types and not a crate with all of Kubernetes' types: fields that are not declared here (managed
//! fields, image digests, commands, environments) are skipped by the parser and never stored, and the other hundreds of
//! kinds need not be compiled. Field names and tags are the API's (`generated.proto` of k8s.io/api and
//! k8s.io/apimachinery). Every field may be absent, or null as Go encodes an empty list; validation is done in `read`.

mod meta;
mod node;
mod pod;
mod policy;
mod storage;
mod time;

pub(crate) use self::meta::Amount;
pub(crate) use self::meta::Amounts;
pub(crate) use self::meta::LabelSelector;
pub(crate) use self::meta::Meta;
pub(crate) use self::meta::SelectorRequirement;
pub(crate) use self::meta::StringMap;
pub(crate) use self::node::Node;
pub(crate) use self::node::NodeSelector;
pub(crate) use self::node::NodeSelectorTerm;
pub(crate) use self::pod::Container;
pub(crate) use self::pod::ContainerStatus;
pub(crate) use self::pod::Pod;
pub(crate) use self::pod::PodAffinity;
pub(crate) use self::pod::PodAffinityTerm;
pub(crate) use self::pod::Toleration;
pub(crate) use self::pod::TopologySpreadConstraint;
pub(crate) use self::pod::Volume;
pub(crate) use self::policy::Controller;
pub(crate) use self::policy::MapSelected;
pub(crate) use self::policy::Namespace;
pub(crate) use self::policy::PodDisruptionBudget;
pub(crate) use self::storage::ClaimReference;
pub(crate) use self::storage::CsiDriver;
pub(crate) use self::storage::CsiNode;
pub(crate) use self::storage::CsiNodeDriver;
pub(crate) use self::storage::CsiStorageCapacity;
pub(crate) use self::storage::PersistentVolume;
pub(crate) use self::storage::PersistentVolumeClaim;
pub(crate) use self::storage::StorageClass;
pub(crate) use self::storage::TopologySelectorTerm;
pub(crate) use self::storage::VolumeAttachment;
pub(crate) use self::storage::VolumeSpec;
pub(crate) use self::time::micro_time;
pub(crate) use self::time::time;

/// Every kind: an object with metadata.
pub(crate) trait Object {
    /// The object's metadata.
    fn meta(&self) -> &Meta;

    /// The same object without everything but its metadata.
    fn bare(&self) -> Self;
}

macro_rules! objects {
    ($($kind:ident),*) => {$(
        impl Object for $kind {
            fn meta(&self) -> &Meta {
                &self.metadata
            }

            // Some kinds have no other field.
            #[allow(clippy::needless_update)]
            fn bare(&self) -> Self {
                $kind { metadata: self.metadata.clone(), ..Default::default() }
            }
        }
    )*};
}

objects!(
    Pod,
    Node,
    Namespace,
    PersistentVolumeClaim,
    PersistentVolume,
    StorageClass,
    CsiNode,
    CsiDriver,
    CsiStorageCapacity,
    VolumeAttachment,
    PodDisruptionBudget,
    MapSelected,
    Controller
);
