//! Nodes and node selectors.

use serde::Deserialize;

use super::meta::Amounts;
use super::meta::Meta;
use super::meta::SelectorRequirement;
use super::meta::nullable;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Node {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: NodeSpec,
    #[prost(message, required, tag = "3")]
    pub(crate) status: NodeStatus,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct NodeSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "5")]
    pub(crate) taints: Vec<Taint>,
    #[prost(bool, tag = "4")]
    pub(crate) unschedulable: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct NodeStatus {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) capacity: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) allocatable: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "8")]
    pub(crate) images: Vec<Image>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "4")]
    pub(crate) conditions: Vec<super::meta::Condition>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Taint {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    #[prost(string, tag = "3")]
    pub(crate) effect: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Image {
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
    #[prost(int64, tag = "2")]
    pub(crate) size_bytes: i64,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeSelector {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub(crate) node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeSelectorTerm {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub(crate) match_expressions: Vec<SelectorRequirement>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub(crate) match_fields: Vec<SelectorRequirement>,
}
