//! Pods.

use serde::Deserialize;

use super::meta::Amounts;
use super::meta::Condition;
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
pub(crate) struct Pod {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: PodSpec,
    #[prost(message, required, tag = "3")]
    pub(crate) status: PodStatus,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    #[prost(string, tag = "19")]
    pub(crate) scheduler_name: String,
    #[prost(string, tag = "10")]
    pub(crate) node_name: String,
    #[prost(int32, optional, tag = "25")]
    pub(crate) priority: Option<i32>,
    #[prost(string, optional, tag = "31")]
    pub(crate) preemption_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub(crate) containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "20")]
    pub(crate) init_containers: Vec<Container>,
    #[prost(message, optional, tag = "40")]
    pub(crate) resources: Option<Resources>,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "32")]
    pub(crate) overhead: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "7")]
    pub(crate) node_selector: StringMap,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "18")]
    pub(crate) affinity: Affinity,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "22")]
    pub(crate) tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "33")]
    pub(crate) topology_spread_constraints: Vec<TopologySpreadConstraint>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub(crate) volumes: Vec<Volume>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "38")]
    pub(crate) scheduling_gates: Vec<Present>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "39")]
    pub(crate) resource_claims: Vec<Present>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) image: String,
    #[prost(string, optional, tag = "24")]
    pub(crate) restart_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "8")]
    pub(crate) resources: Resources,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "6")]
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Resources {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) requests: Amounts,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Port {
    #[prost(int32, tag = "2")]
    pub(crate) host_port: i32,
    #[serde(rename = "hostIP")]
    #[prost(string, tag = "5")]
    pub(crate) host_ip: String,
    #[prost(string, tag = "4")]
    pub(crate) protocol: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Toleration {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) operator: String,
    #[prost(string, tag = "3")]
    pub(crate) value: String,
    #[prost(string, tag = "4")]
    pub(crate) effect: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Affinity {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "1")]
    pub(crate) node_affinity: NodeAffinity,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "2")]
    pub(crate) pod_affinity: PodAffinity,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, required, tag = "3")]
    pub(crate) pod_anti_affinity: PodAffinity,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    #[prost(message, optional, tag = "1")]
    pub(crate) required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub(crate) preferred: Vec<PreferredNode>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct PreferredNode {
    #[prost(int32, tag = "1")]
    pub(crate) weight: i32,
    #[prost(message, required, tag = "2")]
    pub(crate) preference: NodeSelectorTerm,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct PodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub(crate) required: Vec<PodAffinityTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub(crate) preferred: Vec<PreferredPods>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PreferredPods {
    #[prost(int32, tag = "1")]
    pub(crate) weight: i32,
    #[prost(message, required, tag = "2")]
    pub(crate) pod_affinity_term: PodAffinityTerm,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodAffinityTerm {
    #[prost(message, optional, tag = "1")]
    pub(crate) label_selector: Option<LabelSelector>,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "2")]
    pub(crate) namespaces: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) topology_key: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) namespace_selector: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TopologySpreadConstraint {
    #[prost(int32, tag = "1")]
    pub(crate) max_skew: i32,
    #[prost(string, tag = "2")]
    pub(crate) topology_key: String,
    #[prost(string, tag = "3")]
    pub(crate) when_unsatisfiable: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) label_selector: Option<LabelSelector>,
    #[prost(int32, optional, tag = "5")]
    pub(crate) min_domains: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub(crate) node_affinity_policy: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(crate) node_taints_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "8")]
    pub(crate) match_label_keys: Vec<String>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Volume {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// JSON inlines its fields into the volume.
    #[serde(flatten)]
    #[prost(message, required, tag = "2")]
    pub(crate) source: VolumeSource,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeSource {
    #[prost(message, optional, tag = "10")]
    pub(crate) persistent_volume_claim: Option<ClaimSource>,
    #[prost(message, optional, tag = "29")]
    pub(crate) ephemeral: Option<Present>,
    #[prost(message, optional, tag = "3")]
    pub(crate) gce_persistent_disk: Option<GceDisk>,
    #[prost(message, optional, tag = "4")]
    pub(crate) aws_elastic_block_store: Option<AwsDisk>,
    #[prost(message, optional, tag = "8")]
    pub(crate) iscsi: Option<IscsiDisk>,
    #[prost(message, optional, tag = "11")]
    pub(crate) rbd: Option<RbdDisk>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimSource {
    #[prost(string, tag = "1")]
    pub(crate) claim_name: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GceDisk {
    #[prost(string, tag = "1")]
    pub(crate) pd_name: String,
    #[prost(bool, tag = "4")]
    pub(crate) read_only: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AwsDisk {
    #[serde(rename = "volumeID")]
    #[prost(string, tag = "1")]
    pub(crate) volume_id: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IscsiDisk {
    #[prost(string, tag = "2")]
    pub(crate) iqn: String,
    #[prost(bool, tag = "6")]
    pub(crate) read_only: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RbdDisk {
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "1")]
    pub(crate) monitors: Vec<String>,
    #[prost(string, tag = "2")]
    pub(crate) image: String,
    #[prost(string, tag = "4")]
    pub(crate) pool: String,
    #[prost(bool, tag = "8")]
    pub(crate) read_only: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    #[prost(string, tag = "1")]
    pub(crate) phase: String,
    #[prost(string, tag = "11")]
    pub(crate) nominated_node_name: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) start_time: Option<Time>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub(crate) conditions: Vec<Condition>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "8")]
    pub(crate) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "10")]
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "11")]
    pub(crate) resources: Option<Resources>,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "10")]
    pub(crate) allocated_resources: Amounts,
}
