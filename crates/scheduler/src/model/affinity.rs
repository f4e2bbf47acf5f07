//! Affinities and spread constraints of a pod.

use std::sync::Arc;

use super::labels::Labels;
use super::labels::Requirement;
use super::labels::Selector;

/// Terms of which at least one has to match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeSelector(pub(crate) Box<[NodeTerm]>);

impl NodeSelector {
    /// Whether the node with this name and these labels is selected.
    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.0.iter().any(|term| term.matches(name, labels))
    }
}

/// Requirements that all have to match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct NodeTerm {
    /// On the node's labels.
    pub(crate) labels: Box<[Requirement]>,
    /// On the node's name, the only selectable field.
    pub(crate) names: Box<[Requirement]>,
}

impl NodeTerm {
    /// Whether the node matches; a term without requirements matches nothing.
    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        !self.is_empty()
            && self.labels.iter().all(|requirement| requirement.matches(labels))
            && self.names.iter().all(|requirement| requirement.accepts(Some(name)))
    }

    /// Whether there is no requirement.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.names.is_empty()
    }
}

/// One term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PodTerm {
    /// The node label whose values are the domains.
    pub(crate) topology_key: Arc<str>,
    /// Selects pods by their labels.
    pub(crate) pods: Selector,
    /// Namespaces by name.
    pub(crate) namespaces: Box<[Arc<str>]>,
    /// Further namespaces, by their labels.
    pub(crate) namespace_selector: Selector,
}

impl PodTerm {
    /// Whether the term matches a pod with these labels in this namespace. `namespace_labels` is `None` for an unknown
    /// namespace.
    pub(crate) fn matches(&self, namespace: &Arc<str>, labels: &Labels, namespace_labels: Option<&Labels>) -> bool {
        let by_labels = || match namespace_labels {
            Some(labels) => self.namespace_selector.matches(labels),
            None => self.namespace_selector.is_empty(),
        };
        (self.namespaces.contains(namespace) || by_labels()) && self.pods.matches(labels)
    }
}

/// One topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spread {
    /// The node label whose values are the domains.
    pub(crate) topology_key: Arc<str>,
    /// The largest allowed difference to the emptiest domain.
    pub(crate) max_skew: i64,
    /// With fewer domains the emptiest one counts as empty.
    pub(crate) min_domains: i64,
    /// DoNotSchedule; otherwise ScheduleAnyway.
    pub(crate) required: bool,
    /// Selects the pods to count.
    pub(crate) pods: Selector,
    /// nodeAffinityPolicy: only nodes matching the pod's node affinity count.
    pub(crate) honor_affinity: bool,
    /// nodeTaintsPolicy: only nodes whose taints the pod tolerates count.
    pub(crate) honor_taints: bool,
}

#[cfg(test)]
mod tests {
    use super::super::labels::Operator;
    use super::*;

    #[test]
    fn a_node_term_without_conditions_selects_nothing() {
        assert!(!NodeTerm::default().matches("a", &Labels::default()));
        assert!(!NodeSelector(Box::new([])).matches("a", &Labels::default()));
    }

    #[test]
    fn node_terms_are_alternatives_and_their_conditions_are_not() {
        let named = |name: &str| Requirement {
            key: Arc::from("metadata.name"),
            operator: Operator::In([Arc::from(name)].into()),
        };
        let zone = Requirement { key: Arc::from("zone"), operator: Operator::Exists };
        let both = NodeTerm { labels: [zone].into(), names: [named("a")].into() };
        let other = NodeTerm { labels: [].into(), names: [named("b")].into() };
        let selector = NodeSelector([both, other].into());
        let zoned = Labels::new([(Arc::from("zone"), Arc::from("1"))]);
        assert!(selector.matches("a", &zoned));
        assert!(!selector.matches("a", &Labels::default()));
        assert!(selector.matches("b", &Labels::default()));
        assert!(!selector.matches("c", &zoned));
    }

    #[test]
    fn an_unknown_namespace_is_selected_by_name_or_by_everything_only() {
        let term = |namespaces: &[&str], namespace_selector| PodTerm {
            topology_key: Arc::from("zone"),
            pods: Selector::All([].into()),
            namespaces: namespaces.iter().map(|name| Arc::from(*name)).collect(),
            namespace_selector,
        };
        let absent = Requirement { key: Arc::from("team"), operator: Operator::DoesNotExist };
        let lost: Arc<str> = Arc::from("lost");
        let labels = Labels::default();
        assert!(term(&["lost"], Selector::Nothing).matches(&lost, &labels, None));
        assert!(term(&[], Selector::All([].into())).matches(&lost, &labels, None));
        assert!(!term(&[], Selector::All([absent.clone()].into())).matches(&lost, &labels, None));
        assert!(term(&[], Selector::All([absent].into())).matches(&lost, &labels, Some(&labels)));
    }
}
