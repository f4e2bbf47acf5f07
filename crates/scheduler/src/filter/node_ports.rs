//! A host port can be used once per node.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Pod;

pub(super) const FILTER: Filter =
    Filter { name: "NodePorts", prepare, events: ClusterEvents::NODE_ADDED.or(ClusterEvents::POD_REMOVED) };

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    let ports = &pod.shape.ports;
    if ports.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(|_, info| {
        if info.ports.iter().any(|used| ports.iter().any(|port| port.conflicts(used))) {
            Err(Refusal::resolvable("node(s) didn't have free ports for the requested pod ports"))
        } else {
            Ok(())
        }
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    fn port(port: u16, ip: &str, protocol: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "ports": [
            {"hostPort": port, "containerPort": 1, "hostIP": ip, "protocol": protocol},
        ]}]}})
    }

    #[test]
    fn a_used_host_port_rejects_the_node() {
        let builder = Builder::default().nodes(&["a", "b"]).runs("p", "a", port(80, "10.0.0.1", "TCP"));
        for (pod, fitting) in [
            (port(80, "", ""), vec!["b"]),
            (port(80, "10.0.0.1", "TCP"), vec!["b"]),
            (port(80, "10.0.0.2", "TCP"), vec!["a", "b"]),
            (port(80, "", "UDP"), vec!["a", "b"]),
            (port(81, "", "TCP"), vec!["a", "b"]),
            (port(0, "", "TCP"), vec!["a", "b"]),
        ] {
            assert_eq!(fits(&builder, pod.clone()), fitting, "{pod}");
        }
    }
}
