//! Affinities and topology spread constraints of a pod.

use std::sync::Arc;

use super::BadField;
use super::selector::node_selector;
use super::selector::node_term;
use super::selector::selector;
use crate::model::Intern;
use crate::model::NodeSelector;
use crate::model::NodeTerm;
use crate::model::Operator;
use crate::model::PodTerm;
use crate::model::Requirement;
use crate::model::Spread;
use crate::wire;

const NODE: &str = "spec.affinity.nodeAffinity";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The required node affinity.
pub(super) fn required_nodes(pod: &wire::Pod, intern: &Intern) -> Result<Option<NodeSelector>, BadField> {
    let Some(required) = &pod.spec.affinity.node_affinity.required else { return Ok(None) };
    node_selector(required, intern).map(Some).map_err(|bad| bad.within(&format!("{NODE}.{REQUIRED}")))
}

/// The preferred node affinity. Terms without requirements are dropped.
pub(super) fn preferred_nodes(pod: &wire::Pod, intern: &Intern) -> Result<Box<[(i32, NodeTerm)]>, BadField> {
    let mut terms = Vec::new();
    for (at, term) in pod.spec.affinity.node_affinity.preferred.iter().enumerate() {
        let read = node_term(&term.preference, intern)
            .map_err(|bad| bad.within(&format!("{NODE}.{PREFERRED}[{at}].preference")))?;
        if term.weight != 0 && !read.is_empty() {
            terms.push((term.weight, read));
        }
    }
    Ok(terms.into())
}

/// The terms of pod affinity or anti-affinity.
#[derive(Default)]
pub(super) struct PodTerms {
    pub(super) required: Box<[PodTerm]>,
    pub(super) preferred: Box<[(i32, PodTerm)]>,
}

/// Converts pod affinity or anti-affinity; `field` is its name, for errors.
pub(super) fn pod_terms(
    affinity: &wire::PodAffinity,
    field: &str,
    namespace: &Arc<str>,
    intern: &Intern,
) -> Result<PodTerms, BadField> {
    let field = format!("spec.affinity.{field}");
    let required = affinity.required.iter().enumerate().map(|(at, term)| {
        pod_term(term, namespace, intern).map_err(|bad| bad.within(&format!("{field}.{REQUIRED}[{at}]")))
    });
    let preferred = affinity.preferred.iter().enumerate().map(|(at, term)| {
        let read = pod_term(&term.pod_affinity_term, namespace, intern);
        let read = read.map_err(|bad| bad.within(&format!("{field}.{PREFERRED}[{at}].podAffinityTerm")))?;
        Ok((term.weight, read))
    });
    Ok(PodTerms { required: required.collect::<Result<_, _>>()?, preferred: preferred.collect::<Result<_, _>>()? })
}

/// matchLabelKeys and mismatchLabelKeys need no handling: the API server merged them into the label selector when the
/// pod was created.
fn pod_term(term: &wire::PodAffinityTerm, namespace: &Arc<str>, intern: &Intern) -> Result<PodTerm, BadField> {
    let of_pod = term.namespaces.is_empty() && term.namespace_selector.is_none();
    let namespaces = if of_pod {
        Box::new([namespace.clone()]) as Box<[_]>
    } else {
        term.namespaces.iter().map(|name| intern.str(name)).collect()
    };
    Ok(PodTerm {
        topology_key: intern.str(&term.topology_key),
        pods: selector(term.label_selector.as_ref(), intern).map_err(|bad| bad.within("labelSelector"))?,
        namespaces,
        namespace_selector: selector(term.namespace_selector.as_ref(), intern)
            .map_err(|bad| bad.within("namespaceSelector"))?,
    })
}

/// Converts the topology spread constraints.
pub(super) fn spread(pod: &wire::Pod, intern: &Intern) -> Result<Box<[Spread]>, BadField> {
    let read = |(at, constraint)| {
        spread_constraint(constraint, &pod.metadata.labels, intern)
            .map_err(|bad: BadField| bad.within(&format!("spec.topologySpreadConstraints[{at}]")))
    };
    pod.spec.topology_spread_constraints.iter().enumerate().map(read).collect()
}

fn spread_constraint(
    constraint: &wire::TopologySpreadConstraint,
    labels: &wire::StringMap,
    intern: &Intern,
) -> Result<Spread, BadField> {
    let required = match constraint.when_unsatisfiable.as_str() {
        "DoNotSchedule" => true,
        "ScheduleAnyway" => false,
        other => return Err(BadField::new("whenUnsatisfiable", format!("{other:?} is unknown"))),
    };
    let honor = |policy: &Option<String>, default: bool| policy.as_ref().map_or(default, |policy| policy == "Honor");
    let same = |key: &String| {
        let value = intern.str(labels.get(key)?);
        Some(Requirement { key: intern.str(key), operator: Operator::In([value].into()) })
    };
    let pods = selector(constraint.label_selector.as_ref(), intern).map_err(|bad| bad.within("labelSelector"))?;
    Ok(Spread {
        topology_key: intern.str(&constraint.topology_key),
        max_skew: constraint.max_skew.into(),
        min_domains: constraint.min_domains.unwrap_or(1).into(),
        required,
        pods: pods.and(constraint.match_label_keys.iter().filter_map(same)),
        honor_affinity: honor(&constraint.node_affinity_policy, true),
        honor_taints: honor(&constraint.node_taints_policy, false),
    })
}
