//! Namespaces, disruption budgets and controllers, as far as scheduling depends on them.

use std::sync::Arc;

use super::labels::Labels;
use super::labels::Selector;
use super::pod::OwnerKind;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its labels, for namespace selectors.
    pub(crate) labels: Labels,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Selects the protected pods.
    pub(crate) pods: Selector,
    /// How many of its pods may be evicted now.
    pub(crate) allowed: i32,
    /// Names of pods whose eviction is already counted.
    pub(crate) disrupted: Box<[Arc<str>]>,
}

/// A service or a controller, whose pods are spread by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// What it is.
    pub(crate) kind: GroupKind,
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Selects its pods.
    pub(crate) pods: Selector,
}

/// The kind of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GroupKind {
    /// A Service.
    Service,
    /// A controller of pods.
    Controller(OwnerKind),
}
