//! A pod with `spec.nodeName` fits that node only.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Pod;

pub(super) const FILTER: Filter = Filter { name: "NodeName", prepare, events: ClusterEvents::NODE_ADDED };

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    let Some(name) = &pod.node else { return Ok(None) };
    Ok(Some(Box::new(move |_, info| {
        if info.node.name == *name {
            Ok(())
        } else {
            Err(Refusal::unresolvable("node(s) didn't match the requested node name"))
        }
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    #[test]
    fn only_the_named_node_fits() {
        let builder = Builder::default().nodes(&["a", "b"]);
        assert_eq!(fits(&builder, json!({"spec": {"nodeName": "b"}})), ["b"]);
    }
}
