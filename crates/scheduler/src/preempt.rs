//! Which pods to preempt, and on which node that costs least. Pure: nothing is deleted here.
//!
//! The rules are kube-scheduler's (DefaultPreemption). On each node that preemption could make feasible, all pods of
//! lower priority are removed in a simulation. If the pod fits then, as many of them as possible are reprieved, first
//! those whose PodDisruptionBudget is exhausted. The node is chosen where the fewest budgets are violated, then the one
//! whose victims are the least important, the fewest and the youngest.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use super::cluster::Cluster;
use super::cluster::NodeId;
use super::decide::FitError;
use super::decide::Refused;
use super::decide::counted;
use super::decide::fits;
use super::model::Budget;
use super::model::Pod;

/// The victims of a preemption and their node.
#[derive(Debug)]
pub(crate) struct Preemption {
    /// The node that becomes feasible.
    pub(crate) node: NodeId,
    /// The most important first.
    pub(crate) victims: Vec<Arc<Pod>>,
    /// How many of them a PodDisruptionBudget protects.
    violations: usize,
}

/// Why nothing is preempted; shown in the event and the condition.
#[derive(Debug, PartialEq)]
pub(crate) enum NotPreempted {
    /// The pod may not preempt, or its earlier victims are still terminating: its nomination stays.
    NotEligible(&'static str),
    /// Preemption helps on no node.
    NotHelpful(String),
}

impl fmt::Display for NotPreempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPreempted::NotEligible(reason) => write!(f, "preemption: {reason}"),
            NotPreempted::NotHelpful(message) => write!(f, "preemption: {message}"),
        }
    }
}

/// The search ends after this many candidates, or a tenth of the resolvable nodes if that is more (kube-scheduler's
/// minCandidateNodesAbsolute and minCandidateNodesPercentage).
const MIN_CANDIDATES: usize = 100;

/// Looks for a node that fits a pod after preemption. `offset` is a random number that selects where the search starts,
/// so that it does not always stop at the same nodes.
///
/// # Errors
/// There is no such node.
pub(crate) fn find(
    pod: &Arc<Pod>,
    cluster: &mut Cluster,
    fit_error: &FitError,
    offset: usize,
) -> Result<Preemption, NotPreempted> {
    if let Some(reason) = not_eligible(pod, cluster, fit_error) {
        return Err(NotPreempted::NotEligible(reason));
    }
    let resolvable: Vec<_> = fit_error.resolvable().collect();
    let enough = (resolvable.len() / 10).max(MIN_CANDIDATES);
    let (mut without_violation, mut violating) = (Vec::new(), Vec::new());
    let mut reasons: Vec<String> = Vec::new();
    for at in 0..resolvable.len() {
        let node = resolvable[(at + offset) % resolvable.len()];
        match victims(pod, cluster, node) {
            Ok(found) if found.violations == 0 => without_violation.push(found),
            Ok(found) => violating.push(found),
            Err(None) => reasons.push("No preemption victims found for incoming pod".to_owned()),
            Err(Some((_, refusal))) => reasons.extend(refusal.reasons.iter().map(str::to_owned)),
        }
        // The search goes on until one candidate violates no budget.
        if !without_violation.is_empty() && without_violation.len() + violating.len() >= enough {
            break;
        }
    }
    let best = without_violation.into_iter().chain(violating).min_by_key(Preemption::cost);
    best.ok_or_else(|| NotPreempted::NotHelpful(not_helpful_message(fit_error, resolvable.len(), &reasons)))
}

fn not_helpful_message(fit_error: &FitError, resolvable: usize, reasons: &[String]) -> String {
    let not_helpful = std::iter::repeat_n("Preemption is not helpful for scheduling", fit_error.nodes - resolvable);
    let message = counted(reasons.iter().map(String::as_str).chain(not_helpful));
    format!("0/{} nodes are available: {message}.", fit_error.nodes)
}

/// Why a pod may not preempt.
fn not_eligible(pod: &Pod, cluster: &Cluster, fit_error: &FitError) -> Option<&'static str> {
    if !pod.shape.preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = cluster.node_named(pod.nominated.as_ref()?)?;
    let unresolvable = fit_error.by_node.iter().any(|(id, (_, refusal))| *id == node && !refusal.resolvable);
    let leaving = |other: &Arc<Pod>| other.preempted && other.shape.priority < pod.shape.priority;
    (!unresolvable && cluster.node(node).pods.iter().any(leaving))
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The victims on one node. `Err(None)`: no pod there has a lower priority, or no victim is needed.
fn victims(pod: &Arc<Pod>, cluster: &mut Cluster, node: NodeId) -> Result<Preemption, Option<Refused>> {
    let lower = |other: &&Arc<Pod>| other.shape.priority < pod.shape.priority;
    let mut candidates: Vec<_> = cluster.node(node).pods.iter().filter(lower).cloned().collect();
    if candidates.is_empty() {
        return Err(None);
    }
    candidates.sort_by_key(|candidate| importance(candidate));
    let mut gone: Vec<_> = candidates.iter().map(|candidate| candidate.uid.clone()).collect();
    cluster.without(&gone, |cluster| fits(pod, cluster, node)).map_err(Some)?;
    let (protected, free) = by_budget(candidates, cluster);
    let mut violations = 0;
    let mut victims = Vec::new();
    for (candidate, is_protected) in
        protected.into_iter().map(|pod| (pod, true)).chain(free.into_iter().map(|pod| (pod, false)))
    {
        let spared: Vec<_> = gone.iter().filter(|uid| **uid != candidate.uid).cloned().collect();
        if cluster.without(&spared, |cluster| fits(pod, cluster, node)).is_ok() {
            gone = spared;
        } else {
            violations += usize::from(is_protected);
            victims.push(candidate);
        }
    }
    victims.sort_by_key(|victim| importance(victim));
    if victims.is_empty() { Err(None) } else { Ok(Preemption { node, victims, violations }) }
}

/// The most important first: by priority, then by start time.
fn importance(pod: &Pod) -> (Reverse<i32>, i64) {
    (Reverse(pod.shape.priority), pod.started)
}

/// Separates pods whose eviction would violate a budget from the others. Both keep their order.
fn by_budget(pods: Vec<Arc<Pod>>, cluster: &Cluster) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut allowed: Vec<(&Budget, i32)> = cluster.budgets.values().map(|budget| (budget, budget.allowed)).collect();
    let mut breaks = |pod: &Arc<Pod>| {
        let mut broken = false;
        for (budget, left) in &mut allowed {
            let disrupted = || budget.disrupted.iter().any(|name| **name == *pod.name);
            let about = budget.namespace == *pod.namespace()
                && !budget.pods.is_empty()
                && budget.pods.matches(&pod.shape.labels)
                && !pod.shape.labels.is_empty();
            if about && !disrupted() {
                *left -= 1;
                broken |= *left < 0;
            }
        }
        broken
    };
    pods.into_iter().partition(|pod| breaks(pod))
}

impl Preemption {
    /// Candidates are compared by this; the least is chosen.
    fn cost(&self) -> (usize, i32, i64, usize, Reverse<i64>) {
        let highest = self.victims.first().map_or(i32::MIN, |victim| victim.shape.priority);
        // Offset so that every summand is positive: more victims are never a lower sum.
        let above = |victim: &Arc<Pod>| i64::from(victim.shape.priority) + i64::from(i32::MAX) + 1;
        let of_highest = self.victims.iter().filter(|victim| victim.shape.priority == highest);
        let oldest = of_highest.map(|victim| victim.started).min().unwrap_or(i64::MAX);
        (self.violations, highest, self.victims.iter().map(above).sum(), self.victims.len(), Reverse(oldest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::decide::decide;
    use crate::model::Selector;

    fn asks(cpu: &str, priority: i32) -> Value {
        json!({"spec": {"priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn started(mut pod: Value, time: &str) -> Value {
        pod["status"] = json!({"startTime": time});
        pod
    }

    /// The node's name and the victims' names.
    fn preempt(builder: Builder, pod: Value) -> Result<(String, Vec<String>), String> {
        let pod = builder.pod(pod);
        let mut cluster = builder.cluster;
        let fit_error = decide(&pod, &mut cluster, |_| 0).unwrap_err();
        let before = cluster.pod_counts();
        let found = find(&pod, &mut cluster, &fit_error, 0);
        assert_eq!(cluster.pod_counts(), before);
        let found = found.map_err(|spared| spared.to_string())?;
        let names = found.victims.iter().map(|victim| victim.name.to_string()).collect();
        Ok((cluster.node(found.node).node.name.to_string(), names))
    }

    #[test]
    fn as_many_victims_as_possible_are_reprieved() {
        let builder = Builder::default()
            .nodes(&["a"])
            .runs("low", "a", asks("1", 1))
            .runs("middle", "a", asks("1", 2))
            .runs("equal", "a", asks("2", 5));
        assert_eq!(preempt(builder, asks("1", 5)), Ok(("a".into(), vec!["low".into()])));
    }

    #[test]
    fn the_node_with_the_least_important_victims_is_chosen() {
        let builder = Builder::default()
            .nodes(&["a", "b", "c"])
            .runs("p", "a", asks("4", 3))
            .runs("q", "b", asks("4", 2))
            .runs("r", "c", asks("2", 2))
            .runs("s", "c", asks("2", 2));
        assert_eq!(preempt(builder, asks("4", 5)), Ok(("b".into(), vec!["q".into()])));
    }

    #[test]
    fn among_equal_victims_the_youngest_are_preempted() {
        let builder = Builder::default()
            .nodes(&["a", "b"])
            .runs("old", "a", started(asks("4", 1), "2026-01-01T00:00:00Z"))
            .runs("young", "b", started(asks("4", 1), "2026-02-01T00:00:00Z"));
        assert_eq!(preempt(builder, asks("1", 5)), Ok(("b".into(), vec!["young".into()])));
    }

    #[test]
    fn a_disruption_budget_is_violated_only_as_a_last_resort() {
        let mut protected = asks("4", 1);
        protected["metadata"] = json!({"labels": {"app": "db"}});
        let build = || {
            let mut builder = Builder::default().nodes(&["a"]).runs("p", "a", protected.clone());
            let pods = Selector::of_labels([(Arc::from("app"), Arc::from("db"))]);
            let namespace: Arc<str> = Arc::from("default");
            let budget = Budget { namespace, name: Arc::from("db"), pods, allowed: 0, disrupted: [].into() };
            builder.cluster.budgets.insert("default/db".into(), budget);
            builder
        };
        assert_eq!(preempt(build(), asks("1", 5)), Ok(("a".into(), vec!["p".into()])));
        let other = build().nodes(&["b"]).runs("q", "b", asks("4", 3));
        assert_eq!(preempt(other, asks("1", 5)), Ok(("b".into(), vec!["q".into()])));
    }

    #[test]
    fn anti_affinity_is_resolved_by_preempting_the_matching_pods() {
        let mut web = asks("1", 1);
        web["metadata"] = json!({"labels": {"app": "web"}});
        let mut away = asks("1", 5);
        away["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
        let builder = Builder::default().nodes(&["a"]).runs("web", "a", web).runs("other", "a", asks("1", 1));
        assert_eq!(preempt(builder, away), Ok(("a".into(), vec!["web".into()])));
    }

    #[test]
    fn the_message_says_why_nothing_is_preempted() {
        let builder = || {
            Builder::default()
                .nodes(&["a", "b"])
                .node("c", json!({"spec": {"unschedulable": true}}))
                .runs("p", "a", asks("4", 9))
                .runs("q", "b", asks("3", 9))
                .runs("r", "b", asks("1", 1))
        };
        assert_eq!(
            preempt(builder(), asks("2", 5)).unwrap_err(),
            "preemption: 0/3 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, \
             1 Preemption is not helpful for scheduling."
        );
        let mut never = asks("2", 10);
        never["spec"]["preemptionPolicy"] = json!("Never");
        let reason = preempt(builder(), never).unwrap_err();
        assert_eq!(reason, "preemption: not eligible due to preemptionPolicy=Never.");
    }

    #[test]
    fn no_further_pods_are_preempted_while_victims_terminate() {
        let mut leaving = asks("4", 1);
        leaving["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        leaving["status"] = json!({"conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]});
        let builder = Builder::default().nodes(&["a", "b"]).runs("p", "a", leaving).runs("q", "b", asks("4", 1));
        let mut pod = asks("1", 5);
        pod["status"] = json!({"nominatedNodeName": "a"});
        let reason = preempt(builder, pod).unwrap_err();
        assert_eq!(reason, "preemption: not eligible due to a terminating pod on the nominated node.");
    }
}
