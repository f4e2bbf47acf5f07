//! Claims, volumes and what provisions and attaches them.

use std::sync::Arc;

use super::affinity::NodeSelector;
use super::labels::Labels;
use super::labels::Selector;

/// A persistent volume claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub resource_version: Box<str>,
    /// The volume it is bound to, or about to be.
    pub volume: Option<Arc<str>>,
    /// Whether the volume is fully bound.
    pub bound: bool,
    /// Empty: no class.
    pub class: Arc<str>,
    /// The node its volume is being provisioned for.
    pub selected_node: Option<Arc<str>>,
    pub lost: bool,
    pub terminating: bool,
    pub modes: AccessModes,
    /// In bytes.
    pub request: i64,
    /// Whether a size is asked for at all.
    pub has_request: bool,
    pub selector: Option<Selector>,
    pub block: bool,
    pub attributes_class: Arc<str>,
    /// The uid of the controlling owner: the pod, for a claim of an ephemeral volume.
    pub owner: Option<Arc<str>>,
}

/// A set of the four ways to access a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessModes(u8);

impl AccessModes {
    pub const ONE_POD: AccessModes = AccessModes(8);

    /// The modes with these names; others are ignored.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> AccessModes {
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

    pub fn contain(self, wanted: AccessModes) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// A persistent volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub name: Arc<str>,
    pub resource_version: Box<str>,
    pub labels: Labels,
    pub class: Arc<str>,
    /// In bytes.
    pub capacity: i64,
    pub modes: AccessModes,
    pub block: bool,
    pub attributes_class: Arc<str>,
    pub claim: Option<BoundClaim>,
    pub affinity: Option<NodeSelector>,
    /// Whether its phase is Available.
    pub available: bool,
    pub terminating: bool,
    pub source: Source,
}

/// The claim a volume is reserved for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundClaim {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Empty when an administrator reserved it before the claim was made.
    pub uid: Arc<str>,
}

impl Volume {
    /// Whether it is reserved for this claim.
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.claim.as_ref().is_some_and(|bound| {
            bound.namespace == claim.namespace
                && bound.name == claim.name
                && (bound.uid.is_empty() || bound.uid == claim.uid)
        })
    }

    /// Whether it can be used on a node with these labels.
    pub fn reaches(&self, labels: &Labels) -> bool {
        self.affinity.as_ref().is_none_or(|affinity| affinity.matches("", labels))
    }
}

/// Who attaches a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    Csi {
        driver: Arc<str>,
        handle: Arc<str>,
    },
    /// A built-in kind that a CSI driver took over, where a node's CSINode says so.
    InTree(InTree),
    #[default]
    Other,
}

/// A built-in kind of volume with the CSI driver that took it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTree {
    /// The field of a volume's spec.
    pub field: &'static str,
    /// The name in `provisioner` and in the list of what was taken over.
    pub plugin: &'static str,
    pub driver: &'static str,
}

impl InTree {
    pub const ALL: [InTree; 7] = [
        InTree { field: "awsElasticBlockStore", plugin: "kubernetes.io/aws-ebs", driver: "ebs.csi.aws.com" },
        InTree { field: "gcePersistentDisk", plugin: "kubernetes.io/gce-pd", driver: "pd.csi.storage.gke.io" },
        InTree { field: "azureDisk", plugin: "kubernetes.io/azure-disk", driver: "disk.csi.azure.com" },
        InTree { field: "azureFile", plugin: "kubernetes.io/azure-file", driver: "file.csi.azure.com" },
        InTree { field: "cinder", plugin: "kubernetes.io/cinder", driver: "cinder.csi.openstack.org" },
        InTree { field: "vsphereVolume", plugin: "kubernetes.io/vsphere-volume", driver: "csi.vsphere.vmware.com" },
        InTree { field: "portworxVolume", plugin: "kubernetes.io/portworx-volume", driver: "pxd.portworx.com" },
    ];

    pub fn by_plugin(plugin: &str) -> Option<InTree> {
        InTree::ALL.into_iter().find(|known| known.plugin == plugin)
    }
}

/// A storage class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    pub name: Arc<str>,
    pub provisioner: Arc<str>,
    /// `None` when the class does not say, which no API server accepts.
    pub waits_for_consumer: Option<bool>,
    /// Where volumes can be provisioned: one has to hold, and in it each label has to have one of the values. Empty:
    /// anywhere.
    pub topologies: Box<[Box<[TopologyRequirement]>]>,
}

/// A label of a node that must have one of these values.
pub type TopologyRequirement = (Arc<str>, Box<[Arc<str>]>);

impl Class {
    /// Whether it can provision at all.
    pub fn provisions(&self) -> bool {
        !self.provisioner.is_empty() && *self.provisioner != *"kubernetes.io/no-provisioner"
    }

    /// Whether it can provision for a node with these labels.
    pub fn reaches(&self, labels: &Labels) -> bool {
        let has = |(key, values): &TopologyRequirement| labels.get(key).is_some_and(|value| values.contains(value));
        self.topologies.is_empty() || self.topologies.iter().any(|term| !term.is_empty() && term.iter().all(has))
    }
}

/// What a node's CSI drivers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiNode {
    pub name: Arc<str>,
    /// How many volumes of a driver can be attached.
    pub limits: Box<[(Arc<str>, i64)]>,
    /// The built-in kinds taken over by CSI drivers here.
    pub migrated: Box<[Arc<str>]>,
}

/// A CSI driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiDriver {
    pub name: Arc<str>,
    /// Whether it publishes how much room there is.
    pub storage_capacity: bool,
}

/// How much a driver can provision somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub class: Arc<str>,
    /// The largest volume, in bytes; `None`: not known.
    pub largest: Option<i64>,
    /// The nodes it is about.
    pub nodes: Selector,
}

/// A volume that is attached to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    pub name: Arc<str>,
    pub node: Arc<str>,
    pub attacher: Arc<str>,
    pub volume: Arc<str>,
}
