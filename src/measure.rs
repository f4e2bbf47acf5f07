//! What all rooms measure with: the bottom of [`crate::metrics`].

use http::HeaderName;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The target of spans that are made for traces. The log does not know them.
pub const SPANS: &str = "dockside::spans";

/// OpenMetrics, as text.
const FORM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An answer to Prometheus: its headers and its text.
pub type Page = ([(HeaderName, &'static str); 1], String);

/// How long something took, for each set of labels `L`. A clone goes on with the original.
pub type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Durations that were never measured.
pub fn durations<L: Clone + std::hash::Hash + Eq>() -> Durations<L> {
    Family::new_with_constructor(duration)
}

/// A histogram of durations in seconds, from a fifth of a millisecond (a list from memory) to minutes (a pull).
pub fn duration() -> Histogram {
    Histogram::new([0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, 300.0])
}

/// All numbers, as Prometheus reads them.
pub fn page(registry: &Registry) -> Page {
    let mut text = String::new();
    // A String takes everything.
    let _ = encode(&mut text, registry);
    ([(CONTENT_TYPE, FORM)], text)
}
