//! What the API server sends, as far as a scheduler reads it: in Protobuf, or in JSON.
//!
//! These are our own few structures and not a crate with all of Kubernetes' types: what is not named here (managed
//! fields, images' digests, a container's command and environment) is skipped by the parser and never takes memory,
//! and nobody has to compile the other hundreds of kinds. Field names and tags are the API's (`generated.proto` of
//! k8s.io/api and k8s.io/apimachinery). Everything may be absent, or null as Go writes an empty list; whether that makes
//! sense is for `read` to say.

mod meta;
mod node;
mod pod;
mod policy;
mod storage;
mod time;

pub use self::meta::Amount;
pub use self::meta::Amounts;
pub use self::meta::LabelSelector;
pub use self::meta::Meta;
pub use self::meta::SelectorRequirement;
pub use self::meta::StringMap;
pub use self::node::Node;
pub use self::node::NodeSelector;
pub use self::node::NodeSelectorTerm;
pub use self::node::Taint;
pub use self::pod::Affinity;
pub use self::pod::Container;
pub use self::pod::ContainerStatus;
pub use self::pod::Pod;
pub use self::pod::PodAffinity;
pub use self::pod::PodAffinityTerm;
pub use self::pod::Toleration;
pub use self::pod::TopologySpreadConstraint;
pub use self::pod::Volume;
pub use self::policy::Controller;
pub use self::policy::MapSelected;
pub use self::policy::Namespace;
pub use self::policy::PodDisruptionBudget;
pub use self::storage::ClaimReference;
pub use self::storage::CsiDriver;
pub use self::storage::CsiNode;
pub use self::storage::CsiNodeDriver;
pub use self::storage::CsiStorageCapacity;
pub use self::storage::PersistentVolume;
pub use self::storage::PersistentVolumeClaim;
pub use self::storage::StorageClass;
pub use self::storage::TopologySelectorTerm;
pub use self::storage::VolumeAttachment;
pub use self::storage::VolumeSpec;
pub use self::time::micro_time;
pub use self::time::time;

/// What has metadata: every kind.
pub trait Object {
    fn meta(&self) -> &Meta;

    /// The same object with nothing but its metadata.
    fn bare(&self) -> Self;
}

macro_rules! objects {
    ($($kind:ident),*) => {$(
        impl Object for $kind {
            fn meta(&self) -> &Meta {
                &self.metadata
            }

            // Of some kinds metadata is all there is.
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
