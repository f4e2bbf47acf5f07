//! Test support: nodes, and as many pods as fit on them.

use serde_json::Value;
use serde_json::json;

use harness::in_cluster::*;

/// How many kubectl processes create the pods: each sends a limited number of requests per second.
const CREATORS: usize = 4;
/// Pods that fit on each node.
pub(crate) const ROOM: usize = 20;

pub(crate) struct Workload {
    /// The name of the namespace, of the scheduler and of the nodes' label.
    pub name: &'static str,
    pub nodes: usize,
}

impl Workload {
    /// Creates the nodes, and a namespace for the pods.
    pub(crate) fn new(name: &'static str, nodes: usize) -> Workload {
        apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        let nodes_made: Vec<Value> = (0..nodes).map(|number| node(&format!("{name}-{number}"), name)).collect();
        create(&nodes_made);
        Workload { name, nodes }
    }

    /// Creates exactly as many pods as fit. Returns their number.
    pub(crate) fn pods(&self) -> usize {
        let all: Vec<Value> = (0..self.nodes * ROOM).map(|number| self.pod(&format!("p-{number}"))).collect();
        std::thread::scope(|scope| {
            for part in all.chunks(all.len().div_ceil(CREATORS)) {
                scope.spawn(|| create(part));
            }
        });
        all.len()
    }

    pub(crate) fn pod(&self, name: &str) -> Value {
        let requests = json!({"cpu": "500m", "memory": "64Mi"});
        let container = json!({"name": "main", "image": "none", "resources": {"requests": requests}});
        let spec =
            json!({"schedulerName": self.name, "nodeSelector": {"workload": self.name}, "containers": [container]});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": self.name}, "spec": spec})
    }

    /// The nodes of the pods that have one.
    pub(crate) fn bound(&self) -> Vec<String> {
        let query = ["get", "pods", "-n", self.name, "-o", "jsonpath={.items[*].spec.nodeName}"];
        kubectl(&query).split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until this many pods have a node; returns how many it saw.
    pub(crate) fn until_bound(&self, at_least: usize) -> usize {
        let what = format!("{at_least} pods of {} with a node", self.name);
        eventually(&what, || Some(self.bound().len()).filter(|bound| *bound >= at_least))
    }

    /// Checks that all pods have a node, and no node has more than fit.
    pub(crate) fn is_in_place(&self) {
        self.until_bound(self.nodes * ROOM);
        let bound = self.bound();
        for number in 0..self.nodes {
            let node = format!("{}-{number}", self.name);
            assert_eq!(bound.iter().filter(|name| **name == node).count(), ROOM, "pods on {node}");
        }
    }
}

fn node(name: &str, workload: &str) -> Value {
    let room = json!({"cpu": format!("{}m", ROOM * 500), "memory": "64Gi", "pods": "110"});
    let status = json!({"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"workload": workload}},
        "status": status})
}

fn create(objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    run_with("kubectl", &["create", "-f", "-"], &list.to_string());
}
