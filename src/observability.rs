//! What Dockside reports of itself: its log, traces, and its own metrics on a Prometheus page.
//!
//! Every room may use [`Durations`] and [`SPANS`]. `cmd::serve` sets up the log and the page, and registers the metrics of
//! the other rooms: this one depends on none of them. Durations are recorded where they occur; everything else is counted
//! when the page is read.

mod durations;
mod logging;
mod process;
mod prometheus;

pub use self::durations::Durations;
pub use self::durations::duration;
pub use self::durations::durations;
pub use self::logging::SPANS;
pub use self::logging::Traces;
pub use self::logging::init;
pub use self::logging::init_with_traces;
pub use self::process::ProcessCollector;
pub use self::prometheus::Error;
pub use self::prometheus::Server;
