//! Preferred pod affinity and anti-affinity: the pod's own, and those of existing pods towards it.

use std::sync::Arc;

use super::MAX;
use super::Score;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::cluster::Population;
use crate::cluster::Topology;
use crate::filter::matches;
use crate::filter::matches_incoming;
use crate::model::Pod;
use crate::model::PodTerm;

pub(super) const SCORE: Score = Score { name: "InterPodAffinity", weight: 2, score };

/// The weight of an existing pod's required affinity (kube-scheduler's hardPodAffinityWeight).
const REQUIRED_WEIGHT: i64 = 1;

/// The weights by domain of one topology.
struct Sums {
    key: Arc<str>,
    topology: Arc<Topology>,
    by_domain: Vec<i64>,
}

fn score(pod: &Pod, cluster: &Cluster, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let shape = &pod.shape;
    let mut all = Vec::new();
    if shape.preferred_affinity.is_empty() && shape.preferred_anti_affinity.is_empty() {
        for population in cluster.populations_with_pod_terms() {
            add_theirs(&mut all, pod, population, cluster);
        }
    } else {
        for population in cluster.populations() {
            let theirs = &population.shape;
            for (weight, term) in shape.preferred_affinity.iter().filter(|(_, term)| matches(term, theirs, cluster)) {
                add(&mut all, term, i64::from(*weight), population, cluster);
            }
            for (weight, term) in
                shape.preferred_anti_affinity.iter().filter(|(_, term)| matches(term, theirs, cluster))
            {
                add(&mut all, term, -i64::from(*weight), population, cluster);
            }
            add_theirs(&mut all, pod, population, cluster);
        }
    }
    if all.is_empty() {
        return None;
    }
    let sum = |id: &NodeId| all.iter().filter_map(|sums| Some(sums.by_domain[sums.topology.domain(*id)?])).sum();
    Some(spread_out(nodes.iter().map(sum).collect()))
}

/// Adds the weights of the existing pods' terms that match the pod.
fn add_theirs(all: &mut Vec<Sums>, pod: &Pod, population: &Population, cluster: &Cluster) {
    let theirs = &population.shape;
    let required = theirs.affinity.iter().map(|term| (REQUIRED_WEIGHT, term));
    let preferred = theirs.preferred_affinity.iter().map(|(weight, term)| (i64::from(*weight), term));
    let avoided = theirs.preferred_anti_affinity.iter().map(|(weight, term)| (-i64::from(*weight), term));
    for (weight, term) in required.chain(preferred).chain(avoided) {
        if matches_incoming(term, &pod.shape, cluster) {
            add(all, term, weight, population, cluster);
        }
    }
}

/// Adds the weight once per pod to the pod's domain.
fn add(all: &mut Vec<Sums>, term: &PodTerm, weight: i64, population: &Population, cluster: &Cluster) {
    let at = all.iter().position(|sums| sums.key == term.topology_key).unwrap_or_else(|| {
        let topology = cluster.topology(&term.topology_key);
        let by_domain = vec![0; topology.domains()];
        all.push(Sums { key: term.topology_key.clone(), topology, by_domain });
        all.len() - 1
    });
    let sums = &mut all[at];
    for (id, count) in &population.on {
        if let Some(domain) = sums.topology.domain(*id) {
            sums.by_domain[domain] += weight * count.all;
        }
    }
}

/// Scales sums so that the lowest becomes 0 and the highest [`MAX`].
fn spread_out(sums: Vec<i64>) -> Vec<i64> {
    let (least, most) = (sums.iter().min().copied().unwrap_or(0), sums.iter().max().copied().unwrap_or(0));
    if most == least {
        return vec![0; sums.len()];
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let stretch = |sum: i64| (MAX as f64 * ((sum - least) as f64 / (most - least) as f64)) as i64;
    sums.into_iter().map(stretch).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::score::tests::points;

    fn app(app: &str) -> Value {
        json!({"metadata": {"labels": {"app": app}}})
    }

    fn prefers(kind: &str, weight: i32, own: &str) -> Value {
        let mut pod = app(own);
        pod["spec"] = json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": weight,
            "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}},
        }]}}});
        pod
    }

    fn zones() -> Builder {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        Builder::default().node("a", zone("1")).node("b", zone("2")).node("c", zone("3"))
    }

    #[test]
    fn each_pod_in_the_domain_counts() {
        let builder = zones().runs("p", "a", app("web")).runs("q", "a", app("web")).runs("r", "b", app("web"));
        assert_eq!(points(&SCORE, &builder, prefers("podAffinity", 5, "db")), Some(vec![100, 50, 0]));
        assert_eq!(points(&SCORE, &builder, prefers("podAntiAffinity", 5, "db")), Some(vec![0, 50, 100]));
        assert_eq!(points(&SCORE, &builder, app("db")), None);
    }

    #[test]
    fn preferences_of_existing_pods_count_too() {
        let builder = zones().runs("p", "a", prefers("podAffinity", 4, "db"));
        let builder = builder.runs("q", "b", prefers("podAntiAffinity", 4, "db"));
        assert_eq!(points(&SCORE, &builder, app("web")), Some(vec![100, 0, 50]));
    }

    #[test]
    fn a_required_affinity_of_an_existing_pod_counts_a_little() {
        let mut near = app("db");
        near["spec"] = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
        assert_eq!(points(&SCORE, &zones().runs("p", "c", near), app("web")), Some(vec![0, 0, 100]));
    }
}
