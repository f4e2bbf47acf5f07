//! Pods.

use serde::Deserialize;

use super::meta::Amounts;
use super::meta::LabelSelector;
use super::meta::Meta;
use super::meta::Present;
use super::meta::StringMap;
use super::meta::Time;
use super::meta::nullable;
use super::node::NodeSelector;
use super::node::NodeSelectorTerm;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Pod {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: PodSpec,
    #[prost(message, required, tag = "3")]
    pub status: PodStatus,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    #[prost(string, tag = "19")]
    pub scheduler_name: String,
    #[prost(string, tag = "10")]
    pub node_name: String,
    #[prost(int32, optional, tag = "25")]
    pub priority: Option<i32>,
    #[prost(string, optional, tag = "31")]
    pub preemption_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "20")]
    pub init_containers: Vec<Container>,
    #[prost(message, optional, tag = "40")]
    pub resources: Option<Resources>,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "32")]
    pub overhead: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "7")]
    pub node_selector: StringMap,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "18")]
    pub affinity: Affinity,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "22")]
    pub tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "33")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub volumes: Vec<Volume>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "38")]
    pub scheduling_gates: Vec<Present>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "39")]
    pub resource_claims: Vec<Present>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub image: String,
    #[prost(string, optional, tag = "24")]
    pub restart_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "8")]
    pub resources: Resources,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "6")]
    pub ports: Vec<Port>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Resources {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub requests: Amounts,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    #[prost(int32, tag = "2")]
    pub host_port: i32,
    #[serde(rename = "hostIP")]
    #[prost(string, tag = "5")]
    pub host_ip: String,
    #[prost(string, tag = "4")]
    pub protocol: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Toleration {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub operator: String,
    #[prost(string, tag = "3")]
    pub value: String,
    #[prost(string, tag = "4")]
    pub effect: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "1")]
    pub node_affinity: NodeAffinity,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "2")]
    pub pod_affinity: PodAffinity,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "3")]
    pub pod_anti_affinity: PodAffinity,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    #[prost(message, optional, tag = "1")]
    pub required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub preferred: Vec<PreferredNode>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct PreferredNode {
    #[prost(int32, tag = "1")]
    pub weight: i32,
    #[prost(message, required, tag = "2")]
    pub preference: NodeSelectorTerm,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub required: Vec<PodAffinityTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub preferred: Vec<PreferredPods>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferredPods {
    #[prost(int32, tag = "1")]
    pub weight: i32,
    #[prost(message, required, tag = "2")]
    pub pod_affinity_term: PodAffinityTerm,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    #[prost(message, optional, tag = "1")]
    pub label_selector: Option<LabelSelector>,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "2")]
    pub namespaces: Vec<String>,
    #[prost(string, tag = "3")]
    pub topology_key: String,
    #[prost(message, optional, tag = "4")]
    pub namespace_selector: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySpreadConstraint {
    #[prost(int32, tag = "1")]
    pub max_skew: i32,
    #[prost(string, tag = "2")]
    pub topology_key: String,
    #[prost(string, tag = "3")]
    pub when_unsatisfiable: String,
    #[prost(message, optional, tag = "4")]
    pub label_selector: Option<LabelSelector>,
    #[prost(int32, optional, tag = "5")]
    pub min_domains: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub node_affinity_policy: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub node_taints_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "8")]
    pub match_label_keys: Vec<String>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    #[prost(string, tag = "1")]
    pub name: String,
    /// In JSON its fields are among those of the volume.
    #[serde(flatten)]
    #[prost(message, required, tag = "2")]
    pub source: VolumeSource,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSource {
    #[prost(message, optional, tag = "10")]
    pub persistent_volume_claim: Option<ClaimSource>,
    #[prost(message, optional, tag = "29")]
    pub ephemeral: Option<Present>,
    #[prost(message, optional, tag = "3")]
    pub gce_persistent_disk: Option<GceDisk>,
    #[prost(message, optional, tag = "4")]
    pub aws_elastic_block_store: Option<AwsDisk>,
    #[prost(message, optional, tag = "8")]
    pub iscsi: Option<IscsiDisk>,
    #[prost(message, optional, tag = "11")]
    pub rbd: Option<RbdDisk>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSource {
    #[prost(string, tag = "1")]
    pub claim_name: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct GceDisk {
    #[prost(string, tag = "1")]
    pub pd_name: String,
    #[prost(bool, tag = "4")]
    pub read_only: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct AwsDisk {
    #[serde(rename = "volumeID")]
    #[prost(string, tag = "1")]
    pub volume_id: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct IscsiDisk {
    #[prost(string, tag = "2")]
    pub iqn: String,
    #[prost(bool, tag = "6")]
    pub read_only: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct RbdDisk {
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "1")]
    pub monitors: Vec<String>,
    #[prost(string, tag = "2")]
    pub image: String,
    #[prost(string, tag = "4")]
    pub pool: String,
    #[prost(bool, tag = "8")]
    pub read_only: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    #[prost(string, tag = "1")]
    pub phase: String,
    #[prost(string, tag = "11")]
    pub nominated_node_name: String,
    #[prost(message, optional, tag = "7")]
    pub start_time: Option<Time>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "8")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "10")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub status: String,
    #[prost(string, tag = "5")]
    pub reason: String,
    #[prost(string, tag = "6")]
    pub message: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "11")]
    pub resources: Option<Resources>,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "10")]
    pub allocated_resources: Amounts,
}
