//! Claims, volumes, and what is said about drivers.

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
pub struct PersistentVolumeClaim {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: ClaimSpec,
    #[prost(message, required, tag = "3")]
    pub status: Phase,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Phase {
    #[prost(string, tag = "1")]
    pub phase: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "1")]
    pub access_modes: Vec<String>,
    #[prost(string, tag = "3")]
    pub volume_name: String,
    #[prost(string, optional, tag = "5")]
    pub storage_class_name: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub volume_mode: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub volume_attributes_class_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "2")]
    pub resources: Requests,
    #[prost(message, optional, tag = "4")]
    pub selector: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Requests {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub requests: Amounts,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct PersistentVolume {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: VolumeSpec,
    #[prost(message, required, tag = "3")]
    pub status: Phase,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub capacity: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "3")]
    pub access_modes: Vec<String>,
    #[prost(string, tag = "6")]
    pub storage_class_name: String,
    #[prost(string, optional, tag = "8")]
    pub volume_mode: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub volume_attributes_class_name: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub claim_ref: Option<ClaimReference>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "9")]
    pub node_affinity: VolumeNodeAffinity,
    /// In JSON its fields are among those of the specification.
    #[serde(flatten)]
    #[prost(message, required, tag = "2")]
    pub source: VolumeSource,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSource {
    #[prost(message, optional, tag = "22")]
    pub csi: Option<CsiSource>,
    #[prost(message, optional, tag = "2")]
    pub aws_elastic_block_store: Option<Present>,
    #[prost(message, optional, tag = "1")]
    pub gce_persistent_disk: Option<Present>,
    #[prost(message, optional, tag = "16")]
    pub azure_disk: Option<Present>,
    #[prost(message, optional, tag = "13")]
    pub azure_file: Option<Present>,
    #[prost(message, optional, tag = "8")]
    pub cinder: Option<Present>,
    #[prost(message, optional, tag = "14")]
    pub vsphere_volume: Option<Present>,
    #[prost(message, optional, tag = "18")]
    pub portworx_volume: Option<Present>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct ClaimReference {
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub uid: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct VolumeNodeAffinity {
    #[prost(message, optional, tag = "1")]
    pub required: Option<NodeSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSource {
    #[prost(string, tag = "1")]
    pub driver: String,
    #[prost(string, tag = "2")]
    pub volume_handle: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(string, tag = "2")]
    pub provisioner: String,
    #[prost(string, optional, tag = "7")]
    pub volume_binding_mode: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "8")]
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySelectorTerm {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub match_label_expressions: Vec<TopologySelectorRequirement>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct TopologySelectorRequirement {
    #[prost(string, tag = "1")]
    pub key: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "2")]
    pub values: Vec<String>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct CsiNode {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: CsiNodeSpec,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct CsiNodeSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub drivers: Vec<CsiNodeDriver>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct CsiNodeDriver {
    #[prost(string, tag = "1")]
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "4")]
    pub allocatable: DriverLimit,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct DriverLimit {
    #[prost(int64, optional, tag = "1")]
    pub count: Option<i64>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct CsiDriver {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: CsiDriverSpec,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiDriverSpec {
    #[prost(bool, optional, tag = "4")]
    pub storage_capacity: Option<bool>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiStorageCapacity {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(string, tag = "3")]
    pub storage_class_name: String,
    #[prost(message, optional, tag = "4")]
    pub capacity: Option<Amount>,
    #[prost(message, optional, tag = "5")]
    pub maximum_volume_size: Option<Amount>,
    #[prost(message, optional, tag = "2")]
    pub node_topology: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct VolumeAttachment {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: AttachmentSpec,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentSpec {
    #[prost(string, tag = "1")]
    pub attacher: String,
    #[prost(string, tag = "3")]
    pub node_name: String,
    #[prost(message, required, tag = "2")]
    pub source: AttachmentSource,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentSource {
    #[prost(string, optional, tag = "1")]
    pub persistent_volume_name: Option<String>,
}
