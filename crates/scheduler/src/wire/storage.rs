//! Claims, volumes, and the objects of CSI drivers.

use serde::Deserialize;

use super::meta::Amount;
use super::meta::Amounts;
use super::meta::LabelSelector;
use super::meta::Meta;
use super::meta::Present;
use super::meta::nullable;
use super::node::NodeSelector;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct PersistentVolumeClaim {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: ClaimSpec,
    #[prost(message, required, tag = "3")]
    pub(crate) status: Phase,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Phase {
    #[prost(string, tag = "1")]
    pub(crate) phase: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "1")]
    pub(crate) access_modes: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) volume_name: String,
    #[prost(string, optional, tag = "5")]
    pub(crate) storage_class_name: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(crate) volume_mode: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub(crate) volume_attributes_class_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "2")]
    pub(crate) resources: Requests,
    #[prost(message, optional, tag = "4")]
    pub(crate) selector: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Requests {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) requests: Amounts,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct PersistentVolume {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: VolumeSpec,
    #[prost(message, required, tag = "3")]
    pub(crate) status: Phase,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) capacity: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "3")]
    pub(crate) access_modes: Vec<String>,
    #[prost(string, tag = "6")]
    pub(crate) storage_class_name: String,
    #[prost(string, optional, tag = "8")]
    pub(crate) volume_mode: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub(crate) volume_attributes_class_name: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub(crate) claim_ref: Option<ClaimReference>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "9")]
    pub(crate) node_affinity: VolumeNodeAffinity,
    /// JSON inlines its fields into the spec.
    #[serde(flatten)]
    #[prost(message, required, tag = "2")]
    pub(crate) source: VolumeSource,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeSource {
    #[prost(message, optional, tag = "22")]
    pub(crate) csi: Option<CsiSource>,
    #[prost(message, optional, tag = "2")]
    pub(crate) aws_elastic_block_store: Option<Present>,
    #[prost(message, optional, tag = "1")]
    pub(crate) gce_persistent_disk: Option<Present>,
    #[prost(message, optional, tag = "16")]
    pub(crate) azure_disk: Option<Present>,
    #[prost(message, optional, tag = "13")]
    pub(crate) azure_file: Option<Present>,
    #[prost(message, optional, tag = "8")]
    pub(crate) cinder: Option<Present>,
    #[prost(message, optional, tag = "14")]
    pub(crate) vsphere_volume: Option<Present>,
    #[prost(message, optional, tag = "18")]
    pub(crate) portworx_volume: Option<Present>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct ClaimReference {
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) uid: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct VolumeNodeAffinity {
    #[prost(message, optional, tag = "1")]
    pub(crate) required: Option<NodeSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CsiSource {
    #[prost(string, tag = "1")]
    pub(crate) driver: String,
    #[prost(string, tag = "2")]
    pub(crate) volume_handle: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StorageClass {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(string, tag = "2")]
    pub(crate) provisioner: String,
    #[prost(string, optional, tag = "7")]
    pub(crate) volume_binding_mode: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "8")]
    pub(crate) allowed_topologies: Vec<TopologySelectorTerm>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TopologySelectorTerm {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub(crate) match_label_expressions: Vec<TopologySelectorRequirement>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct TopologySelectorRequirement {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "2")]
    pub(crate) values: Vec<String>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct CsiNode {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: CsiNodeSpec,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct CsiNodeSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub(crate) drivers: Vec<CsiNodeDriver>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct CsiNodeDriver {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "4")]
    pub(crate) allocatable: DriverLimit,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct DriverLimit {
    #[prost(int64, optional, tag = "1")]
    pub(crate) count: Option<i64>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct CsiDriver {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: CsiDriverSpec,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CsiDriverSpec {
    #[prost(bool, optional, tag = "4")]
    pub(crate) storage_capacity: Option<bool>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CsiStorageCapacity {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(string, tag = "3")]
    pub(crate) storage_class_name: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) capacity: Option<Amount>,
    #[prost(message, optional, tag = "5")]
    pub(crate) maximum_volume_size: Option<Amount>,
    #[prost(message, optional, tag = "2")]
    pub(crate) node_topology: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct VolumeAttachment {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: AttachmentSpec,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AttachmentSpec {
    #[prost(string, tag = "1")]
    pub(crate) attacher: String,
    #[prost(string, tag = "3")]
    pub(crate) node_name: String,
    #[prost(message, required, tag = "2")]
    pub(crate) source: AttachmentSource,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AttachmentSource {
    #[prost(string, optional, tag = "1")]
    pub(crate) persistent_volume_name: Option<String>,
}
