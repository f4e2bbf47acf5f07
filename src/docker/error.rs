//! What can go wrong with a request to Docker, sorted by what the caller can do about it. Docker's messages are matched
//! here and in `registry` alone.

use std::fmt;
use std::time::Duration;

use bollard::errors::Error as Bollard;

use super::registry;

/// A request to Docker that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not {operation} {object}: {cause}")]
pub struct Error {
    /// What was being done, such as `start container`.
    pub operation: &'static str,
    /// To which object: a name, an id, a reference or a socket.
    pub object: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a request to Docker failed. The texts are Docker's own messages, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Docker does not answer, for the reason given; the request may be repeated later.
    Unavailable(String),
    /// Docker knows no such object (HTTP 404).
    NotFound(String),
    /// The state of the object, or another object, forbids it (HTTP 409).
    Conflict(String),
    /// The request itself is wrong (HTTP 400).
    Invalid(String),
    /// Docker tried and failed (any other status, or an error inside a stream), or its answer could not be used.
    Failed(String),
    /// Docker did not answer within this time.
    Timeout(Duration),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Unavailable(reason) => write!(f, "Docker is not available: {reason}"),
            Cause::NotFound(message) | Cause::Conflict(message) | Cause::Invalid(message) | Cause::Failed(message) => {
                f.write_str(message)
            }
            Cause::Timeout(limit) => write!(f, "no answer from Docker within {limit:?}"),
        }
    }
}

impl Error {
    pub(super) fn new(operation: &'static str, object: &str, cause: Cause) -> Error {
        Error { operation, object: object.to_owned(), cause }
    }

    /// Docker does not answer, for `reason`.
    pub(crate) fn unavailable(operation: &'static str, object: &str, reason: impl ToString) -> Error {
        Error::new(operation, object, Cause::Unavailable(reason.to_string()))
    }

    /// Docker, or what reads its answer, failed with `message`.
    pub(super) fn failed(operation: &'static str, object: &str, message: impl ToString) -> Error {
        Error::new(operation, object, Cause::Failed(message.to_string()))
    }

    /// Sorts an error of the client library.
    pub(super) fn from_bollard(operation: &'static str, object: &str, source: Bollard) -> Error {
        let cause = match source {
            Bollard::DockerResponseServerError { status_code, message } => {
                let message = message.trim().to_owned();
                match status_code {
                    404 => Cause::NotFound(message),
                    409 => Cause::Conflict(message),
                    400 => Cause::Invalid(message),
                    _ => Cause::Failed(message),
                }
            }
            Bollard::DockerStreamError { error } => Cause::Failed(error),
            Bollard::JsonDataError { .. } | Bollard::JsonSerdeError { .. } => {
                Cause::Failed(format!("could not parse Docker's answer: {source}"))
            }
            other => Cause::Unavailable(with_causes(&other)),
        };
        Error::new(operation, object, cause)
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound(_))
    }

    /// Whether the state of the object, or another object, forbids the request.
    pub fn is_conflict(&self) -> bool {
        matches!(self.cause, Cause::Conflict(_))
    }

    /// Whether Docker rejects the request itself, such as a malformed reference.
    pub fn is_invalid(&self) -> bool {
        matches!(self.cause, Cause::Invalid(_))
    }

    /// Whether Docker did not answer, so that further requests would fail too.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.cause, Cause::Unavailable(_) | Cause::Timeout(_))
    }

    /// Whether an image is missing, rather than another object.
    pub fn is_missing_image(&self) -> bool {
        self.is_not_found() && self.has("No such image")
    }

    /// Whether a container could not be killed because it does not run.
    pub(super) fn is_not_running(&self) -> bool {
        self.is_conflict() && self.has("is not running")
    }

    /// Whether another client is removing the same container.
    pub(super) fn is_removal_in_progress(&self) -> bool {
        self.is_conflict() && self.has("already in progress")
    }

    /// Whether the daemon's configuration has `max-buffer-size` for its log driver, which Docker does not accept
    /// together with a container's `mode=blocking`.
    pub fn is_refusal_of_blocking_logs(&self) -> bool {
        self.has("max-buffer-size")
    }

    /// Whether a pull failed because the registry did not answer, or answered with a server error. An image that the
    /// registry does not have or does not give, and a damaged layer, are other failures.
    pub fn is_registry_unavailable(&self) -> bool {
        match &self.cause {
            Cause::Failed(message) | Cause::NotFound(message) => registry::is_unavailable(message),
            _ => false,
        }
    }

    /// Docker's message alone, where there is one.
    pub fn message(&self) -> String {
        match &self.cause {
            Cause::NotFound(message) | Cause::Conflict(message) | Cause::Invalid(message) | Cause::Failed(message) => {
                message.clone()
            }
            Cause::Unavailable(_) | Cause::Timeout(_) => self.to_string(),
        }
    }

    fn has(&self, phrase: &str) -> bool {
        self.message().contains(phrase)
    }
}

/// The error with its sources: hyper's own text is only "client error (Connect)".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
