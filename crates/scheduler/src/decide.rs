//! One decision: which nodes fit a pod, and which of them is best. Pure: it looks at the cluster and at nothing else.
//!
//! Every node is looked at, however many there are: a feasible node is never missed, and an answer does not depend on
//! where a search began. Nodes that are kept for pods of at least the same priority (see
//! [`super::cluster::Nominations`]) have to fit with and without those.

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

/// A refusal, with the number of the filter that said it.
pub type Refused = (usize, Refusal);

/// Where a pod goes.
#[derive(Debug)]
pub struct Placement {
    pub node: NodeId,
    /// What has to be done about its volumes first.
    pub volumes: VolumePlan,
    /// How many nodes would have done.
    pub feasible: usize,
}

/// Why a pod can go nowhere.
#[derive(Debug)]
pub struct Unfit {
    /// How many nodes there are.
    pub nodes: usize,
    /// What holds for all of them.
    pub everywhere: Option<Refused>,
    /// What is said against each, when there is nothing that holds for all.
    pub by_node: Vec<(NodeId, Refused)>,
}

/// Chooses a node for a pod. Among equals `pick` chooses, which gets their number.
///
/// # Errors
/// When no node fits, with what is said against each.
pub fn decide(
    pod: &Arc<Pod>,
    cluster: &mut Cluster,
    mut pick: impl FnMut(usize) -> usize,
) -> Result<Placement, Box<Unfit>> {
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

/// The node that is kept for the pod, if it fits.
fn feasible_nominated(pod: &Arc<Pod>, cluster: &mut Cluster) -> Option<NodeId> {
    let node = cluster.node_named(pod.nominated.as_ref()?)?;
    fits(pod, cluster, node).is_ok().then_some(node)
}

/// Whether a pod can go to one node.
///
/// # Errors
/// The first refusal.
pub fn fits(pod: &Pod, cluster: &mut Cluster, node: NodeId) -> Result<(), Refused> {
    let kept_for = cluster.nominations.before_on(&cluster.node(node).node.name, pod);
    if !kept_for.is_empty() {
        check_beside(&kept_for, pod, cluster, node)?;
    }
    Checks::prepare(pod, cluster)?.check(node, cluster.node(node))
}

/// All nodes that a pod can go to.
fn feasible(pod: &Pod, cluster: &mut Cluster) -> Result<Vec<NodeId>, Box<Unfit>> {
    let (mut fitting, mut by_node) = (Vec::new(), Vec::new());
    let checked = check_all(pod, cluster, |id, fits| match fits {
        Ok(()) => fitting.push(id),
        // Only told when nothing fits.
        Err(_) if !fitting.is_empty() => {}
        Err(refused) => by_node.push((id, refused)),
    });
    if fitting.is_empty() {
        Err(Box::new(Unfit { nodes: cluster.node_count(), everywhere: checked.err(), by_node }))
    } else {
        Ok(fitting)
    }
}

/// Tells of every node whether the pod can go there.
///
/// # Errors
/// What holds for all of them; none is told of then.
fn check_all(
    pod: &Pod,
    cluster: &mut Cluster,
    mut tell: impl FnMut(NodeId, Result<(), Refused>),
) -> Result<(), Refused> {
    let mut kept = refused_for_nominated(pod, cluster);
    let checks = Checks::prepare(pod, cluster)?;
    for (id, info) in cluster.nodes() {
        tell(id, kept.remove(&id).map_or_else(|| checks.check(id, info), Err));
    }
    Ok(())
}

/// Nodes that would not fit once the pods are there for which they are kept.
fn refused_for_nominated(pod: &Pod, cluster: &mut Cluster) -> HashMap<NodeId, Refused> {
    let mut refused = HashMap::new();
    for (name, pods) in cluster.nominations.before(pod) {
        let Some(id) = cluster.node_named(&name) else { continue };
        if let Err(refusal) = check_beside(&pods, pod, cluster, id) {
            refused.insert(id, refusal);
        }
    }
    refused
}

/// Whether a pod can go to a node once others are there.
fn check_beside(others: &[Arc<Pod>], pod: &Pod, cluster: &mut Cluster, node: NodeId) -> Result<(), Refused> {
    cluster.with(others, node, |cluster| Checks::prepare(pod, cluster)?.check(node, cluster.node(node)))
}

impl Unfit {
    /// The filters that refused some node.
    pub fn filters(&self) -> FilterSet {
        let mut set = FilterSet::default();
        self.everywhere
            .iter()
            .chain(self.by_node.iter().map(|(_, refused)| refused))
            .for_each(|(at, _)| set.insert(*at));
        set
    }

    /// Nodes that could fit if other pods went away.
    pub fn curable(&self) -> impl Iterator<Item = NodeId> {
        self.by_node.iter().filter(|(_, (_, refusal))| refusal.curable).map(|(id, _)| *id)
    }

    /// What people read, in kube-scheduler's words.
    pub fn message(&self) -> String {
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

/// Reasons with how often each was said, as kube-scheduler lists them.
pub fn counted<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut lines: Vec<_> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort();
    lines.join(", ")
}

/// What is to be said of one node.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Fits {
        total: i64,
        /// The weighted points of each score that makes a difference.
        scores: Vec<(&'static str, i64)>,
    },
    Refused {
        filter: &'static str,
        refusal: Refusal,
    },
}

impl Verdict {
    pub fn refused((at, refusal): Refused) -> Verdict {
        Verdict::Refused { filter: FILTERS[at].name, refusal }
    }

    /// The sum of the scores, if the pod fits.
    pub fn points(&self) -> Option<i64> {
        match self {
            Verdict::Fits { total, .. } => Some(*total),
            Verdict::Refused { .. } => None,
        }
    }

    /// Which filter says no, and why; nothing, if the pod fits.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Verdict::Fits { .. } => None,
            Verdict::Refused { filter, refusal } => Some(format!("{filter}: {refusal}")),
        }
    }

    /// The points of each score, if the pod fits.
    pub fn scores(&self) -> &[(&'static str, i64)] {
        match self {
            Verdict::Fits { scores, .. } => scores,
            Verdict::Refused { .. } => &[],
        }
    }
}

/// What is to be said of every node, for a person or a program that asks. The nodes are in no particular order.
pub fn explain(pod: &Pod, cluster: &mut Cluster) -> Vec<(NodeId, Verdict)> {
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
    fn the_best_of_those_that_fit_is_chosen() {
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
        let unfit = decide(&pod, &mut { builder.cluster }, first).unwrap_err();
        assert_eq!(unfit.message(), "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
        assert_eq!(unfit.curable().count(), 0);
        let names: Vec<_> = unfit.filters().iter().map(|filter| filter.name).collect();
        assert_eq!(names, ["NodeUnschedulable", "NodeResourcesFit"]);
    }

    #[test]
    fn what_holds_everywhere_is_told_once() {
        let builder = Builder::default().nodes(&["a", "b"]);
        let pod =
            builder.pod(json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}));
        let unfit = decide(&pod, &mut { builder.cluster }, first).unwrap_err();
        assert_eq!(unfit.message(), "0/2 nodes are available: persistentvolumeclaim \"c\" not found.");
    }

    #[test]
    fn a_cluster_without_nodes_says_so() {
        let builder = Builder::default();
        let pod = builder.pod(json!({}));
        let unfit = decide(&pod, &mut { builder.cluster }, first).unwrap_err();
        assert_eq!(unfit.message(), "no nodes available to schedule pods");
    }

    #[test]
    fn a_node_kept_for_a_more_important_pod_has_to_fit_both() {
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
