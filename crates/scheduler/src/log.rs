//! The scheduler's log: lines on standard error, as text or JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Dependencies whose debug output would drown the scheduler's: hyper logs every frame.
const QUIET: &str = "hyper=info,hyper_util=info,tower=info";

/// The log level; each level includes the ones before it.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Level {
    /// Failures
    Error,
    /// Unexpected conditions
    Warn,
    /// What happens to pods
    Info,
    /// Each decision and request
    Debug,
    /// Everything
    Trace,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// Initialises logging, as JSON objects (one per line) or as text. Only the first call has an effect.
pub(crate) fn init(level: Level, json: bool) {
    let filter = EnvFilter::new(format!("{},{QUIET}", level.as_str()));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already initialised");
    }
}
