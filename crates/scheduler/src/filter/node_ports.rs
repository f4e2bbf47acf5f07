//! Two pods cannot have one port of a node.

use super::Events;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Pod;

pub(super) const FILTER: Filter =
    Filter { name: "NodePorts", prepare, woken_by: Events::NODE_ADDED.or(Events::POD_GONE) };

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    let wanted = &pod.shape.ports;
    if wanted.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(|_, info| {
        if info.ports.iter().any(|taken| wanted.iter().any(|port| port.conflicts(taken))) {
            Err(Refusal::curable("node(s) didn't have free ports for the requested pod ports"))
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
    fn a_taken_port_refuses_the_node() {
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
