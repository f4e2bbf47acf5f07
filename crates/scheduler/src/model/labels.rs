//! Labels, and compiled selectors.

use std::sync::Arc;

/// The labels of one object, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Labels in any order; for a repeated key the last value counts.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Labels {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1.clone();
            }
            same
        });
        Labels(pairs.into())
    }

    /// The value of the label `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<str>> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok().map(|at| &self.0[at].1)
    }

    /// Whether there is no label.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All labels, sorted by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requirement {
    /// The label's key.
    pub(crate) key: Arc<str>,
    /// The condition on its value.
    pub(crate) operator: Operator,
}

/// The condition of a requirement on a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    /// The value is one of these.
    In(Box<[Arc<str>]>),
    /// The value is none of these, or the label is absent.
    NotIn(Box<[Arc<str>]>),
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The value is an integer above this one.
    Gt(i64),
    /// The value is an integer below this one.
    Lt(i64),
    /// The bound is not an integer: no value matches.
    Never,
}

impl Requirement {
    /// Whether a value, or the absence of the label, satisfies the requirement.
    pub(crate) fn accepts(&self, value: Option<&str>) -> bool {
        match (&self.operator, value) {
            (Operator::In(values), Some(value)) => values.iter().any(|known| **known == *value),
            (Operator::NotIn(values), Some(value)) => values.iter().all(|known| **known != *value),
            (Operator::Exists, Some(_)) | (Operator::NotIn(_) | Operator::DoesNotExist, None) => true,
            (Operator::Gt(bound), Some(value)) => value.parse::<i64>().is_ok_and(|value| value > *bound),
            (Operator::Lt(bound), Some(value)) => value.parse::<i64>().is_ok_and(|value| value < *bound),
            (Operator::DoesNotExist | Operator::Never, Some(_)) | (_, None) => false,
        }
    }

    /// Whether `labels` satisfy the requirement.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.key).map(|value| &**value))
    }
}

/// A label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Selector {
    /// An absent selector: matches nothing.
    Nothing,
    /// All requirements have to match; an empty selector matches everything.
    All(Box<[Requirement]>),
}

impl Selector {
    /// The selector that requires exactly these values.
    pub(crate) fn of_labels(labels: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Selector {
        let exact = |(key, value)| Requirement { key, operator: Operator::In(Box::new([value])) };
        Selector::All(labels.into_iter().map(exact).collect())
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(requirements) => requirements.iter().all(|requirement| requirement.matches(labels)),
        }
    }

    /// Whether it is present and has no requirement.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Selector::All(requirements) if requirements.is_empty())
    }

    /// This selector with further requirements.
    pub(crate) fn and(self, more: impl IntoIterator<Item = Requirement>) -> Selector {
        match self {
            Selector::Nothing => Selector::Nothing,
            Selector::All(requirements) => Selector::All(requirements.into_vec().into_iter().chain(more).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))))
    }

    fn values(values: &[&str]) -> Box<[Arc<str>]> {
        values.iter().map(|value| Arc::from(*value)).collect()
    }

    #[test]
    fn finds_labels_in_any_order_given() {
        let labels = labels(&[("zone", "a"), ("app", "web"), ("app", "api")]);
        assert_eq!(labels.get("app").map(|value| &**value), Some("api"));
        assert_eq!(labels.get("zone").map(|value| &**value), Some("a"));
        assert_eq!(labels.get("tier"), None);
    }

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        for (operator, value, holds) in [
            (Operator::In(values(&["a", "b"])), Some("b"), true),
            (Operator::In(values(&["a"])), None, false),
            (Operator::NotIn(values(&["a"])), Some("a"), false),
            (Operator::NotIn(values(&["a"])), Some("b"), true),
            (Operator::NotIn(values(&["a"])), None, true),
            (Operator::Exists, Some(""), true),
            (Operator::Exists, None, false),
            (Operator::DoesNotExist, None, true),
            (Operator::DoesNotExist, Some("x"), false),
            (Operator::Gt(4), Some("5"), true),
            (Operator::Gt(4), Some("4"), false),
            (Operator::Gt(4), Some("many"), false),
            (Operator::Lt(4), Some("3"), true),
            (Operator::Lt(4), None, false),
            (Operator::Never, Some("3"), false),
            (Operator::Never, None, false),
        ] {
            let requirement = Requirement { key: Arc::from("key"), operator };
            assert_eq!(requirement.accepts(value), holds, "{requirement:?} {value:?}");
        }
    }

    #[test]
    fn an_absent_selector_selects_nothing_and_an_empty_one_everything() {
        assert!(!Selector::Nothing.matches(&labels(&[])));
        assert!(Selector::All(Box::new([])).matches(&labels(&[("a", "b")])));
        assert!(Selector::All(Box::new([])).is_empty());
        assert!(!Selector::Nothing.is_empty());
    }
}
