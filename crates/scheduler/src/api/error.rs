//! What can go wrong between us and an API server.

use std::error::Error as _;
use std::path::PathBuf;

use bytes::Bytes;

use super::Encoding;

/// Why a request came to nothing. Whether it was done all the same is known only where the server answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(String),
    #[error("could not read {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("could not run {command} for a token: {reason}")]
    Plugin { command: String, reason: String },
    #[error("could not ask for {path}: {source}")]
    Request { path: String, source: http::Error },
    #[error("could not reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{path}: the answer broke off: {reason}")]
    Broken { path: String, reason: String },
    #[error("{path}: no answer in time")]
    Timeout { path: String },
    /// The server answered, and not with success.
    #[error("{path}: {message} ({code})")]
    Refused { path: String, code: u16, message: String },
    #[error("{path}: could not understand the answer: {source}")]
    Decode { path: String, source: serde_path_to_error::Error<serde_json::Error> },
    /// The answer is not the Protobuf it should be.
    #[error("{path}: could not understand the answer: {reason}")]
    Garbled { path: String, reason: String },
}

impl Error {
    pub(super) fn unreachable(server: &str, error: &hyper_util::client::legacy::Error) -> Error {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        Error::Unreachable { server: server.to_owned(), reason }
    }

    /// The error that a server's answer of this code tells of.
    pub(super) fn refused(code: u16, path: &str, encoding: Encoding, body: &Bytes) -> Error {
        let status = encoding.status(body).unwrap_or_default();
        let message = if status.message.is_empty() {
            String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned()
        } else {
            status.message
        };
        Error::Refused { path: path.to_owned(), code, message }
    }

    /// The error in a watch that ended with one.
    pub fn in_watch(path: &str, encoding: Encoding, status: &Bytes) -> Error {
        let code = encoding.status(status).and_then(|status| u16::try_from(status.code).ok());
        Error::refused(code.unwrap_or(500), path, encoding, status)
    }

    /// The HTTP code, where the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request may have been done although it failed.
    pub fn is_uncertain(&self) -> bool {
        match self {
            Error::Refused { code, .. } => *code >= 500,
            Error::Unreachable { .. }
            | Error::Broken { .. }
            | Error::Timeout { .. }
            | Error::Decode { .. }
            | Error::Garbled { .. } => true,
            Error::Config(_) | Error::File { .. } | Error::Plugin { .. } | Error::Request { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_in_the_servers_words() {
        let body = r#"{"kind":"Status","message":"pods \"a\" not found","reason":"NotFound","code":404}"#;
        let error = Error::refused(404, "/api/v1/pods/a", Encoding::Json, &body.into());
        assert_eq!(error.to_string(), "/api/v1/pods/a: pods \"a\" not found (404)");
        assert_eq!((error.code(), error.is_uncertain()), (Some(404), false));
        let expired = r#"{"message":"too old","code":410}"#.into();
        assert_eq!(Error::in_watch("/x", Encoding::Json, &expired).code(), Some(410));
    }

    #[test]
    fn after_a_server_error_nobody_knows_whether_it_was_done() {
        assert!(Error::refused(504, "/x", Encoding::Json, &"gateway".into()).is_uncertain());
        assert!(Error::Timeout { path: "/x".into() }.is_uncertain());
        assert!(!Error::refused(409, "/x", Encoding::Json, &"{}".into()).is_uncertain());
    }
}
