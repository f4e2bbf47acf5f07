//! Pods.

use std::sync::Arc;

use super::BadField;
use super::Invalid;
use super::affinity;
use super::affinity::PodTerms;
use super::resources;
use super::resources::is_sidecar;
use super::selector::labels;
use crate::model::ClaimRef;
use crate::model::Disk;
use crate::model::Effect;
use crate::model::HostPort;
use crate::model::Intern;
use crate::model::NodeSelector;
use crate::model::NodeTerm;
use crate::model::Owner;
use crate::model::OwnerKind;
use crate::model::Pod;
use crate::model::Shape;
use crate::model::Spread;
use crate::model::Toleration;
use crate::model::TolerationValue;
use crate::wire;

/// Converts a pod.
///
/// # Errors
/// An invalid field.
pub(crate) fn pod(wire: &wire::Pod, intern: &Intern) -> Result<Pod, Invalid> {
    let shape = shape(wire, intern).map_err(|bad| bad.of("pod", &wire.metadata))?;
    let status = &wire.status;
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
    let named = |name: &String| (!name.is_empty()).then(|| intern.str(name));
    let terminating = wire.metadata.deletion_timestamp.is_some();
    let unscheduled = condition("PodScheduled").filter(|scheduled| scheduled.status == "False");
    Ok(Pod {
        uid: match wire.metadata.uid.as_str() {
            "" => Arc::from(&*wire.metadata.address()),
            uid => Arc::from(uid),
        },
        name: wire.metadata.name.as_str().into(),
        shape: intern.shape(shape),
        node: named(&wire.spec.node_name),
        nominated: named(&status.nominated_node_name),
        terminating,
        preempted: terminating
            && condition("DisruptionTarget").is_some_and(|target| target.reason == "PreemptionByScheduler"),
        finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        gated: !wire.spec.scheduling_gates.is_empty(),
        created: wire.metadata.creation_timestamp.as_ref().map_or(0, |time| time.seconds),
        started: status.start_time.as_ref().map_or(i64::MAX, |time| time.seconds),
        unscheduled: unscheduled.map(|condition| intern.str(&condition.message)),
    })
}

fn shape(wire: &wire::Pod, intern: &Intern) -> Result<Shape, BadField> {
    let spec = &wire.spec;
    let namespace = intern.str(&wire.metadata.namespace);
    let requests = resources::requests(wire, intern)?;
    let mut unsupported: Vec<Box<str>> = Vec::new();
    if !spec.resource_claims.is_empty() {
        unsupported.push("spec.resourceClaims".into());
    }
    let constraints = constraints(wire, &namespace, intern).unwrap_or_else(|bad| {
        unsupported.push(format!("{} ({})", bad.field, bad.reason).into());
        PlacementConstraints::default()
    });
    Ok(Shape {
        labels: labels(&wire.metadata.labels, intern),
        scheduler: intern.str(&spec.scheduler_name),
        priority: spec.priority.unwrap_or(0),
        preempts: spec.preemption_policy.as_deref() != Some("Never"),
        requests: requests.requests,
        nonzero_incoming: requests.nonzero_incoming,
        nonzero_placed: requests.nonzero_placed,
        ports: ports(wire, intern),
        tolerations: spec.tolerations.iter().map(|one| toleration(one, intern)).collect(),
        node_selector: labels(&spec.node_selector, intern),
        node_affinity: constraints.required_nodes,
        preferred_nodes: constraints.preferred_nodes,
        affinity: constraints.near.required,
        anti_affinity: constraints.away.required,
        preferred_affinity: constraints.near.preferred,
        preferred_anti_affinity: constraints.away.preferred,
        spread: constraints.spread,
        claims: spec.volumes.iter().filter_map(|volume| claim(volume, intern)).collect(),
        disks: spec.volumes.iter().filter_map(|volume| disk(volume, intern)).collect(),
        images: containers(wire).map(|container| intern.str(&full_image_name(&container.image))).collect(),
        owner: owner(wire, intern),
        unsupported: unsupported.into(),
        namespace,
    })
}

/// The affinities and spread constraints. A pod with invalid ones still counts on its node, but is not scheduled.
#[derive(Default)]
struct PlacementConstraints {
    required_nodes: Option<NodeSelector>,
    preferred_nodes: Box<[(i32, NodeTerm)]>,
    near: PodTerms,
    away: PodTerms,
    spread: Box<[Spread]>,
}

fn constraints(wire: &wire::Pod, namespace: &Arc<str>, intern: &Intern) -> Result<PlacementConstraints, BadField> {
    let affinity = &wire.spec.affinity;
    Ok(PlacementConstraints {
        required_nodes: affinity::required_nodes(wire, intern)?,
        preferred_nodes: affinity::preferred_nodes(wire, intern)?,
        near: affinity::pod_terms(&affinity.pod_affinity, "podAffinity", namespace, intern)?,
        away: affinity::pod_terms(&affinity.pod_anti_affinity, "podAntiAffinity", namespace, intern)?,
        spread: affinity::spread(wire, intern)?,
    })
}

fn containers(wire: &wire::Pod) -> impl Iterator<Item = &wire::Container> {
    wire.spec.init_containers.iter().chain(&wire.spec.containers)
}

/// Host ports of all containers that run as long as the pod.
fn ports(wire: &wire::Pod, intern: &Intern) -> Box<[HostPort]> {
    let sidecars = wire.spec.init_containers.iter().filter(|container| is_sidecar(container));
    let or = |value: &String, default: &str| intern.str(if value.is_empty() { default } else { value });
    sidecars
        .chain(&wire.spec.containers)
        .flat_map(|container| &container.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: or(&port.host_ip, HostPort::EVERY_IP),
            protocol: or(&port.protocol, "TCP"),
            port: port.host_port,
        })
        .collect()
}

fn toleration(wire: &wire::Toleration, intern: &Intern) -> Toleration {
    let effect = Effect::named(&wire.effect);
    let value = match wire.operator.as_str() {
        _ if effect.is_none() && !wire.effect.is_empty() => TolerationValue::Unknown,
        "" | "Equal" => TolerationValue::Equal(intern.str(&wire.value)),
        "Exists" => TolerationValue::Any,
        _ => TolerationValue::Unknown,
    };
    Toleration { key: intern.str(&wire.key), value, effect }
}

fn claim(volume: &wire::Volume, intern: &Intern) -> Option<ClaimRef> {
    match (&volume.source.persistent_volume_claim, &volume.source.ephemeral) {
        (Some(claim), _) => Some(ClaimRef::Named(intern.str(&claim.claim_name))),
        (None, Some(_)) => Some(ClaimRef::Ephemeral(intern.str(&volume.name))),
        (None, None) => None,
    }
}

fn disk(volume: &wire::Volume, intern: &Intern) -> Option<Disk> {
    let disk = |id: String, shareable| Disk { id: intern.str(&id), monitors: [].into(), shareable };
    let source = &volume.source;
    if let Some(gce) = &source.gce_persistent_disk {
        Some(disk(format!("gce/{}", gce.pd_name), gce.read_only))
    } else if let Some(aws) = &source.aws_elastic_block_store {
        Some(disk(format!("aws/{}", aws.volume_id), false))
    } else if let Some(iscsi) = &source.iscsi {
        Some(disk(format!("iscsi/{}", iscsi.iqn), iscsi.read_only))
    } else {
        let rbd = source.rbd.as_ref()?;
        let pool = if rbd.pool.is_empty() { "rbd" } else { &rbd.pool };
        let monitors = rbd.monitors.iter().map(|monitor| intern.str(monitor)).collect();
        Some(Disk { monitors, ..disk(format!("rbd/{pool}/{}", rbd.image), rbd.read_only) })
    }
}

fn owner(wire: &wire::Pod, intern: &Intern) -> Option<Owner> {
    let owner = wire.metadata.controller()?;
    let kind = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("v1", "ReplicationController") => OwnerKind::ReplicationController,
        ("apps/v1", "ReplicaSet") => OwnerKind::ReplicaSet,
        ("apps/v1", "StatefulSet") => OwnerKind::StatefulSet,
        _ => return None,
    };
    Some(Owner { kind, name: intern.str(&owner.name) })
}

/// An image's name as nodes list it: with a tag.
fn full_image_name(image: &str) -> String {
    let has_tag = image.rfind(':').is_some_and(|colon| image.rfind('/').is_none_or(|slash| colon > slash));
    if has_tag { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Pod {
        pod(&serde_json::from_value(value).unwrap(), &Intern::default()).unwrap()
    }

    #[test]
    fn images_get_the_tag_that_nodes_list() {
        for (given, full) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("host:5000/nginx", "host:5000/nginx:latest"),
            ("nginx@sha256:12", "nginx@sha256:12"),
        ] {
            assert_eq!(full_image_name(given), full);
        }
    }

    #[test]
    fn equal_pods_share_their_shape() {
        let intern = Intern::default();
        let named = |name: &str| {
            let wire = json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {"priority": 3}});
            pod(&serde_json::from_value(wire).unwrap(), &intern).unwrap()
        };
        assert!(Arc::ptr_eq(&named("one").shape, &named("two").shape));
    }

    #[test]
    fn only_sidecars_among_init_containers_keep_their_ports() {
        let port = |port: u16| json!([{"hostPort": port, "containerPort": 1}]);
        let pod = read(json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "ports": port(1)}, {"name": "b", "ports": [{"containerPort": 9}]}],
            "initContainers": [{"name": "c", "ports": port(2)},
                {"name": "d", "ports": port(3), "restartPolicy": "Always"}],
        }}));
        let ports: Vec<_> = pod.shape.ports.iter().map(|port| (port.port, &*port.ip, &*port.protocol)).collect();
        assert_eq!(ports, [(3, "0.0.0.0", "TCP"), (1, "0.0.0.0", "TCP")]);
    }

    #[test]
    fn unsupported_fields_are_recorded() {
        let pod = read(json!({"metadata": {"name": "p"}, "spec": {"resourceClaims": [{"name": "gpu"}]}}));
        assert_eq!(*pod.shape.unsupported, [Box::<str>::from("spec.resourceClaims")]);
    }

    #[test]
    fn an_unknown_operator_tolerates_nothing() {
        let pod = read(json!({"metadata": {"name": "p"}, "spec": {"tolerations": [
            {"key": "a", "operator": "Lt", "value": "5"}, {"operator": "Exists", "effect": "Sometimes"},
        ]}}));
        assert!(pod.shape.tolerations.iter().all(|toleration| toleration.value == TolerationValue::Unknown));
    }

    #[test]
    fn a_pod_with_an_invalid_affinity_keeps_its_requests_and_names_the_field() {
        let pod = read(json!({"metadata": {"name": "p"}, "spec": {
            "nodeName": "a",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {
                    "matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}}]}},
        }}));
        assert_eq!((pod.node.as_deref(), pod.shape.requests.cpu), (Some("a"), 2000));
        let field = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector\
            .matchExpressions[0].operator (\"Near\" is not a valid operator)";
        assert_eq!(*pod.shape.unsupported, [Box::<str>::from(field)]);
    }

    #[test]
    fn an_invalid_quantity_is_reported_with_object_and_field() {
        let wire = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"overhead": {"cpu": "much"}}});
        let error = pod(&serde_json::from_value(wire).unwrap(), &Intern::default()).unwrap_err();
        assert!(error.to_string().starts_with("pod n/p: spec.overhead[cpu]: \"much\""), "{error}");
    }
}
