//! Where a pod wants to be, by the labels of nodes and of other pods.

use std::sync::Arc;

use super::labels::Labels;
use super::labels::Requirement;
use super::labels::Selector;
use super::node::Node;
use super::node::Taint;
use super::node::forbidding;
use super::pod::Shape;

/// Terms of which one has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeSelector(pub Box<[NodeTerm]>);

impl NodeSelector {
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.0.iter().any(|term| term.matches(name, labels))
    }
}

/// Conditions that all have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    pub labels: Box<[Requirement]>,
    /// On the node's name, the only field there is.
    pub names: Box<[Requirement]>,
}

impl NodeTerm {
    /// A term without conditions selects nothing.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        !self.is_empty()
            && self.labels.iter().all(|requirement| requirement.matches(labels))
            && self.names.iter().all(|requirement| requirement.accepts(Some(name)))
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.names.is_empty()
    }
}

/// Whether a pod's node selector and its required node affinity hold for a node.
pub fn node_matches(shape: &Shape, node: &Node) -> bool {
    shape.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && shape.node_affinity.as_ref().is_none_or(|selector| selector.matches(&node.name, &node.labels))
}

/// Pods to be near to or away from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    pub topology_key: Arc<str>,
    pub pods: Selector,
    pub namespaces: Box<[Arc<str>]>,
    /// Namespaces by their labels, besides those by name.
    pub namespace_selector: Selector,
}

impl PodTerm {
    /// Whether the term is about pods with these labels in this namespace.
    ///
    /// `namespace_labels` are `None` for a namespace that is not known.
    pub fn matches(&self, namespace: &Arc<str>, labels: &Labels, namespace_labels: Option<&Labels>) -> bool {
        let by_labels = || match namespace_labels {
            Some(labels) => self.namespace_selector.matches(labels),
            None => self.namespace_selector.is_empty(),
        };
        (self.namespaces.contains(namespace) || by_labels()) && self.pods.matches(labels)
    }
}

/// One topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    pub topology_key: Arc<str>,
    pub max_skew: i64,
    pub min_domains: i64,
    /// Whether it must hold, or should.
    pub required: bool,
    pub pods: Selector,
    /// Whether only nodes count that the pod's node affinity accepts.
    pub honor_affinity: bool,
    /// Whether only nodes count whose taints the pod tolerates.
    pub honor_taints: bool,
}

impl Spread {
    /// Whether a node's pods are counted for a pod of this shape.
    pub fn counts(&self, shape: &Shape, node: &Node) -> bool {
        let allowed = |taints: &[Taint]| forbidding(taints, &shape.tolerations).is_none();
        (!self.honor_affinity || node_matches(shape, node)) && (!self.honor_taints || allowed(&node.taints))
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::Test;
    use super::*;

    #[test]
    fn a_node_term_without_conditions_selects_nothing() {
        assert!(!NodeTerm::default().matches("a", &Labels::default()));
        assert!(!NodeSelector(Box::new([])).matches("a", &Labels::default()));
    }

    #[test]
    fn node_terms_are_alternatives_and_their_conditions_are_not() {
        let named =
            |name: &str| Requirement { key: Arc::from("metadata.name"), test: Test::In([Arc::from(name)].into()) };
        let zone = Requirement { key: Arc::from("zone"), test: Test::Exists };
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
        let absent = Requirement { key: Arc::from("team"), test: Test::DoesNotExist };
        let lost: Arc<str> = Arc::from("lost");
        let labels = Labels::default();
        assert!(term(&["lost"], Selector::Nothing).matches(&lost, &labels, None));
        assert!(term(&[], Selector::All([].into())).matches(&lost, &labels, None));
        assert!(!term(&[], Selector::All([absent.clone()].into())).matches(&lost, &labels, None));
        assert!(term(&[], Selector::All([absent].into())).matches(&lost, &labels, Some(&labels)));
    }
}
