//! Clusters for tests, made from API objects in JSON.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use super::Cluster;
use crate::model::Intern;
use crate::model::Pod;
use crate::read;

/// A node of this name, merged with `more`.
pub(crate) fn node(name: &str, more: Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    });
    merge(&mut node, more);
    node
}

/// A pod of this name in the namespace `default`, merged with `more`.
pub(crate) fn pod(name: &str, more: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c", "image": "app"}]},
    });
    merge(&mut pod, more);
    pod
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Builds a cluster.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) cluster: Cluster,
    intern: Intern,
}

impl Builder {
    pub(crate) fn node(mut self, name: &str, more: Value) -> Builder {
        let wire = serde_json::from_value(node(name, more)).unwrap();
        self.cluster.put_node(read::node(&wire, &self.intern).unwrap());
        self
    }

    pub(crate) fn nodes(self, names: &[&str]) -> Builder {
        names.iter().fold(self, |cluster, name| cluster.node(name, json!({})))
    }

    /// A pod that runs on a node.
    pub(crate) fn runs(mut self, name: &str, node: &str, more: Value) -> Builder {
        let mut wire = pod(name, more);
        merge(&mut wire, json!({"spec": {"nodeName": node}}));
        let pod = self.read(wire);
        self.cluster.put_pod(pod);
        self
    }

    /// A pod to schedule.
    pub(crate) fn pod(&self, more: Value) -> Arc<Pod> {
        self.read(pod("new", more))
    }

    fn read(&self, wire: Value) -> Arc<Pod> {
        Arc::new(read::pod(&serde_json::from_value(wire).unwrap(), &self.intern).unwrap())
    }

    pub(crate) fn namespace(mut self, name: &str, labels: Value) -> Builder {
        let wire = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
        let namespace = read::namespace(&wire, &self.intern);
        self.cluster.namespaces.insert(namespace.name, namespace.labels);
        self
    }

    /// A claim in the namespace `default`.
    pub(crate) fn claim(mut self, name: &str, more: Value) -> Builder {
        let mut wire = json!({"metadata": {"name": name, "namespace": "default", "uid": name}});
        merge(&mut wire, more);
        let wire = serde_json::from_value(wire).unwrap();
        self.cluster.storage.put_claim(read::claim(&wire, &self.intern).unwrap());
        self
    }

    pub(crate) fn volume(mut self, name: &str, more: Value) -> Builder {
        let mut wire = json!({"metadata": {"name": name}, "status": {"phase": "Available"}});
        merge(&mut wire, more);
        let volume = read::volume(&serde_json::from_value(wire).unwrap(), &self.intern).unwrap();
        self.cluster.storage.volumes.insert(volume.name.clone(), Arc::new(volume));
        self
    }

    pub(crate) fn class(mut self, name: &str, more: Value) -> Builder {
        let mut wire = json!({"metadata": {"name": name}, "provisioner": "example.com/disks"});
        merge(&mut wire, more);
        let class = read::class(&serde_json::from_value(wire).unwrap(), &self.intern);
        self.cluster.storage.classes.insert(class.name.clone(), class);
        self
    }

    pub(crate) fn csi_node(mut self, name: &str, more: Value) -> Builder {
        let mut wire = json!({"metadata": {"name": name}});
        merge(&mut wire, more);
        let node = read::csi_node(&serde_json::from_value(wire).unwrap(), &self.intern);
        self.cluster.storage.csi_nodes.insert(node.name.clone(), node);
        self
    }
}
