//! Every requested resource must be free on the node, and so must one of its pod slots.

use std::borrow::Cow;

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Reasons;
use super::Refusal;
use crate::cluster::Cluster;
use crate::cluster::NodeInfo;
use crate::model::Pod;
use crate::model::Resources;

pub(super) const FILTER: Filter = Filter {
    name: "NodeResourcesFit",
    prepare,
    events: ClusterEvents::NODE_ADDED.or(ClusterEvents::NODE_ALLOCATABLE).or(ClusterEvents::POD_REMOVED),
};

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    let requested = &pod.shape.requests;
    Ok(Some(Box::new(move |_, info| if has_room(requested, info) { Ok(()) } else { Err(shortage(requested, info)) })))
}

fn has_room(requested: &Resources, info: &NodeInfo) -> bool {
    let (has, used) = (&info.node.allocatable, &info.requested);
    let fits = |requested: i64, has: i64, used: i64| requested == 0 || requested <= has - used;
    has_pod_slot(info)
        && fits(requested.cpu, has.cpu, used.cpu.get())
        && fits(requested.memory, has.memory, used.memory.get())
        && fits(requested.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage.get())
        && requested.named.iter().all(|(name, amount)| fits(*amount, has.get(name), used.get(name)))
}

fn has_pod_slot(info: &NodeInfo) -> bool {
    i64::try_from(info.pods.len()).is_ok_and(|pods| pods < info.node.max_pods)
}

/// The missing resources. A request above the node's allocatable amount is unresolvable: no preemption helps.
fn shortage(requested: &Resources, info: &NodeInfo) -> Refusal {
    let (has, used) = (&info.node.allocatable, &info.requested);
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let mut resolvable = true;
    if !has_pod_slot(info) {
        reasons.push("Too many pods".into());
    }
    let mut compare = |reason: Cow<'static, str>, requested: i64, has: i64, used: i64| {
        if requested > 0 && requested > has - used {
            reasons.push(reason);
            resolvable &= requested <= has;
        }
    };
    compare("Insufficient cpu".into(), requested.cpu, has.cpu, used.cpu.get());
    compare("Insufficient memory".into(), requested.memory, has.memory, used.memory.get());
    compare(
        "Insufficient ephemeral-storage".into(),
        requested.ephemeral_storage,
        has.ephemeral_storage,
        used.ephemeral_storage.get(),
    );
    for (name, amount) in &requested.named {
        compare(format!("Insufficient {name}").into(), *amount, has.get(name), used.get(name));
    }
    Refusal { reasons: Reasons::Several(reasons), resolvable }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    fn asks(requests: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
    }

    fn cluster() -> Builder {
        let gpu = json!({"status": {"allocatable": {"example.com/gpu": "2"}}});
        Builder::default().nodes(&["a"]).node("b", gpu).runs("p", "a", asks(json!({"cpu": "3", "memory": "1Gi"})))
    }

    #[test]
    fn every_requested_resource_has_to_be_free() {
        for (requests, fitting) in [
            (json!({}), vec!["a", "b"]),
            (json!({"cpu": "1"}), vec!["a", "b"]),
            (json!({"cpu": "1001m"}), vec!["b"]),
            (json!({"memory": "7Gi"}), vec!["a", "b"]),
            (json!({"memory": "8Gi"}), vec!["b"]),
            (json!({"ephemeral-storage": "1"}), vec![]),
            (json!({"example.com/gpu": "2"}), vec!["b"]),
            (json!({"example.com/gpu": "3"}), vec![]),
            (json!({"example.com/gpu": "0"}), vec!["a", "b"]),
        ] {
            assert_eq!(fits(&cluster(), asks(requests.clone())), fitting, "{requests}");
        }
    }

    #[test]
    fn a_node_takes_no_more_pods_than_allocatable() {
        let builder = Builder::default().node("a", json!({"status": {"allocatable": {"pods": "1"}}}));
        assert_eq!(fits(&builder, json!({})), ["a"]);
        assert!(fits(&builder.runs("p", "a", json!({})), json!({})).is_empty());
    }

    #[test]
    fn every_missing_resource_is_reported_and_whether_preemption_may_help() {
        let builder = cluster();
        let info = builder.cluster.node(builder.cluster.node_named("a").unwrap());
        let refusal = |requests| shortage(&builder.pod(asks(requests)).shape.requests, info);
        let busy = refusal(json!({"cpu": "2", "memory": "8Gi"}));
        assert_eq!((busy.to_string().as_str(), busy.resolvable), ("Insufficient cpu, Insufficient memory", true));
        let small = refusal(json!({"cpu": "2", "example.com/gpu": "1"}));
        assert_eq!(small.to_string(), "Insufficient cpu, Insufficient example.com/gpu");
        assert!(!small.resolvable);
    }
}
