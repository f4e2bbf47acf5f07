//! Dockside's own log: structured lines on standard error, for a person or for a machine.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::config::LogLevel;

/// Libraries that are only worth hearing when something is wrong; hyper and h2 tell of every frame, bollard of
/// whole request bodies, with the secrets in them.
const QUIET: &str = "bollard=info,h2=info,hyper=info,hyper_util=info,tower=info";

/// Starts the log. Only the first call has an effect.
pub fn init(level: LogLevel, format: LogFormat) {
    let filter = EnvFilter::new(format!("{},{QUIET}", level.as_str()));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "the log was started before");
    }
}
