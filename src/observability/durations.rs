//! Histograms of durations.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Histograms of durations in seconds, one for each set of labels `L`. Clones share their values.
pub(crate) type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Empty [`Durations`].
pub(crate) fn durations<L: Clone + std::hash::Hash + Eq>() -> Durations<L> {
    Family::new_with_constructor(duration)
}

/// A histogram of durations in seconds, from a fifth of a millisecond (a list from memory) to minutes (a pull).
pub(crate) fn duration() -> Histogram {
    Histogram::new([0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, 300.0])
}
