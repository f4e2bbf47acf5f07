//! Namespaces, disruption budgets, services and controllers.

use std::sync::Arc;

use super::Invalid;
use super::selector::labels;
use super::selector::selector;
use crate::model::Budget;
use crate::model::Group;
use crate::model::GroupKind;
use crate::model::Intern;
use crate::model::Namespace;
use crate::model::Selector;
use crate::wire;

/// Converts a namespace.
pub(crate) fn namespace(wire: &wire::Namespace, intern: &Intern) -> Namespace {
    Namespace { name: intern.str(&wire.metadata.name), labels: labels(&wire.metadata.labels, intern) }
}

/// Converts a PodDisruptionBudget.
///
/// # Errors
/// An invalid field.
pub(crate) fn budget(wire: &wire::PodDisruptionBudget, intern: &Intern) -> Result<Budget, Invalid> {
    let pods = selector(wire.spec.selector.as_ref(), intern)
        .map_err(|bad| bad.within("spec.selector").of("poddisruptionbudget", &wire.metadata))?;
    Ok(Budget {
        namespace: intern.str(&wire.metadata.namespace),
        name: Arc::from(&*wire.metadata.name),
        pods,
        allowed: wire.status.disruptions_allowed,
        disrupted: wire.status.disrupted_pods.keys().map(|name| Arc::from(&**name)).collect(),
    })
}

/// Converts a ReplicaSet or a StatefulSet.
///
/// # Errors
/// An invalid field.
pub(crate) fn group(kind: GroupKind, wire: &wire::Controller, intern: &Intern) -> Result<Group, Invalid> {
    let pods = selector(wire.spec.selector.as_ref(), intern)
        .map_err(|bad| bad.within("spec.selector").of("controller", &wire.metadata))?;
    Ok(of(kind, &wire.metadata, pods, intern))
}

/// Converts a Service or a ReplicationController.
pub(crate) fn service(kind: GroupKind, wire: &wire::MapSelected, intern: &Intern) -> Group {
    let selector = &wire.spec.selector;
    // Protobuf, in which the API server stores objects, has no empty map: an empty selector is an absent one.
    let pods = if selector.is_empty() {
        Selector::Nothing
    } else {
        Selector::of_labels(selector.iter().map(|(key, value)| (intern.str(key), intern.str(value))))
    };
    of(kind, &wire.metadata, pods, intern)
}

fn of(kind: GroupKind, meta: &wire::Meta, pods: Selector, intern: &Intern) -> Group {
    Group { kind, namespace: intern.str(&meta.namespace), name: intern.str(&meta.name), pods }
}
