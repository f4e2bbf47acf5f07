//! Failures of plugins, and the errors that they report (section 5).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

/// The most bytes a plugin may write to standard output or standard error. A result has a few hundred.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The longest part of a plugin's output in an error message, in characters.
const MESSAGE_LIMIT: usize = 2048;

/// An operation of the CNI protocol (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Check an attachment.
    Check,
    /// Ask whether the plugin can serve an ADD.
    Status,
    /// Clean up all attachments except those listed.
    Gc,
}

impl Verb {
    /// The value of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Status => "STATUS",
            Verb::Gc => "GC",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A plugin that could not be run, or failed.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin} failed on {}: {failure}", verb.as_str())]
pub struct PluginError {
    /// The plugin's `type`.
    pub plugin: String,
    /// What it was asked to do.
    pub verb: Verb,
    /// How it failed.
    pub failure: Failure,
}

/// How a plugin failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no executable of that name.
    #[error("no executable file of that name in {}", list(.bin_dirs))]
    NotFound {
        /// The directories that were searched.
        bin_dirs: Vec<PathBuf>,
    },
    /// It could not be started or waited for.
    #[error("could not run it: {0}")]
    Run(#[from] io::Error),
    /// It exceeded its time limit and was killed.
    #[error("killed, because it did not end within {} s{}", after.as_secs_f64(), said(.stderr))]
    Deadline {
        /// The limit.
        after: Duration,
        /// Its standard error.
        stderr: String,
    },
    /// It failed with an error object (section 5).
    #[error("{msg}{} (code {code})", said(.details))]
    Reported {
        /// Below 100: defined by the specification. From 100: the plugin's own.
        code: u64,
        /// A short message.
        msg: String,
        /// A longer one; may be empty.
        details: String,
    },
    /// It failed without an error object.
    #[error("{status}{}", said(.output))]
    Exit {
        /// Its exit status.
        status: ExitStatus,
        /// Its output.
        output: String,
    },
    /// It wrote more than 1 MiB.
    #[error("it wrote more than {OUTPUT_LIMIT} bytes")]
    TooMuchOutput,
    /// It succeeded, but its output is not a JSON object.
    #[error("its result is not a JSON object: {reason}{}", said(.output))]
    Garbage {
        /// What is wrong with it.
        reason: String,
        /// Its output.
        output: String,
    },
}

impl PluginError {
    /// The code of the reported error, if there is one.
    pub fn code(&self) -> Option<u64> {
        match self.failure {
            Failure::Reported { code, .. } => Some(code),
            _ => None,
        }
    }
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn list(dirs: &[PathBuf]) -> String {
    let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    names.join(", ")
}

/// Parses an error object (section 5).
pub(crate) fn reported_error(stdout: &[u8]) -> Option<Failure> {
    let Ok(Value::Object(object)) = serde_json::from_slice(stdout) else {
        return None;
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().trim();
    let (msg, details) = (text("msg"), text("details"));
    let code = object.get("code").and_then(Value::as_u64);
    if msg.is_empty() && details.is_empty() && code.is_none() {
        return None;
    }
    let msg = if msg.is_empty() { "it gave no message" } else { msg };
    Some(Failure::Reported { code: code.unwrap_or(0), msg: shortened(msg), details: shortened(details) })
}

/// Parses a plugin's output as a JSON object.
pub(crate) fn parse_object(output: &[u8]) -> Result<Map<String, Value>, Failure> {
    let garbage =
        |reason: String| Failure::Garbage { reason, output: shortened(String::from_utf8_lossy(output).trim()) };
    match serde_json::from_slice(output) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(garbage("it is some other JSON value".to_owned())),
        Err(error) => Err(garbage(error.to_string())),
    }
}

/// The text, shortened for an error message.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
