//! Node selector and required node affinity.

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::model::Pod;
use crate::model::node_matches;

pub(super) const FILTER: Filter =
    Filter { name: "NodeAffinity", prepare, events: ClusterEvents::NODE_ADDED.or(ClusterEvents::NODE_LABELS) };

fn prepare<'a>(pod: &'a Pod, _: &'a Cluster) -> Prepared<'a> {
    let shape = &*pod.shape;
    if shape.node_selector.is_empty() && shape.node_affinity.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(|_, info| {
        if node_matches(shape, &info.node) {
            Ok(())
        } else {
            Err(Refusal::unresolvable("node(s) didn't match Pod's node affinity/selector"))
        }
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    fn required(terms: Value) -> Value {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
        }}}})
    }

    fn cluster() -> Builder {
        let node = |disk: &str, size: &str| json!({"metadata": {"labels": {"disk": disk, "size": size}}});
        Builder::default().node("a", node("ssd", "10")).node("b", node("hdd", "20")).nodes(&["c"])
    }

    #[test]
    fn the_node_selector_needs_every_label() {
        assert_eq!(fits(&cluster(), json!({"spec": {"nodeSelector": {"disk": "ssd", "size": "10"}}})), ["a"]);
        assert!(fits(&cluster(), json!({"spec": {"nodeSelector": {"disk": "ssd", "size": "20"}}})).is_empty());
    }

    #[test]
    fn each_operator_selects_what_kubernetes_says() {
        let one = |key: &str, operator: &str, values: &[&str]| {
            let expression = json!({"key": key, "operator": operator, "values": values});
            fits(&cluster(), required(json!([{"matchExpressions": [expression]}])))
        };
        assert_eq!(one("disk", "In", &["ssd", "nvme"]), ["a"]);
        assert_eq!(one("disk", "NotIn", &["ssd"]), ["b", "c"]);
        assert_eq!(one("disk", "Exists", &[]), ["a", "b"]);
        assert_eq!(one("disk", "DoesNotExist", &[]), ["c"]);
        assert_eq!(one("size", "Gt", &["10"]), ["b"]);
        assert_eq!(one("size", "Lt", &["20"]), ["a"]);
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_term_matches_nothing() {
        let named = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["c"]}]});
        let fast = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]});
        assert_eq!(fits(&cluster(), required(json!([fast, named]))), ["a", "c"]);
        assert!(fits(&cluster(), required(json!([{}]))).is_empty());
        assert!(fits(&cluster(), required(json!(null))).is_empty());
    }

    #[test]
    fn a_term_with_an_invalid_number_matches_nothing_and_the_others_stay_valid() {
        let sized = |value: &str| json!({"matchExpressions": [{"key": "size", "operator": "Gt", "values": [value]}]});
        assert!(fits(&cluster(), required(json!([sized("5.10")]))).is_empty());
        assert_eq!(fits(&cluster(), required(json!([sized("5.10"), sized("10")]))), ["b"]);
    }

    #[test]
    fn selector_and_affinity_have_to_hold_both() {
        let mut pod = required(json!([{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]));
        pod["spec"]["nodeSelector"] = json!({"size": "20"});
        assert_eq!(fits(&cluster(), pod), ["b"]);
    }
}
