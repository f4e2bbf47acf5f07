//! A metric family: its descriptor, and how its samples come from a reading. Both are made from one row of a table, so that
//! they cannot disagree.

use crate::cgroup::Pressure;
use crate::proto::Metric;
use crate::proto::MetricDescriptor;
use crate::proto::MetricType;
use crate::proto::UInt64Value;

/// The labels that every metric has, before its own: cAdvisor's.
pub(super) const COMMON: [&str; 6] = ["id", "name", "image", "pod", "namespace", "container"];
/// In nanoseconds. The CRI has whole numbers only, so times are in whole seconds, rounded down: a counter never decreases.
pub(super) const SECOND: u64 = 1_000_000_000;

/// The values of [`COMMON`]: the cgroup, container and pod of a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// The cgroup, as a path in the cgroup tree.
    pub(super) id: String,
    /// Docker's name of the container; empty for a pod as a whole, as is the image.
    pub(super) name: String,
    pub(super) image: String,
    pub(super) pod: String,
    pub(super) namespace: String,
    /// The container's name in the pod, or `POD` for the pause container; empty for a pod as a whole.
    pub(super) container: String,
}

impl Owner {
    fn labels(&self) -> [&String; 6] {
        [&self.id, &self.name, &self.image, &self.pod, &self.namespace, &self.container]
    }
}

/// One value of a family, with as many labels as the family has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) labels: Vec<String>,
    pub(super) value: u64,
    /// When it was read, in nanoseconds since 1970; 0 for a value that was read for this response.
    pub(super) at: i64,
}

impl Value {
    pub(super) fn labelled(labels: &[&str], value: u64) -> Value {
        Value { labels: labels.iter().map(|&label| label.to_owned()).collect(), value, at: 0 }
    }
}

/// The only value of a family without labels of its own; none where the kernel does not have it.
pub(super) fn one(value: impl Into<Option<u64>>) -> Vec<Value> {
    value.into().map(|value| Value { value, ..Value::default() }).into_iter().collect()
}

/// As [`one`], of a time in nanoseconds, in seconds.
pub(super) fn seconds(nanoseconds: impl Into<Option<u64>>) -> Vec<Value> {
    one(nanoseconds.into().map(|nanoseconds| nanoseconds / SECOND))
}

/// A metric whose values come from a `Reading`.
pub(super) struct Family<Reading: 'static> {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    /// After [`COMMON`].
    labels: &'static [&'static str],
    values: fn(&Reading) -> Vec<Value>,
}

impl<Reading> Family<Reading> {
    /// A metric that only increases.
    pub(super) const fn counter(
        name: &'static str,
        help: &'static str,
        values: fn(&Reading) -> Vec<Value>,
    ) -> Family<Reading> {
        Family { name, help, kind: MetricType::Counter, labels: &[], values }
    }

    /// A metric that increases and decreases.
    pub(super) const fn gauge(
        name: &'static str,
        help: &'static str,
        values: fn(&Reading) -> Vec<Value>,
    ) -> Family<Reading> {
        Family { name, help, kind: MetricType::Gauge, labels: &[], values }
    }

    /// Adds labels of the family's own.
    pub(super) const fn by(mut self, labels: &'static [&'static str]) -> Family<Reading> {
        self.labels = labels;
        self
    }

    pub(super) fn descriptor(&self) -> MetricDescriptor {
        let keys = COMMON.iter().chain(self.labels).map(|&key| key.to_owned());
        MetricDescriptor { name: self.name.to_owned(), help: self.help.to_owned(), label_keys: keys.collect() }
    }

    #[cfg(test)]
    pub(super) fn values(&self, reading: &Reading) -> Vec<Value> {
        (self.values)(reading)
    }

    fn samples<'a>(&'a self, owner: &'a Owner, reading: &Reading) -> impl Iterator<Item = Metric> + 'a {
        (self.values)(reading).into_iter().map(|value| Metric {
            name: self.name.to_owned(),
            timestamp: value.at,
            metric_type: self.kind.into(),
            label_values: owner.labels().into_iter().cloned().chain(value.labels).collect(),
            value: Some(UInt64Value { value: value.value }),
        })
    }
}

/// How long some process waited, in seconds.
pub(super) fn waiting(pressure: Option<Pressure>) -> Vec<Value> {
    seconds(pressure.and_then(|pressure| Some(pressure.some?.total_ns)))
}

/// How long all processes waited, in seconds.
pub(super) fn stalled(pressure: Option<Pressure>) -> Vec<Value> {
    seconds(pressure.and_then(|pressure| Some(pressure.full?.total_ns)))
}

/// All samples of a reading.
pub(super) fn samples<Reading>(families: &'static [Family<Reading>], owner: &Owner, reading: &Reading) -> Vec<Metric> {
    families.iter().flat_map(|family| family.samples(owner, reading)).collect()
}
