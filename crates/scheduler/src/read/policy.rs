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

pub fn namespace(wire: &wire::Namespace, intern: &Intern) -> Namespace {
    Namespace { name: intern.str(&wire.metadata.name), labels: labels(&wire.metadata.labels, intern) }
}

/// Makes a budget of what the API server sent.
///
/// # Errors
/// Names the field that makes no sense.
pub fn budget(wire: &wire::PodDisruptionBudget, intern: &Intern) -> Result<Budget, Invalid> {
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

/// Makes a group of a ReplicaSet or a StatefulSet.
///
/// # Errors
/// Names the field that makes no sense.
pub fn group(kind: GroupKind, wire: &wire::Controller, intern: &Intern) -> Result<Group, Invalid> {
    let pods = selector(wire.spec.selector.as_ref(), intern)
        .map_err(|bad| bad.within("spec.selector").of("controller", &wire.metadata))?;
    Ok(of(kind, &wire.metadata, pods, intern))
}

/// Makes a group of a Service or a ReplicationController.
pub fn service(kind: GroupKind, wire: &wire::MapSelected, intern: &Intern) -> Group {
    let selector = &wire.spec.selector;
    // There is no empty map in Protobuf, in which the API server keeps its objects: it is the same as none.
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
