//! Namespaces, disruption budgets, and controllers with their selectors.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::LabelSelector;
use super::meta::Meta;
use super::meta::Present;
use super::meta::StringMap;
use super::meta::nullable;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Namespace {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct PodDisruptionBudget {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: Selected,
    #[prost(message, required, tag = "3")]
    pub status: BudgetStatus,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Selected {
    #[prost(message, optional, tag = "2")]
    pub selector: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    #[prost(int32, tag = "3")]
    pub disruptions_allowed: i32,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub disrupted_pods: BTreeMap<String, Present>,
}

/// A ReplicaSet or a StatefulSet.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct Controller {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: Selected,
}

/// A Service or a ReplicationController.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct MapSelected {
    #[prost(message, required, tag = "1")]
    pub metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub spec: MapSelector,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub struct MapSelector {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "2")]
    pub selector: StringMap,
}
