//! How a plugin can fail, and what it says then (CNI specification, section 5).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

/// The most a plugin may write to one of its outputs, in bytes. A real result has a few hundred.
pub const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The most of a plugin's own words that goes into an error message, in characters.
const MESSAGE_LIMIT: usize = 2048;

/// An operation of the CNI protocol (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Ask whether an attachment is as it should be.
    Check,
    /// Ask whether the plugin could serve an `ADD`.
    Status,
    /// Name the valid attachments, so that the rest can be cleaned up.
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

/// A plugin that could not be run or did not succeed.
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
    /// There is no executable file of that name.
    #[error("no executable file of that name in {}", list(.bin_dirs))]
    NotFound {
        /// Where it was looked for.
        bin_dirs: Vec<PathBuf>,
    },
    /// The operating system did not start or did not await it.
    #[error("could not run it: {0}")]
    Run(#[from] io::Error),
    /// It did not end in time, and was killed.
    #[error("killed, because it did not end within {} s{}", after.as_secs_f64(), said(.stderr))]
    Deadline {
        /// The time it had.
        after: Duration,
        /// What it had written to standard error.
        stderr: String,
    },
    /// It reported an error in the form the specification asks for (section 5).
    #[error("{msg}{} (code {code})", said(.details))]
    Reported {
        /// Below 100: a well-known error. 100 and above: the plugin's own.
        code: u64,
        /// A short message.
        msg: String,
        /// A longer one; may be empty.
        details: String,
    },
    /// It ended with an error and said something else.
    #[error("{status}{}", said(.output))]
    Exit {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// It wrote more than a result can be.
    #[error("it wrote more than {OUTPUT_LIMIT} bytes")]
    TooMuchOutput,
    /// It succeeded, but what it wrote is not a result.
    #[error("its result is not a JSON object: {reason}{}", said(.output))]
    Garbage {
        /// What is wrong with it.
        reason: String,
        /// What it wrote.
        output: String,
    },
}

impl PluginError {
    /// The error code the plugin reported, if it reported one.
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

/// The error object of section 5, if this is one.
pub fn reported_error(stdout: &[u8]) -> Option<Failure> {
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

/// Reads the object a plugin answered with.
pub fn parse_object(output: &[u8]) -> Result<Map<String, Value>, Failure> {
    let garbage =
        |reason: String| Failure::Garbage { reason, output: shortened(String::from_utf8_lossy(output).trim()) };
    match serde_json::from_slice(output) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(garbage("it is some other JSON value".to_owned())),
        Err(error) => Err(garbage(error.to_string())),
    }
}

/// The text, cut to what fits an error message.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
