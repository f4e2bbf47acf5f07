//! Labels and the selectors that look for them, compiled once.

use std::sync::Arc;

/// The labels of one object, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Labels in any order; of two with one key the last counts.
    pub fn new(pairs: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Labels {
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
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok().map(|at| &self.0[at].1)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// One condition on the label `key`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub key: Arc<str>,
    pub test: Test,
}

/// What is asked of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    In(Box<[Arc<str>]>),
    /// Also holds where there is no such label.
    NotIn(Box<[Arc<str>]>),
    Exists,
    DoesNotExist,
    /// The value is a whole number above this one.
    Above(i64),
    /// The value is a whole number below this one.
    Below(i64),
    /// There is nothing to compare with: no value will do.
    Never,
}

impl Requirement {
    /// Whether a label of this value, or its absence, is what is asked for.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        match (&self.test, value) {
            (Test::In(values), Some(value)) => values.iter().any(|known| **known == *value),
            (Test::NotIn(values), Some(value)) => values.iter().all(|known| **known != *value),
            (Test::Exists, Some(_)) | (Test::NotIn(_) | Test::DoesNotExist, None) => true,
            (Test::Above(bound), Some(value)) => value.parse::<i64>().is_ok_and(|value| value > *bound),
            (Test::Below(bound), Some(value)) => value.parse::<i64>().is_ok_and(|value| value < *bound),
            (Test::DoesNotExist | Test::Never, Some(_)) | (_, None) => false,
        }
    }

    /// Whether `labels` have what is asked for.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.key).map(|value| &**value))
    }
}

/// A label selector: every requirement has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// A selector that is not there selects nothing.
    Nothing,
    /// An empty one selects everything.
    All(Box<[Requirement]>),
}

impl Selector {
    /// The selector of these labels and no more.
    pub fn of_labels(labels: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Selector {
        let exact = |(key, value)| Requirement { key, test: Test::In(Box::new([value])) };
        Selector::All(labels.into_iter().map(exact).collect())
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(requirements) => requirements.iter().all(|requirement| requirement.matches(labels)),
        }
    }

    /// Whether this selects everything because it asks for nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self, Selector::All(requirements) if requirements.is_empty())
    }

    /// This selector with further requirements.
    pub fn and(self, more: impl IntoIterator<Item = Requirement>) -> Selector {
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
        for (test, value, holds) in [
            (Test::In(values(&["a", "b"])), Some("b"), true),
            (Test::In(values(&["a"])), None, false),
            (Test::NotIn(values(&["a"])), Some("a"), false),
            (Test::NotIn(values(&["a"])), Some("b"), true),
            (Test::NotIn(values(&["a"])), None, true),
            (Test::Exists, Some(""), true),
            (Test::Exists, None, false),
            (Test::DoesNotExist, None, true),
            (Test::DoesNotExist, Some("x"), false),
            (Test::Above(4), Some("5"), true),
            (Test::Above(4), Some("4"), false),
            (Test::Above(4), Some("many"), false),
            (Test::Below(4), Some("3"), true),
            (Test::Below(4), None, false),
            (Test::Never, Some("3"), false),
            (Test::Never, None, false),
        ] {
            let requirement = Requirement { key: Arc::from("key"), test };
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
