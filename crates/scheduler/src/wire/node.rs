//! Nodes, and the selectors that look for them.

use serde::Deserialize;

use super::meta::Amounts;
use super::meta::Meta;
use super::meta::SelectorRequirement;
use super::meta::nullable;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Node {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: NodeSpec,
    #[prost(message, required, tag = "3")]
    pub status: NodeStatus,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct NodeSpec {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "5")]
    pub taints: Vec<Taint>,
    #[prost(bool, tag = "4")]
    pub unschedulable: bool,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "1")]
    pub capacity: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub allocatable: Amounts,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "8")]
    pub images: Vec<Image>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "4")]
    pub conditions: Vec<super::pod::Condition>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Taint {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(string, tag = "3")]
    pub effect: String,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
    #[prost(int64, tag = "2")]
    pub size_bytes: i64,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "1")]
    pub match_expressions: Vec<SelectorRequirement>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub match_fields: Vec<SelectorRequirement>,
}
