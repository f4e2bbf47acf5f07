//! Nodes, and the selectors that look for them.

use serde::Deserialize;

use super::meta::Amounts;
use super::meta::Meta;
use super::meta::SelectorRequirement;
use super::meta::nullable;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    #[serde(deserialize_with = "nullable")]
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "nullable")]
    pub capacity: Amounts,
    #[serde(deserialize_with = "nullable")]
    pub allocatable: Amounts,
    #[serde(deserialize_with = "nullable")]
    pub images: Vec<Image>,
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<super::pod::Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<String>,
    pub size_bytes: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    #[serde(deserialize_with = "nullable")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    #[serde(deserialize_with = "nullable")]
    pub match_expressions: Vec<SelectorRequirement>,
    #[serde(deserialize_with = "nullable")]
    pub match_fields: Vec<SelectorRequirement>,
}
