//! Namespaces, disruption budgets, and controllers with their selectors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::LabelSelector;
use super::meta::Meta;
use super::meta::StringMap;
use super::meta::nullable;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    pub metadata: Meta,
    pub spec: Selected,
    pub status: BudgetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Selected {
    pub selector: Option<LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    pub disruptions_allowed: i32,
    #[serde(deserialize_with = "nullable")]
    pub disrupted_pods: BTreeMap<String, IgnoredAny>,
}

/// A ReplicaSet or a StatefulSet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Controller {
    pub metadata: Meta,
    pub spec: Selected,
}

/// A Service or a ReplicationController.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MapSelected {
    pub metadata: Meta,
    pub spec: MapSelector,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MapSelector {
    pub selector: Option<StringMap>,
}
