//! The cluster's sums stay correct.

use std::sync::Arc;

use serde_json::json;

use super::testing::Builder;
use super::*;

fn requests(cpu: &str) -> serde_json::Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}},
        "ports": [{"hostPort": 80, "containerPort": 80}]}]}})
}

fn cpu(cluster: &Cluster, node: &str) -> i64 {
    cluster.node(cluster.node_named(node).unwrap()).requested.cpu.get()
}

#[test]
fn pods_count_until_they_are_removed() {
    let mut cluster = Builder::default().nodes(&["a"]).runs("p", "a", requests("1")).cluster;
    assert_eq!(cpu(&cluster, "a"), 1000);
    assert_eq!(cluster.node(cluster.node_named("a").unwrap()).ports.len(), 1);
    cluster.remove_pod("p");
    assert_eq!(cpu(&cluster, "a"), 0);
    assert!(cluster.node(cluster.node_named("a").unwrap()).ports.is_empty());
    assert_eq!(cluster.populations().count(), 0);
}

#[test]
fn an_assumed_pod_is_confirmed_by_the_watch_and_then_not_forgotten() {
    let builder = Builder::default().nodes(&["a"]);
    let pod = builder.pod(requests("1"));
    let mut cluster = builder.cluster;
    let node = cluster.node_named("a").unwrap();
    cluster.assume(pod.clone(), node);
    assert_eq!((cpu(&cluster, "a"), cluster.pod_counts()), (1000, (1, 1)));
    cluster.put_pod(Arc::new(Pod { node: Some(Arc::from("a")), ..Pod::clone(&pod) }));
    assert_eq!((cpu(&cluster, "a"), cluster.pod_counts()), (1000, (1, 0)));
    assert!(!cluster.forget(&pod.uid));
    assert_eq!(cpu(&cluster, "a"), 1000);
}

#[test]
fn a_huge_request_does_not_distort_the_sums() {
    let huge = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "8Ei"}}}]}});
    let builder = Builder::default().nodes(&["a"]).runs("p", "a", requests("1")).runs("huge", "a", huge.clone());
    let mut cluster = builder.runs("huger", "a", huge).cluster;
    let requested = cluster.node(cluster.node_named("a").unwrap()).nonzero_requested;
    assert_eq!(requested.1.get(), i64::MAX);
    cluster.remove_pod("huge");
    cluster.remove_pod("huger");
    let info = cluster.node(cluster.node_named("a").unwrap());
    assert_eq!((info.requested.cpu.get(), info.requested.memory.get()), (1000, 0));
    assert_eq!((info.nonzero_requested.0.get(), info.nonzero_requested.1.get()), (1000, 200 << 20));
}

#[test]
fn a_forgotten_pod_frees_its_room() {
    let builder = Builder::default().nodes(&["a"]);
    let pod = builder.pod(requests("1"));
    let mut cluster = builder.cluster;
    let node = cluster.node_named("a").unwrap();
    cluster.assume(pod.clone(), node);
    assert!(cluster.forget(&pod.uid));
    assert_eq!((cpu(&cluster, "a"), cluster.pod_counts()), (0, (0, 0)));
}

#[test]
fn a_pod_may_arrive_before_its_node_and_stay_after_it() {
    let mut cluster = Builder::default().runs("p", "late", requests("1")).cluster;
    assert_eq!((cluster.node_count(), cluster.nodes().count()), (0, 0));
    let late = Node { name: Arc::from("late"), ..Node::default() };
    assert_eq!(cluster.put_node(late.clone()), None);
    assert_eq!(cpu(&cluster, "late"), 1000);
    assert!(cluster.remove_node("late"));
    assert_eq!(cluster.node_named("late"), None);
    cluster.put_node(late);
    assert_eq!(cpu(&cluster, "late"), 1000);
}

#[test]
fn node_slots_are_reused() {
    let mut cluster = Builder::default().nodes(&["a", "b"]).cluster;
    cluster.remove_node("a");
    cluster.put_node(Node { name: Arc::from("c"), ..Node::default() });
    assert_eq!((cluster.node_slots(), cluster.node_count()), (2, 2));
}

#[test]
fn a_query_without_some_pods_restores_the_cluster() {
    let builder = Builder::default().nodes(&["a"]).runs("p", "a", requests("1")).runs("q", "a", requests("2"));
    let mut cluster = builder.cluster;
    let seen = cluster.without(&[Arc::from("p")], |cluster| cpu(cluster, "a"));
    assert_eq!((seen, cpu(&cluster, "a"), cluster.pod_counts()), (2000, 3000, (2, 0)));
}

#[test]
fn topologies_follow_the_labels_of_nodes() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let builder = Builder::default().node("a", zone("1")).node("b", zone("2")).nodes(&["c"]);
    let key: Arc<str> = Arc::from("zone");
    let (a, c) = (builder.cluster.node_named("a").unwrap(), builder.cluster.node_named("c").unwrap());
    assert_eq!(builder.cluster.topology(&key).domains(), 2);
    assert_eq!(builder.cluster.topology(&key).domain(c), None);
    let cluster = builder.node("b", zone("1")).cluster;
    assert_eq!(cluster.topology(&key).domains(), 1);
    assert_eq!(cluster.topology(&key).domain(a), Some(0));
}

#[test]
fn images_are_counted_by_node() {
    let image = |name: &str| json!({"status": {"images": [{"names": [name], "sizeBytes": 7}]}});
    let mut cluster =
        Builder::default().node("a", image("x:1")).node("b", image("x:1")).node("b", image("y:1")).cluster;
    assert_eq!((cluster.nodes_with_image("x:1"), cluster.nodes_with_image("y:1")), (1, 1));
    cluster.remove_node("a");
    assert_eq!(cluster.nodes_with_image("x:1"), 0);
}
