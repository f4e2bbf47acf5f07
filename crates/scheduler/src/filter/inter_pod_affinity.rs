//! Near some pods and away from others: what this pod requires, and what those that are there require of it.

use std::sync::Arc;

use super::Events;
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
    woken_by: Events::NODE_ADDED
        .or(Events::NODE_LABELS)
        .or(Events::POD_GONE)
        .or(Events::POD_PLACED)
        .or(Events::NAMESPACE),
};

/// Domains of one topology in which some pod is.
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

    /// Adds the places of some pods; returns whether there was one.
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

    /// `None` when the node is in no domain.
    fn holds(&self, id: NodeId) -> Option<bool> {
        self.topology.domain(id).map(|domain| self.domains[domain])
    }
}

struct Terms {
    /// Per required affinity term.
    near: Vec<Occupied>,
    /// No pod is anywhere that this pod wants to be near to, and it would be such a pod itself: it may begin.
    begins: bool,
    /// Per required anti-affinity term.
    away: Vec<Occupied>,
    /// Where pods are that do not want this one near.
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
            return Err(Refusal::lasting("node(s) didn't match pod affinity rules"));
        }
        if self.away.iter().any(|occupied| occupied.holds(id) == Some(true)) {
            return Err(Refusal::curable("node(s) didn't match pod anti-affinity rules"));
        }
        if self.unwelcome.iter().any(|occupied| occupied.holds(id) == Some(true)) {
            return Err(Refusal::curable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

/// Whether a term is about pods of this shape.
pub(crate) fn matches(term: &PodTerm, shape: &Shape, cluster: &Cluster) -> bool {
    term.matches(&shape.namespace, &shape.labels, cluster.namespaces.get(&shape.namespace))
}

/// Whether another pod's term is about this pod. A namespace that is not known counts as one without labels.
pub(crate) fn matches_incoming(term: &PodTerm, shape: &Shape, cluster: &Cluster) -> bool {
    let none = Labels::default();
    let labels = cluster.namespaces.get(&shape.namespace).unwrap_or(&none);
    term.matches(&shape.namespace, &shape.labels, Some(labels))
}

/// Where the pods are that all affinity terms are about, and whether there are any.
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

/// Where the pods are that an anti-affinity term is about.
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

/// Where the pods are whose anti-affinity is about this pod.
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
    fn affinity_is_to_the_domain_where_such_a_pod_is() {
        assert_eq!(fits(&zones().runs("p", "a", app("web")), near("db")), ["a", "b"]);
    }

    #[test]
    fn the_first_of_pods_that_want_to_be_together_may_begin_where_there_is_a_domain() {
        assert_eq!(fits(&zones(), near("web")), ["a", "b", "c"]);
        assert!(fits(&zones(), near("db")).is_empty());
        assert_eq!(fits(&zones().runs("p", "c", app("web")), near("web")), ["c"]);
    }

    #[test]
    fn all_terms_have_to_be_about_one_pod() {
        let mut pod = near("db");
        let terms = &mut pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        terms.as_array_mut().unwrap().push(json!({"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"tier": "front"}}}));
        let front = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        assert!(fits(&zones().runs("p", "a", app("web")), pod.clone()).is_empty());
        assert_eq!(fits(&zones().runs("p", "a", front), pod), ["a"]);
    }

    #[test]
    fn anti_affinity_keeps_away_from_the_domain_of_such_a_pod() {
        assert_eq!(fits(&zones().runs("p", "a", app("web")), away("db")), ["c", "d"]);
    }

    #[test]
    fn pods_that_are_there_keep_others_away_too() {
        assert_eq!(fits(&zones().runs("p", "a", away("db")), app("web")), ["c", "d"]);
        assert_eq!(fits(&zones().runs("p", "a", away("db")), app("db")), ["a", "b", "c", "d"]);
        assert_eq!(fits(&zones().runs("p", "d", away("db")), app("web")), ["a", "b", "c", "d"]);
    }

    #[test]
    fn terms_are_about_the_own_namespace_unless_they_say_others() {
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
    fn a_pod_being_deleted_still_keeps_others_away() {
        let gone = json!({"metadata": {"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(fits(&zones().runs("p", "a", gone), away("db")), ["c", "d"]);
    }
}
