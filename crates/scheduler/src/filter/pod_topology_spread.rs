//! Required topology spread constraints: no domain may exceed the emptiest one by more than maxSkew.

use std::sync::Arc;

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::cluster::NodeInfo;
use crate::cluster::Topology;
use crate::model::Pod;
use crate::model::Spread;

pub(super) const FILTER: Filter = Filter {
    name: "PodTopologySpread",
    prepare,
    events: ClusterEvents::NODE_ADDED
        .or(ClusterEvents::NODE_REMOVED)
        .or(ClusterEvents::NODE_LABELS)
        .or(ClusterEvents::NODE_TAINTS)
        .or(ClusterEvents::POD_REMOVED)
        .or(ClusterEvents::POD_ADDED),
};

/// One constraint with its counts.
struct Counted {
    topology: Arc<Topology>,
    /// Matching pods by domain.
    pods: Vec<i64>,
    /// The most matching pods that a domain may have before the pod is added.
    limit: i64,
}

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    let constraints: Vec<&Spread> = pod.shape.spread.iter().filter(|constraint| constraint.required).collect();
    if constraints.is_empty() {
        return Ok(None);
    }
    let topologies: Vec<_> = constraints.iter().map(|constraint| cluster.topology(&constraint.topology_key)).collect();
    let counted: Vec<_> =
        (0..constraints.len()).map(|at| count(pod, cluster, constraints[at], &topologies, at)).collect();
    Ok(Some(Box::new(move |id, _: &NodeInfo| counted.iter().try_for_each(|constraint| constraint.check(id)))))
}

impl Counted {
    fn check(&self, id: NodeId) -> Result<(), Refusal> {
        match self.topology.domain(id) {
            None => Err(Refusal::unresolvable(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            )),
            Some(domain) if self.pods[domain] > self.limit => {
                Err(Refusal::resolvable("node(s) didn't match pod topology spread constraints"))
            }
            Some(_) => Ok(()),
        }
    }
}

/// Counts the pods of one constraint. Only nodes count that have the labels of all constraints and that the
/// constraint's node affinity and taint policies include; only domains with such a node are compared.
fn count(pod: &Pod, cluster: &Cluster, constraint: &Spread, topologies: &[Arc<Topology>], at: usize) -> Counted {
    let topology = &topologies[at];
    let mut counts = vec![false; cluster.node_slots()];
    let mut domains: Vec<Option<i64>> = vec![None; topology.domains()];
    for (id, info) in cluster.nodes() {
        let labelled = topologies.iter().all(|topology| topology.domain(id).is_some());
        if labelled && constraint.counts(&pod.shape, &info.node) {
            counts[id.index()] = true;
            if let Some(domain) = topology.domain(id) {
                domains[domain] = Some(0);
            }
        }
    }
    add_matching(pod, cluster, constraint, |id, pods| {
        if let Some(domain) = topology.domain(id).filter(|_| counts[id.index()]) {
            *domains[domain].get_or_insert(0) += pods;
        }
    });
    let compared = domains.iter().flatten();
    let too_few = i64::try_from(compared.clone().count()).is_ok_and(|number| number < constraint.min_domains);
    let emptiest = if too_few { 0 } else { compared.min().copied().unwrap_or(0) };
    let itself = i64::from(constraint.pods.matches(&pod.shape.labels));
    let limit = constraint.max_skew + emptiest - itself;
    Counted { topology: topology.clone(), pods: domains.into_iter().map(Option::unwrap_or_default).collect(), limit }
}

/// Calls `add` with each node and the number of its pods that match a constraint. Terminating pods do not count, and an
/// empty selector matches none.
pub(crate) fn add_matching(pod: &Pod, cluster: &Cluster, constraint: &Spread, mut add: impl FnMut(NodeId, i64)) {
    if constraint.pods.is_empty() {
        return;
    }
    for population in cluster.populations() {
        let shape = &population.shape;
        if shape.namespace == pod.shape.namespace && constraint.pods.matches(&shape.labels) {
            for (id, count) in &population.on {
                add(*id, count.not_terminating());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    fn web() -> Value {
        json!({"metadata": {"labels": {"app": "web"}}})
    }

    fn spread(more: Value) -> Value {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        constraint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut pod = web();
        pod["spec"] = json!({"topologySpreadConstraints": [constraint]});
        pod
    }

    fn zone(zone: &str) -> Value {
        json!({"metadata": {"labels": {"zone": zone}}})
    }

    /// Two pods in zone 1, one in zone 2, and a node without a zone.
    fn cluster() -> Builder {
        Builder::default()
            .node("a", zone("1"))
            .node("b", zone("1"))
            .node("c", zone("2"))
            .nodes(&["d"])
            .runs("p", "a", web())
            .runs("q", "b", web())
            .runs("r", "c", web())
    }

    #[test]
    fn a_domain_may_not_exceed_the_emptiest_by_more_than_max_skew() {
        assert_eq!(fits(&cluster(), spread(json!({}))), ["c"]);
        assert_eq!(fits(&cluster(), spread(json!({"maxSkew": 2}))), ["a", "b", "c"]);
    }

    #[test]
    fn a_pod_that_does_not_match_its_own_selector_may_exceed_by_one() {
        let mut pod = spread(json!({}));
        pod["metadata"]["labels"]["app"] = json!("other");
        assert_eq!(fits(&cluster(), pod), ["a", "b", "c"]);
    }

    #[test]
    fn an_empty_domain_excludes_the_others() {
        assert_eq!(fits(&cluster().node("e", zone("3")), spread(json!({}))), ["e"]);
    }

    #[test]
    fn fewer_domains_than_min_domains_count_as_an_empty_one() {
        assert!(fits(&cluster(), spread(json!({"minDomains": 3}))).is_empty());
        assert_eq!(fits(&cluster(), spread(json!({"minDomains": 3, "maxSkew": 2}))), ["c"]);
    }

    #[test]
    fn pods_being_deleted_and_pods_elsewhere_do_not_count() {
        let gone = json!({"metadata": {"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let elsewhere = json!({"metadata": {"labels": {"app": "web"}, "namespace": "other"}});
        let builder = cluster().runs("s", "c", gone).runs("t", "c", elsewhere);
        assert_eq!(fits(&builder, spread(json!({}))), ["c"]);
    }

    #[test]
    fn nodes_excluded_by_selector_or_taint_do_not_count() {
        let dry =
            json!({"metadata": {"labels": {"zone": "3"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
        let builder = cluster().node("e", dry);
        assert!(fits(&builder, spread(json!({}))).is_empty());
        assert_eq!(fits(&builder, spread(json!({"nodeTaintsPolicy": "Honor"}))), ["c"]);
        let builder = cluster().node("f", json!({"metadata": {"labels": {"zone": "4", "old": "yes"}}}));
        let mut modern = spread(json!({}));
        modern["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]}]}}});
        assert_eq!(fits(&builder, modern.clone()), ["c"]);
        modern["spec"]["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = json!("Ignore");
        assert!(fits(&builder, modern).is_empty());
    }

    #[test]
    fn match_label_keys_narrow_the_selector_to_equal_pods() {
        let mut pod = spread(json!({"matchLabelKeys": ["version", "absent"]}));
        pod["metadata"]["labels"]["version"] = json!("2");
        assert_eq!(fits(&cluster(), pod), ["a", "b", "c"]);
    }

    #[test]
    fn an_absent_selector_and_an_empty_one_count_no_pods() {
        assert_eq!(fits(&cluster(), spread(json!({"labelSelector": null}))), ["a", "b", "c"]);
        assert_eq!(fits(&cluster(), spread(json!({"labelSelector": {}}))), ["a", "b", "c"]);
    }
}
