//! Nodes.

use super::BadField;
use super::Invalid;
use super::resources;
use super::selector::labels;
use crate::model::Effect;
use crate::model::Intern;
use crate::model::Node;
use crate::model::Taint;
use crate::wire;

/// Converts a node.
///
/// # Errors
/// An invalid field.
pub(crate) fn node(wire: &wire::Node, intern: &Intern) -> Result<Node, Invalid> {
    read(wire, intern).map_err(|bad| bad.of("node", &wire.metadata))
}

fn read(wire: &wire::Node, intern: &Intern) -> Result<Node, BadField> {
    let (allocatable, max_pods) = resources::allocatable(wire, intern)?;
    let taints = wire.spec.taints.iter().enumerate().map(|(at, taint)| {
        let unknown = || BadField::new(format!("spec.taints[{at}].effect"), format!("{:?} is unknown", taint.effect));
        let effect = Effect::named(&taint.effect).ok_or_else(unknown)?;
        Ok(Taint { key: intern.str(&taint.key), value: intern.str(&taint.value), effect })
    });
    let images = wire.status.images.iter().flat_map(|image| image.names.iter().map(|name| (name, image.size_bytes)));
    let ready = wire.status.conditions.iter().find(|condition| condition.kind == "Ready");
    Ok(Node {
        name: intern.str(&wire.metadata.name),
        labels: labels(&wire.metadata.labels, intern),
        taints: taints.collect::<Result<_, _>>()?,
        unschedulable: wire.spec.unschedulable,
        allocatable,
        max_pods,
        images: images.map(|(name, size)| (intern.str(name), size)).collect(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn allocatable_falls_back_to_capacity() {
        let read = |status| {
            let wire = serde_json::from_value(json!({"metadata": {"name": "n"}, "status": status})).unwrap();
            let node = node(&wire, &Intern::default()).unwrap();
            (node.allocatable.cpu, node.max_pods)
        };
        let capacity = json!({"cpu": "4", "pods": "110"});
        assert_eq!(read(json!({"capacity": capacity, "allocatable": {"cpu": "3500m", "pods": "100"}})), (3500, 100));
        assert_eq!(read(json!({"capacity": capacity})), (4000, 110));
    }

    #[test]
    fn an_unknown_taint_effect_is_reported_with_its_field() {
        let wire = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "Maybe"}]}});
        let error = node(&serde_json::from_value(wire).unwrap(), &Intern::default()).unwrap_err();
        assert_eq!(error.to_string(), "node n: spec.taints[0].effect: \"Maybe\" is unknown");
    }
}
