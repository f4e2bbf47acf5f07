//! Rejects pods with fields that this scheduler does not support: they stay pending, which is better than a wrong node.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Pod;

pub(super) const FILTER: Filter = Filter { name: "Unsupported", prepare, events: ClusterEvents::NONE };

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    match &*pod.shape.unsupported {
        [] => Ok(None),
        fields => Err(Refusal::unresolvable(format!("this scheduler does not support {}", fields.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;

    #[test]
    fn a_pod_with_resource_claims_is_refused_by_name() {
        let builder = Builder::default().nodes(&["a"]);
        let pod = builder.pod(json!({"spec": {"resourceClaims": [{"name": "gpu"}]}}));
        let refusal = prepare(&pod, &builder.cluster).err().unwrap();
        assert_eq!(refusal.to_string(), "this scheduler does not support spec.resourceClaims");
    }
}
