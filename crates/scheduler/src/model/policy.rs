//! Namespaces, disruption budgets and controllers, as far as placing a pod depends on them.

use std::sync::Arc;

use super::labels::Labels;
use super::labels::Selector;
use super::pod::OwnerKind;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub name: Arc<str>,
    pub labels: Labels,
}

/// A pod disruption budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub pods: Selector,
    /// How many of its pods may be taken away now.
    pub allowed: i32,
    /// Names of pods that are being taken away already.
    pub disrupted: Box<[Arc<str>]>,
}

/// Something that has pods which are better spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub kind: GroupKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub pods: Selector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    Service,
    Controller(OwnerKind),
}
