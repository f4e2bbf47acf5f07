//! One scheduling decision: which nodes fit a pod, and which of them scores best. Pure: it depends on the cluster
//! alone.
//!
//! Every node is filtered, however many there are, so that a feasible node is never missed and the result does not
//! depend on where a search starts. Nodes nominated for pods of at least the same priority (see
//! [`super::cluster::Nominations`]) have to fit with and without those pods.

#[cfg(test)]
mod properties;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use super::cluster::Cluster;
use super::cluster::NodeId;
use super::cluster::VolumePlan;
use super::filter::Checks;
use super::filter::FILTERS;
use super::filter::FilterSet;
use super::filter::Refusal;
use super::filter::plan_volumes;
use super::model::Pod;
use super::score::SCORES;
use super::score::totals;

/// A refusal and the index in [`FILTERS`] of the filter that made it.
pub(crate) type Refused = (usize, Refusal);

/// The node chosen for a pod.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The node to bind the pod to.
    pub(crate) node: NodeId,
    /// What must be done about its volumes before binding.
    pub(crate) volumes: VolumePlan,
    /// The number of feasible nodes.
    pub(crate) feasible: usize,
}

/// Why no node fits a pod (kube-scheduler's FitError).
#[derive(Debug)]
pub(crate) struct FitError {
    /// The number of nodes in the cluster.
    pub(crate) nodes: usize,
    /// A refusal that applies to every node.
    pub(crate) everywhere: Option<Refused>,
    /// The refusal of each node, if no refusal applies to all.
    pub(crate) by_node: Vec<(NodeId, Refused)>,
}

/// Chooses a node for a pod. `pick` chooses among equally good nodes: it gets their number and returns an index.
///
/// # Errors
/// No node fits, with the refusal of each.
pub(crate) fn decide(
    pod: &Arc<Pod>,
    cluster: &mut Cluster,
    mut pick: impl FnMut(usize) -> usize,
) -> Result<Placement, Box<FitError>> {
    let nodes = match feasible_nominated(pod, cluster) {
        Some(node) => vec![node],
        None => feasible(pod, cluster)?,
    };
    let node = match nodes.as_slice() {
        [only] => *only,
        several => {
            let totals = totals(pod, cluster, several);
            let highest = totals.iter().max().copied().unwrap_or(0);
            let best: Vec<_> = several.iter().zip(totals).filter(|(_, total)| *total == highest).collect();
            *best[pick(best.len()).min(best.len() - 1)].0
        }
    };
    let volumes = plan_volumes(pod, cluster, cluster.node(node)).unwrap_or_default();
    Ok(Placement { node, volumes, feasible: nodes.len() })
}

/// The pod's nominated node, if it fits.
fn feasible_nominated(pod: &Arc<Pod>, cluster: &mut Cluster) -> Option<NodeId> {
    let node = cluster.node_named(pod.nominated.as_ref()?)?;
    fits(pod, cluster, node).is_ok().then_some(node)
}

/// Whether a pod fits a node.
///
/// # Errors
/// The first refusal.
pub(crate) fn fits(pod: &Pod, cluster: &mut Cluster, node: NodeId) -> Result<(), Refused> {
    let nominated = cluster.nominations.competing_on(&cluster.node(node).node.name, pod);
    if !nominated.is_empty() {
        check_beside(&nominated, pod, cluster, node)?;
    }
    Checks::prepare(pod, cluster)?.check(node, cluster.node(node))
}

/// Every node that fits a pod.
fn feasible(pod: &Pod, cluster: &mut Cluster) -> Result<Vec<NodeId>, Box<FitError>> {
    let (mut fitting, mut by_node) = (Vec::new(), Vec::new());
    let checked = check_all(pod, cluster, |id, fits| match fits {
        Ok(()) => fitting.push(id),
        // Refusals matter only if no node fits.
        Err(_) if !fitting.is_empty() => {}
        Err(refused) => by_node.push((id, refused)),
    });
    if fitting.is_empty() {
        Err(Box::new(FitError { nodes: cluster.node_count(), everywhere: checked.err(), by_node }))
    } else {
        Ok(fitting)
    }
}

/// Calls `visit` with every node and whether the pod fits there.
///
/// # Errors
/// A refusal that applies to every node; `visit` was not called then.
fn check_all(
    pod: &Pod,
    cluster: &mut Cluster,
    mut visit: impl FnMut(NodeId, Result<(), Refused>),
) -> Result<(), Refused> {
    let mut refused = refused_for_nominated(pod, cluster);
    let checks = Checks::prepare(pod, cluster)?;
    for (id, info) in cluster.nodes() {
        visit(id, refused.remove(&id).map_or_else(|| checks.check(id, info), Err));
    }
    Ok(())
}

/// Nodes that do not fit once the pods nominated there are counted.
fn refused_for_nominated(pod: &Pod, cluster: &mut Cluster) -> HashMap<NodeId, Refused> {
    let mut refused = HashMap::new();
    for (name, pods) in cluster.nominations.competing(pod) {
        let Some(id) = cluster.node_named(&name) else { continue };
        if let Err(refusal) = check_beside(&pods, pod, cluster, id) {
            refused.insert(id, refusal);
        }
    }
    refused
}

/// Whether a pod fits a node on which `others` are counted as well.
fn check_beside(others: &[Arc<Pod>], pod: &Pod, cluster: &mut Cluster, node: NodeId) -> Result<(), Refused> {
    cluster.with(others, node, |cluster| Checks::prepare(pod, cluster)?.check(node, cluster.node(node)))
}

impl FitError {
    /// The filters that rejected at least one node.
    pub(crate) fn filters(&self) -> FilterSet {
        let mut set = FilterSet::default();
        self.everywhere
            .iter()
            .chain(self.by_node.iter().map(|(_, refused)| refused))
            .for_each(|(at, _)| set.insert(*at));
        set
    }

    /// Nodes that preemption could make feasible.
    pub(crate) fn resolvable(&self) -> impl Iterator<Item = NodeId> {
        self.by_node.iter().filter(|(_, (_, refusal))| refusal.resolvable).map(|(id, _)| *id)
    }

    /// The message of the event and the condition, in kube-scheduler's words.
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let available = format!("0/{} nodes are available:", self.nodes);
        match &self.everywhere {
            Some((_, refusal)) => format!("{available} {refusal}."),
            None => {
                format!("{available} {}.", counted(self.by_node.iter().flat_map(|(_, (_, one))| one.reasons.iter())))
            }
        }
    }
}

/// Each reason with the number of its occurrences, as kube-scheduler lists them.
pub(crate) fn counted<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut lines: Vec<_> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort();
    lines.join(", ")
}

/// Whether a pod fits one node.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Every filter accepts the node.
    Fits {
        /// The sum of `scores`.
        total: i64,
        /// The weighted points of each score that applies to the pod.
        scores: Vec<(&'static str, i64)>,
    },
    /// A filter rejects the node.
    Refused {
        /// The name of the first filter that does.
        filter: &'static str,
        /// Its reasons.
        refusal: Refusal,
    },
}

impl Verdict {
    /// The verdict for a refusal.
    pub(crate) fn refused((at, refusal): Refused) -> Verdict {
        Verdict::Refused { filter: FILTERS[at].name, refusal }
    }

    /// The total score, if the pod fits.
    pub(crate) fn points(&self) -> Option<i64> {
        match self {
            Verdict::Fits { total, .. } => Some(*total),
            Verdict::Refused { .. } => None,
        }
    }

    /// `<filter>: <reasons>`, if the pod does not fit.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Verdict::Fits { .. } => None,
            Verdict::Refused { filter, refusal } => Some(format!("{filter}: {refusal}")),
        }
    }

    /// The points of each score, if the pod fits.
    pub(crate) fn scores(&self) -> &[(&'static str, i64)] {
        match self {
            Verdict::Fits { scores, .. } => scores,
            Verdict::Refused { .. } => &[],
        }
    }
}

/// The verdict for every node, in no particular order, for `explain`, `assist` and tests.
pub(crate) fn explain(pod: &Pod, cluster: &mut Cluster) -> Vec<(NodeId, Verdict)> {
    let (mut verdicts, mut fitting) = (Vec::new(), Vec::new());
    let checked = check_all(pod, cluster, |id, fits| match fits {
        Ok(()) => fitting.push(id),
        Err(refused) => verdicts.push((id, Verdict::refused(refused))),
    });
    if let Err(everywhere) = checked {
        verdicts.extend(cluster.nodes().map(|(id, _)| (id, Verdict::refused(everywhere.clone()))));
    }
    let scores: Vec<_> = SCORES
        .iter()
        .filter_map(|score| Some((score.name, score.weight, (score.score)(pod, cluster, &fitting)?)))
        .collect();
    for (at, id) in fitting.into_iter().enumerate() {
        let scores: Vec<_> = scores.iter().map(|(name, weight, points)| (*name, weight * points[at])).collect();
        let total = scores.iter().map(|(_, points)| points).sum();
        verdicts.push((id, Verdict::Fits { total, scores }));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;

    fn first(_: usize) -> usize {
        0
    }

    fn asks(cpu: &str) -> serde_json::Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn the_feasible_node_with_the_best_score_is_chosen() {
        let builder = Builder::default().nodes(&["a", "b", "c"]).runs("p", "a", asks("3")).runs("q", "b", asks("1"));
        let pod = builder.pod(asks("2"));
        let mut cluster = builder.cluster;
        let placement = decide(&pod, &mut cluster, first).unwrap();
        assert_eq!((&*cluster.node(placement.node).node.name, placement.feasible), ("c", 2));
    }

    #[test]
    fn the_reasons_are_counted_in_kube_schedulers_words() {
        let builder = Builder::default().nodes(&["a", "b"]).node("c", json!({"spec": {"unschedulable": true}})).runs(
            "p",
            "a",
            asks("3"),
        );
        let pod = builder.pod(asks("5"));
        let fit_error = decide(&pod, &mut { builder.cluster }, first).unwrap_err();
        assert_eq!(fit_error.message(), "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
        assert_eq!(fit_error.resolvable().count(), 0);
        let names: Vec<_> = fit_error.filters().iter().map(|filter| filter.name).collect();
        assert_eq!(names, ["NodeUnschedulable", "NodeResourcesFit"]);
    }

    #[test]
    fn a_reason_that_applies_to_every_node_is_reported_once() {
        let builder = Builder::default().nodes(&["a", "b"]);
        let pod =
            builder.pod(json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}));
        let fit_error = decide(&pod, &mut { builder.cluster }, first).unwrap_err();
        assert_eq!(fit_error.message(), "0/2 nodes are available: persistentvolumeclaim \"c\" not found.");
    }

    #[test]
    fn a_cluster_without_nodes_has_its_own_message() {
        let builder = Builder::default();
        let pod = builder.pod(json!({}));
        let fit_error = decide(&pod, &mut { builder.cluster }, first).unwrap_err();
        assert_eq!(fit_error.message(), "no nodes available to schedule pods");
    }

    #[test]
    fn a_node_nominated_for_a_more_important_pod_has_to_fit_both() {
        let builder = Builder::default().nodes(&["a"]);
        let mut important = Pod::clone(&builder.pod(asks("3")));
        important.uid = Arc::from("important");
        important.nominated = Some(Arc::from("a"));
        let pod = builder.pod(asks("2"));
        let mut cluster = builder.cluster;
        assert!(decide(&pod, &mut cluster, first).is_ok());
        let important = Arc::new(important);
        cluster.nominations.put(important.clone());
        assert!(decide(&pod, &mut cluster, first).is_err());
        assert!(decide(&important, &mut cluster, first).is_ok());
        cluster.nominations.remove(&important.uid);
        assert!(decide(&pod, &mut cluster, first).is_ok());
    }

    #[test]
    fn an_explanation_has_a_verdict_for_every_node() {
        let builder = Builder::default().nodes(&["a"]).node("b", json!({"spec": {"unschedulable": true}}));
        let pod = builder.pod(asks("1"));
        let mut cluster = builder.cluster;
        let verdicts: HashMap<_, _> = explain(&pod, &mut cluster)
            .into_iter()
            .map(|(id, verdict)| (cluster.node(id).node.name.to_string(), verdict))
            .collect();
        let Verdict::Fits { total, scores } = &verdicts["a"] else { panic!("{verdicts:?}") };
        assert_eq!(*total, scores.iter().map(|(_, points)| points).sum::<i64>());
        let Verdict::Refused { filter, .. } = &verdicts["b"] else { panic!("{verdicts:?}") };
        assert_eq!(*filter, "NodeUnschedulable");
    }
}
