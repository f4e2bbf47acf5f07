//! What all rooms measure with: the bottom of [`crate::metrics`].

use prometheus_client::metrics::histogram::Histogram;

/// A histogram of durations in seconds, from a fifth of a millisecond (a list from memory) to minutes (a pull).
pub fn durations() -> Histogram {
    Histogram::new([0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, 300.0])
}
