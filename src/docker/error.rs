//! What can go wrong with a request to Docker, told apart by what the caller can do about it.

use std::time::Duration;

use bollard::errors::Error as Bollard;

/// A request to Docker that failed. Every variant names what was being done and to which object.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The HTTP client could not be made.
    #[error("could not prepare the Docker client: {0}")]
    Client(String),
    /// Docker does not answer; the request may be repeated later.
    #[error("could not {doing} {object}: Docker is not available: {reason}")]
    Unavailable { doing: &'static str, object: String, reason: String },
    /// Docker knows no such object (HTTP 404).
    #[error("could not {doing} {object}: {message}")]
    NotFound { doing: &'static str, object: String, message: String },
    /// The object's state or another object stands in the way (HTTP 409).
    #[error("could not {doing} {object}: {message}")]
    Conflict { doing: &'static str, object: String, message: String },
    /// Docker finds the request itself wrong (HTTP 400).
    #[error("could not {doing} {object}: {message}")]
    Invalid { doing: &'static str, object: String, message: String },
    /// Docker tried and failed (any other status, or an error inside a stream).
    #[error("could not {doing} {object}: {message}")]
    Failed { doing: &'static str, object: String, message: String },
    /// Docker took longer than the request is given.
    #[error("could not {doing} {object}: no answer from Docker within {limit:?}")]
    Timeout { doing: &'static str, object: String, limit: Duration },
}

impl Error {
    /// Docker is away for `reason`.
    pub(super) fn unavailable(doing: &'static str, object: &str, reason: impl ToString) -> Error {
        Error::Unavailable { doing, object: object.to_owned(), reason: reason.to_string() }
    }

    /// Sorts an error of the client library.
    pub(super) fn from_bollard(doing: &'static str, object: &str, source: Bollard) -> Error {
        let object = object.to_owned();
        match source {
            Bollard::DockerResponseServerError { status_code, message } => {
                let message = message.trim().to_owned();
                match status_code {
                    404 => Error::NotFound { doing, object, message },
                    409 => Error::Conflict { doing, object, message },
                    400 => Error::Invalid { doing, object, message },
                    _ => Error::Failed { doing, object, message },
                }
            }
            Bollard::DockerStreamError { error } => Error::Failed { doing, object, message: error },
            Bollard::JsonDataError { .. } | Bollard::JsonSerdeError { .. } => {
                Error::Failed { doing, object, message: format!("Docker's answer is not understood: {source}") }
            }
            other => Error::Unavailable { doing, object, reason: with_causes(&other) },
        }
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Whether Docker did not answer, so that nothing else need be asked just now.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Error::Unavailable { .. } | Error::Timeout { .. })
    }

    /// Whether this is about an image that does not exist.
    pub fn is_missing_image(&self) -> bool {
        matches!(self, Error::NotFound { message, .. } if message.contains("No such image"))
    }

    /// Whether the daemon's configuration has `max-buffer-size` for its log driver, which Docker does not accept
    /// together with a container's `mode=blocking`.
    pub fn is_refusal_of_blocking_logs(&self) -> bool {
        self.message().contains("max-buffer-size")
    }

    /// Docker's own words, without ours around them.
    pub fn message(&self) -> String {
        match self {
            Error::NotFound { message, .. }
            | Error::Conflict { message, .. }
            | Error::Invalid { message, .. }
            | Error::Failed { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

/// hyper says only "client error (Connect)"; the reason a person needs is in the causes.
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
