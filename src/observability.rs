//! What Dockside reports of itself: its log, traces, and its own metrics on a Prometheus page.
//!
//! Every room may use [`Durations`] and [`SPANS`]. `cmd::serve` sets up the log and the page, and registers the metrics of
//! the other rooms: this one depends on none of them. Durations are recorded where they occur; everything else is counted
//! when the page is read.

mod durations;
mod logging;
mod prometheus;

pub(crate) use self::durations::Durations;
pub(crate) use self::durations::duration;
pub(crate) use self::durations::durations;
pub(crate) use self::logging::SPANS;
pub(crate) use self::logging::Traces;
pub(crate) use self::logging::init;
pub(crate) use self::logging::init_with_traces;
pub(crate) use self::prometheus::Error;
pub(crate) use self::prometheus::Server;
