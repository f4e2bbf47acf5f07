//! Namespaces, disruption budgets, services and controllers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::LabelSelector;
use super::meta::Meta;
use super::meta::Present;
use super::meta::StringMap;
use super::meta::nullable;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Namespace {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct PodDisruptionBudget {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: Selected,
    #[prost(message, required, tag = "3")]
    pub(crate) status: BudgetStatus,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Selected {
    #[prost(message, optional, tag = "2")]
    pub(crate) selector: Option<LabelSelector>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BudgetStatus {
    #[prost(int32, tag = "3")]
    pub(crate) disruptions_allowed: i32,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) disrupted_pods: BTreeMap<String, Present>,
}

/// A ReplicaSet or a StatefulSet.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Controller {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: Selected,
}

/// A Service or a ReplicationController.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct MapSelected {
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: Meta,
    #[prost(message, required, tag = "2")]
    pub(crate) spec: MapSelector,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct MapSelector {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) selector: StringMap,
}
