//! Preferred topology spread constraints: nodes whose domains have fewer matching pods score higher. Pods of a service
//! or a controller without constraints get the default ones over hosts and zones.

use std::collections::HashMap;
use std::sync::Arc;

use super::MAX;
use super::Score;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::cluster::Topology;
use crate::cluster::key;
use crate::filter::add_matching;
use crate::model::GroupKind;
use crate::model::Pod;
use crate::model::Requirement;
use crate::model::Selector;
use crate::model::Spread;

pub(super) const SCORE: Score = Score { name: "PodTopologySpread", weight: 2, score };

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
/// maxSkew of the default constraints.
const DEFAULTS: [(&str, i64); 2] = [(HOST, 3), (ZONE, 5)];

/// One constraint with its counts.
struct Counted {
    topology: Arc<Topology>,
    by_host: bool,
    /// Matching pods by node slot for hosts, else by domain, with one more domain for nodes without the label.
    pods: Vec<i64>,
    weight: f64,
    max_skew: i64,
}

fn score(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let of_pod = !pod.shape.spread.is_empty();
    let constraints = if of_pod {
        pod.shape.spread.iter().filter(|constraint| !constraint.required).cloned().collect()
    } else {
        defaults(pod, cluster)
    };
    if constraints.is_empty() {
        return None;
    }
    let topologies: Vec<_> = constraints.iter().map(|constraint| cluster.topology(&constraint.topology_key)).collect();
    // The default constraints do not require that a node has all labels.
    let labelled = |id: NodeId| !of_pod || topologies.iter().all(|topology| topology.domain(id).is_some());
    let compared = nodes.iter().filter(|id| labelled(**id)).copied().collect::<Vec<_>>();
    let counted: Vec<_> = constraints
        .iter()
        .zip(&topologies)
        .map(|(constraint, topology)| count(pod, cluster, constraint, topology, &compared, &labelled))
        .collect();
    let points = |id: &NodeId| labelled(*id).then(|| sum(&counted, *id));
    Some(normalize(nodes.iter().map(points).collect()))
}

/// Counts the matching pods in the domains of the compared nodes.
fn count(
    pod: &Pod,
    cluster: &Cluster,
    constraint: &Spread,
    topology: &Arc<Topology>,
    compared: &[NodeId],
    labelled: &dyn Fn(NodeId) -> bool,
) -> Counted {
    let by_host = *constraint.topology_key == *HOST;
    let elsewhere = topology.domains();
    let domain = |id| topology.domain(id).unwrap_or(elsewhere);
    let mut pods = vec![0; if by_host { cluster.node_slots() } else { elsewhere + 1 }];
    let mut seen = vec![false; elsewhere + 1];
    compared.iter().for_each(|id| seen[domain(*id)] = true);
    let size = if by_host { compared.len() } else { seen.iter().filter(|seen| **seen).count() };
    add_matching(pod, cluster, constraint, |id, number| {
        if by_host {
            pods[id.index()] += number;
        } else if labelled(id) && seen[domain(id)] && is_counted(constraint, pod, cluster, id) {
            pods[domain(id)] += number;
        }
    });
    #[allow(clippy::cast_precision_loss)]
    let weight = ((size + 2) as f64).ln();
    Counted { topology: topology.clone(), by_host, pods, weight, max_skew: constraint.max_skew }
}

/// Whether a node's pods count, by its labels and taints. Pods on a node that does not exist do not.
fn is_counted(constraint: &Spread, pod: &Pod, cluster: &Cluster, id: NodeId) -> bool {
    cluster.is_known(id) && constraint.counts(&pod.shape, &cluster.node(id).node)
}

fn sum(counted: &[Counted], id: NodeId) -> i64 {
    let cost = |one: &Counted| {
        let domain = one.topology.domain(id)?;
        let pods = one.pods[if one.by_host { id.index() } else { domain }];
        #[allow(clippy::cast_precision_loss)]
        let cost = pods as f64 * one.weight + (one.max_skew - 1) as f64;
        Some(cost)
    };
    let total: f64 = counted.iter().filter_map(cost).sum();
    #[allow(clippy::cast_possible_truncation)]
    let rounded = total.round() as i64;
    rounded
}

/// The lowest cost becomes [`MAX`]; nodes that are not compared get 0.
fn normalize(costs: Vec<Option<i64>>) -> Vec<i64> {
    let lowest = costs.iter().flatten().min().copied().unwrap_or(0);
    let highest = costs.iter().flatten().max().copied().unwrap_or(0);
    let points = |cost: Option<i64>| match cost {
        None => 0,
        Some(_) if highest == 0 => MAX,
        Some(cost) => MAX * (highest + lowest - cost) / highest,
    };
    costs.into_iter().map(points).collect()
}

/// The constraints of a pod that has none.
fn defaults(pod: &Pod, cluster: &Cluster) -> Vec<Spread> {
    let pods = group_selector(pod, cluster);
    if pods.is_empty() {
        return Vec::new();
    }
    let spread = |(key, max_skew)| Spread {
        topology_key: Arc::from(key),
        max_skew,
        min_domains: 1,
        required: false,
        pods: pods.clone(),
        honor_affinity: true,
        honor_taints: false,
    };
    DEFAULTS.into_iter().map(spread).collect()
}

/// The selectors of the services that select the pod, and of its controller.
fn group_selector(pod: &Pod, cluster: &Cluster) -> Selector {
    let mut requirements: Vec<Requirement> = Vec::new();
    let mut add = |selector: &Selector| {
        if let Selector::All(more) = selector {
            requirements.extend(more.iter().cloned());
        }
    };
    let namespace = pod.namespace();
    let services = cluster.groups.get(&GroupKind::Service).into_iter().flat_map(HashMap::values);
    services
        .filter(|service| service.namespace == *namespace && service.pods.matches(&pod.shape.labels))
        .for_each(|service| add(&service.pods));
    if let Some(owner) = &pod.shape.owner {
        let controllers = cluster.groups.get(&GroupKind::Controller(owner.kind));
        if let Some(controller) = controllers.and_then(|known| known.get(&key(namespace, &owner.name))) {
            add(&controller.pods);
        }
    }
    Selector::All(requirements.into())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::model::Group;
    use crate::score::tests::points;

    fn web() -> Value {
        json!({"metadata": {"labels": {"app": "web"}}})
    }

    fn spread(key: &str) -> Value {
        let mut pod = web();
        pod["spec"] = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        pod
    }

    fn zones() -> Builder {
        let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        Builder::default().node("a", zone("1")).node("b", zone("1")).node("c", zone("2")).nodes(&["d"])
    }

    #[test]
    fn emptier_domains_score_higher_and_unlabelled_nodes_zero() {
        let builder = zones().runs("p", "a", web()).runs("q", "b", web()).runs("r", "c", web());
        // Two zones weigh ln 4: the costs are 3 and 1.
        assert_eq!(points(&SCORE, &builder, spread(ZONE)), Some(vec![33, 33, 100, 0]));
    }

    #[test]
    fn hosts_are_compared_one_by_one() {
        let builder = zones().runs("p", "a", web()).runs("q", "a", web()).runs("r", "c", web());
        assert_eq!(points(&SCORE, &builder, spread(HOST)), Some(vec![0, 100, 50, 100]));
    }

    #[test]
    fn without_matching_pods_every_domain_scores_the_maximum() {
        assert_eq!(points(&SCORE, &zones(), spread(ZONE)), Some(vec![100, 100, 100, 0]));
    }

    #[test]
    fn pods_of_a_service_are_spread_by_default() {
        assert_eq!(points(&SCORE, &zones(), web()), None);
        let mut builder = zones().runs("p", "a", web());
        let (namespace, name): (Arc<str>, Arc<str>) = (Arc::from("default"), Arc::from("web"));
        let pods = Selector::of_labels([(Arc::from("app"), name.clone())]);
        builder.cluster.put_group(Group { kind: GroupKind::Service, namespace, name, pods });
        let points = points(&SCORE, &builder, web()).unwrap();
        assert!(points[0] < points[1] && points[1] < points[2], "{points:?}");
    }
}
