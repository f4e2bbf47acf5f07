//! Claims, volumes, and what provisions and attaches them.

use std::sync::Arc;

use super::affinity::NodeSelector;
use super::labels::Labels;
use super::labels::Selector;

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its uid.
    pub(crate) uid: Arc<str>,
    /// For optimistic concurrency.
    pub(crate) resource_version: Box<str>,
    /// The volume it is bound to, or is being bound to.
    pub(crate) volume: Option<Arc<str>>,
    /// Whether binding has completed.
    pub(crate) bound: bool,
    /// The storage class; empty: none.
    pub(crate) class: Arc<str>,
    /// The node its volume is being provisioned for.
    pub(crate) selected_node: Option<Arc<str>>,
    /// Its volume does not exist any more.
    pub(crate) lost: bool,
    /// It is being deleted.
    pub(crate) terminating: bool,
    /// Requested access modes.
    pub(crate) modes: AccessModes,
    /// Requested size in bytes.
    pub(crate) request: i64,
    /// Whether a size is requested at all.
    pub(crate) has_request: bool,
    /// Selects volumes by their labels.
    pub(crate) selector: Option<Selector>,
    /// volumeMode Block.
    pub(crate) block: bool,
    /// The VolumeAttributesClass; empty: none.
    pub(crate) attributes_class: Arc<str>,
    /// The uid of the controlling owner: the pod, for an ephemeral volume.
    pub(crate) owner: Option<Arc<str>>,
}

/// A set of volume access modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessModes(u8);

impl AccessModes {
    /// ReadWriteOncePod.
    pub(crate) const ONE_POD: AccessModes = AccessModes(8);

    /// The modes with these names; others are ignored.
    pub(crate) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> AccessModes {
        AccessModes(names.into_iter().fold(0, |modes, name| {
            modes
                | match name {
                    "ReadWriteOnce" => 1,
                    "ReadOnlyMany" => 2,
                    "ReadWriteMany" => 4,
                    "ReadWriteOncePod" => 8,
                    _ => 0,
                }
        }))
    }

    /// Whether all of `other` are in the set.
    pub(crate) fn contains(self, other: AccessModes) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// For optimistic concurrency.
    pub(crate) resource_version: Box<str>,
    /// Its labels.
    pub(crate) labels: Labels,
    /// The storage class; empty: none.
    pub(crate) class: Arc<str>,
    /// Its size in bytes.
    pub(crate) capacity: i64,
    /// Supported access modes.
    pub(crate) modes: AccessModes,
    /// volumeMode Block.
    pub(crate) block: bool,
    /// The VolumeAttributesClass; empty: none.
    pub(crate) attributes_class: Arc<str>,
    /// The claim it is bound to or reserved for.
    pub(crate) claim: Option<BoundClaim>,
    /// The nodes it is accessible from; `None`: all.
    pub(crate) affinity: Option<NodeSelector>,
    /// Its phase is Available.
    pub(crate) available: bool,
    /// It is being deleted.
    pub(crate) terminating: bool,
    /// What attaches it.
    pub(crate) source: Source,
}

/// The claim a volume is reserved for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundClaim {
    /// The claim's namespace.
    pub(crate) namespace: Arc<str>,
    /// The claim's name.
    pub(crate) name: Arc<str>,
    /// Empty if an administrator reserved the volume before the claim existed.
    pub(crate) uid: Arc<str>,
}

impl Volume {
    /// Whether it is reserved for this claim.
    pub(crate) fn is_for(&self, claim: &Claim) -> bool {
        self.claim.as_ref().is_some_and(|bound| {
            bound.namespace == claim.namespace
                && bound.name == claim.name
                && (bound.uid.is_empty() || bound.uid == claim.uid)
        })
    }

    /// Whether it is accessible from a node with these labels.
    pub(crate) fn reaches(&self, labels: &Labels) -> bool {
        self.affinity.as_ref().is_none_or(|affinity| affinity.matches("", labels))
    }
}

/// What attaches a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// A CSI driver.
    Csi {
        /// The driver's name.
        driver: Arc<str>,
        /// The volume's id for the driver.
        handle: Arc<str>,
    },
    /// An in-tree plugin; migrated to CSI where the node's CSINode says so.
    InTree(InTree),
    /// Neither.
    #[default]
    Other,
}

/// An in-tree volume plugin and the CSI driver it is migrated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InTree {
    /// The field in a volume's spec.
    pub(crate) field: &'static str,
    /// The plugin's name, as in `provisioner` and in the list of migrated plugins.
    pub(crate) plugin: &'static str,
    /// The name of the CSI driver.
    pub(crate) driver: &'static str,
}

impl InTree {
    /// All migrated plugins.
    pub(crate) const ALL: [InTree; 7] = [
        InTree { field: "awsElasticBlockStore", plugin: "kubernetes.io/aws-ebs", driver: "ebs.csi.aws.com" },
        InTree { field: "gcePersistentDisk", plugin: "kubernetes.io/gce-pd", driver: "pd.csi.storage.gke.io" },
        InTree { field: "azureDisk", plugin: "kubernetes.io/azure-disk", driver: "disk.csi.azure.com" },
        InTree { field: "azureFile", plugin: "kubernetes.io/azure-file", driver: "file.csi.azure.com" },
        InTree { field: "cinder", plugin: "kubernetes.io/cinder", driver: "cinder.csi.openstack.org" },
        InTree { field: "vsphereVolume", plugin: "kubernetes.io/vsphere-volume", driver: "csi.vsphere.vmware.com" },
        InTree { field: "portworxVolume", plugin: "kubernetes.io/portworx-volume", driver: "pxd.portworx.com" },
    ];

    /// The plugin of this name.
    pub(crate) fn by_plugin(plugin: &str) -> Option<InTree> {
        InTree::ALL.into_iter().find(|known| known.plugin == plugin)
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// What provisions its volumes.
    pub(crate) provisioner: Arc<str>,
    /// Whether volumeBindingMode is WaitForFirstConsumer; `None` if unset, which the API server does not allow.
    pub(crate) waits_for_consumer: Option<bool>,
    /// allowedTopologies: one of the terms has to match, with all its labels. Empty: any node.
    pub(crate) topologies: Box<[Box<[TopologyRequirement]>]>,
}

/// A label and the values it may have.
pub(crate) type TopologyRequirement = (Arc<str>, Box<[Arc<str>]>);

impl Class {
    /// Whether it can provision volumes at all.
    pub(crate) fn provisions(&self) -> bool {
        !self.provisioner.is_empty() && *self.provisioner != *"kubernetes.io/no-provisioner"
    }

    /// Whether it can provision for a node with these labels.
    pub(crate) fn reaches(&self, labels: &Labels) -> bool {
        let has = |(key, values): &TopologyRequirement| labels.get(key).is_some_and(|value| values.contains(value));
        self.topologies.is_empty() || self.topologies.iter().any(|term| !term.is_empty() && term.iter().all(has))
    }
}

/// A CSINode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CsiNode {
    /// The node's name.
    pub(crate) name: Arc<str>,
    /// The most attachable volumes by driver.
    pub(crate) limits: Box<[(Arc<str>, i64)]>,
    /// In-tree plugins that are migrated to CSI on this node.
    pub(crate) migrated: Box<[Arc<str>]>,
}

/// A CSIDriver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CsiDriver {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Whether it publishes CSIStorageCapacity objects.
    pub(crate) storage_capacity: bool,
}

/// A CSIStorageCapacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The storage class it is about.
    pub(crate) class: Arc<str>,
    /// The largest volume in bytes; `None`: unknown.
    pub(crate) largest: Option<i64>,
    /// The nodes it is about.
    pub(crate) nodes: Selector,
}

/// A VolumeAttachment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The node.
    pub(crate) node: Arc<str>,
    /// The CSI driver.
    pub(crate) attacher: Arc<str>,
    /// The PersistentVolume.
    pub(crate) volume: Arc<str>,
}
