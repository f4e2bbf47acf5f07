//! Required pod affinity and anti-affinity: the pod's own, and the anti-affinity of existing pods towards it.

use std::sync::Arc;

use super::ClusterEvents;
use super::Filter;
use super::Prepared;
use super::Refusal;
use crate::cluster::Cluster;
use crate::cluster::NodeId;
use crate::cluster::Population;
use crate::cluster::Topology;
use crate::model::Labels;
use crate::model::Pod;
use crate::model::PodTerm;
use crate::model::Shape;

pub(super) const FILTER: Filter = Filter {
    name: "InterPodAffinity",
    prepare,
    events: ClusterEvents::NODE_ADDED
        .or(ClusterEvents::NODE_LABELS)
        .or(ClusterEvents::POD_REMOVED)
        .or(ClusterEvents::POD_ADDED)
        .or(ClusterEvents::NAMESPACE),
};

/// The domains of one topology that contain at least one matching pod.
struct Occupied {
    key: Arc<str>,
    topology: Arc<Topology>,
    domains: Vec<bool>,
}

impl Occupied {
    fn new(key: &Arc<str>, cluster: &Cluster) -> Occupied {
        let topology = cluster.topology(key);
        let domains = vec![false; topology.domains()];
        Occupied { key: key.clone(), topology, domains }
    }

    /// Marks the domains of these pods; returns whether any pod is in a domain.
    fn add(&mut self, population: &Population) -> bool {
        let mut any = false;
        for id in population.on.keys() {
            if let Some(domain) = self.topology.domain(*id) {
                self.domains[domain] = true;
                any = true;
            }
        }
        any
    }

    /// Whether the node's domain is occupied; `None` if the node is in no domain.
    fn holds(&self, id: NodeId) -> Option<bool> {
        self.topology.domain(id).map(|domain| self.domains[domain])
    }
}

/// The required terms that apply to one pod, with the domains of the pods they match.
struct Terms {
    /// One per required affinity term.
    near: Vec<Occupied>,
    /// No existing pod matches all affinity terms, and the pod matches them itself: it may be the first of its group.
    begins: bool,
    /// One per required anti-affinity term.
    away: Vec<Occupied>,
    /// Domains of existing pods whose anti-affinity matches this pod.
    unwelcome: Vec<Occupied>,
}

fn prepare<'a>(pod: &'a Pod, cluster: &'a Cluster) -> Prepared<'a> {
    let terms = Terms::new(&pod.shape, cluster);
    if terms.near.is_empty() && terms.away.is_empty() && terms.unwelcome.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(move |id, _| terms.check(id))))
}

impl Terms {
    fn new(shape: &Shape, cluster: &Cluster) -> Terms {
        let (near, any) = near(shape, cluster);
        let itself = || shape.affinity.iter().all(|term| matches(term, shape, cluster));
        Terms {
            begins: !near.is_empty() && !any && itself(),
            near,
            away: away(shape, cluster),
            unwelcome: unwelcome(shape, cluster),
        }
    }

    fn check(&self, id: NodeId) -> Result<(), Refusal> {
        let near: Option<Vec<bool>> = self.near.iter().map(|occupied| occupied.holds(id)).collect();
        if !near.is_some_and(|near| self.begins || near.into_iter().all(|holds| holds)) {
            return Err(Refusal::unresolvable("node(s) didn't match pod affinity rules"));
        }
        if self.away.iter().any(|occupied| occupied.holds(id) == Some(true)) {
            return Err(Refusal::resolvable("node(s) didn't match pod anti-affinity rules"));
        }
        if self.unwelcome.iter().any(|occupied| occupied.holds(id) == Some(true)) {
            return Err(Refusal::resolvable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

/// Whether a term matches pods of this shape.
pub(crate) fn matches(term: &PodTerm, shape: &Shape, cluster: &Cluster) -> bool {
    term.matches(&shape.namespace, &shape.labels, cluster.namespaces.get(&shape.namespace))
}

/// Whether an existing pod's term matches the incoming pod. An unknown namespace counts as one without labels.
pub(crate) fn matches_incoming(term: &PodTerm, shape: &Shape, cluster: &Cluster) -> bool {
    let none = Labels::default();
    let labels = cluster.namespaces.get(&shape.namespace).unwrap_or(&none);
    term.matches(&shape.namespace, &shape.labels, Some(labels))
}

/// The domains of the pods that match all affinity terms, and whether there are any.
fn near(shape: &Shape, cluster: &Cluster) -> (Vec<Occupied>, bool) {
    let mut near: Vec<_> = shape.affinity.iter().map(|term| Occupied::new(&term.topology_key, cluster)).collect();
    let mut any = false;
    if near.is_empty() {
        return (near, any);
    }
    for population in cluster.populations() {
        if shape.affinity.iter().all(|term| matches(term, &population.shape, cluster)) {
            for occupied in &mut near {
                any |= occupied.add(population);
            }
        }
    }
    (near, any)
}

/// The domains of the pods that match each anti-affinity term.
fn away(shape: &Shape, cluster: &Cluster) -> Vec<Occupied> {
    let mut away: Vec<_> = shape.anti_affinity.iter().map(|term| Occupied::new(&term.topology_key, cluster)).collect();
    if away.is_empty() {
        return away;
    }
    for population in cluster.populations() {
        for (term, occupied) in shape.anti_affinity.iter().zip(&mut away) {
            if matches(term, &population.shape, cluster) {
                occupied.add(population);
            }
        }
    }
    away
}

/// The domains of existing pods whose anti-affinity matches this pod.
fn unwelcome(shape: &Shape, cluster: &Cluster) -> Vec<Occupied> {
    let mut all: Vec<Occupied> = Vec::new();
    for population in cluster.populations_with_anti_affinity() {
        for term in &population.shape.anti_affinity {
            if !matches_incoming(term, shape, cluster) {
                continue;
            }
            let known = all.iter().position(|occupied| occupied.key == term.topology_key);
            let at = known.unwrap_or_else(|| {
                all.push(Occupied::new(&term.topology_key, cluster));
                all.len() - 1
            });
            all[at].add(population);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use crate::cluster::testing::Builder;
    use crate::filter::tests::fits;

    fn app(app: &str) -> Value {
        json!({"metadata": {"labels": {"app": app}}})
    }

    /// A pod of an app with one required term.
    fn with_term(own: &str, kind: &str, more: Value) -> Value {
        let mut term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}});
        term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut pod = app(own);
        pod["spec"] = json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        pod
    }

    fn near(own: &str) -> Value {
        with_term(own, "podAffinity", json!({}))
    }

    fn away(own: &str) -> Value {
        with_term(own, "podAntiAffinity", json!({}))
    }

    fn zones() -> Builder {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        Builder::default().node("a", zone("1")).node("b", zone("1")).node("c", zone("2")).nodes(&["d"])
    }

    #[test]
    fn affinity_selects_the_domains_of_matching_pods() {
        assert_eq!(fits(&zones().runs("p", "a", app("web")), near("db")), ["a", "b"]);
    }

    #[test]
    fn the_first_pod_of_a_group_fits_any_node_in_a_domain() {
        assert_eq!(fits(&zones(), near("web")), ["a", "b", "c"]);
        assert!(fits(&zones(), near("db")).is_empty());
        assert_eq!(fits(&zones().runs("p", "c", app("web")), near("web")), ["c"]);
    }

    #[test]
    fn all_terms_must_match_the_same_pod() {
        let mut pod = near("db");
        let terms = &mut pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        terms.as_array_mut().unwrap().push(json!({"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"tier": "front"}}}));
        let front = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        assert!(fits(&zones().runs("p", "a", app("web")), pod.clone()).is_empty());
        assert_eq!(fits(&zones().runs("p", "a", front), pod), ["a"]);
    }

    #[test]
    fn anti_affinity_excludes_the_domains_of_matching_pods() {
        assert_eq!(fits(&zones().runs("p", "a", app("web")), away("db")), ["c", "d"]);
    }

    #[test]
    fn anti_affinity_of_existing_pods_excludes_their_domains() {
        assert_eq!(fits(&zones().runs("p", "a", away("db")), app("web")), ["c", "d"]);
        assert_eq!(fits(&zones().runs("p", "a", away("db")), app("db")), ["a", "b", "c", "d"]);
        assert_eq!(fits(&zones().runs("p", "d", away("db")), app("web")), ["a", "b", "c", "d"]);
    }

    #[test]
    fn terms_match_the_own_namespace_unless_others_are_given() {
        let other = json!({"metadata": {"namespace": "other", "labels": {"app": "web"}}});
        let builder = zones().namespace("other", json!({"team": "x"})).runs("p", "a", other);
        let keeps = |more: Value| fits(&builder, with_term("db", "podAntiAffinity", more));
        assert_eq!(keeps(json!({})), ["a", "b", "c", "d"]);
        assert_eq!(keeps(json!({"namespaces": ["other"]})), ["c", "d"]);
        assert_eq!(keeps(json!({"namespaceSelector": {}})), ["c", "d"]);
        assert_eq!(keeps(json!({"namespaceSelector": {"matchLabels": {"team": "x"}}})), ["c", "d"]);
        assert_eq!(keeps(json!({"namespaceSelector": {"matchLabels": {"team": "y"}}})), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_terminating_pod_still_counts_for_anti_affinity() {
        let gone = json!({"metadata": {"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(fits(&zones().runs("p", "a", gone), away("db")), ["c", "d"]);
    }
}
