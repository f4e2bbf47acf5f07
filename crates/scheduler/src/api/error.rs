//! Errors of requests to the API server.

use std::error::Error as _;
use std::path::PathBuf;

use bytes::Bytes;

use super::Encoding;

/// Why a request failed. Only where the server answered is it known whether the request had an effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Flags, kubeconfig or credentials cannot be used.
    #[error("{0}")]
    Config(String),
    /// A configuration or credential file cannot be read.
    #[error("could not read {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    /// A credential plugin failed.
    #[error("could not run {command} for a token: {reason}")]
    Plugin { command: String, reason: String },
    /// The request could not be built.
    #[error("could not request {path}: {source}")]
    Request { path: String, source: http::Error },
    /// The connection failed.
    #[error("could not reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    /// The response ended early.
    #[error("{path}: the response ended early: {reason}")]
    Broken { path: String, reason: String },
    /// No response before the deadline.
    #[error("{path}: no response in time")]
    Timeout { path: String },
    /// The server answered with an error status.
    #[error("{path}: {message} ({code})")]
    Refused { path: String, code: u16, message: String },
    /// The response is not the expected JSON.
    #[error("{path}: could not decode the response: {source}")]
    Decode { path: String, source: serde_path_to_error::Error<serde_json::Error> },
    /// The response is not the expected Protobuf.
    #[error("{path}: could not decode the response: {reason}")]
    DecodeProtobuf { path: String, reason: String },
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

    /// The error of a response with this HTTP status.
    pub(super) fn refused(code: u16, path: &str, encoding: Encoding, body: &Bytes) -> Error {
        let status = encoding.status(body).unwrap_or_default();
        let message = if status.message.is_empty() {
            String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned()
        } else {
            status.message
        };
        Error::Refused { path: path.to_owned(), code, message }
    }

    /// The error of a watch that ended with an `ERROR` event.
    pub(crate) fn from_watch(path: &str, encoding: Encoding, status: &Bytes) -> Error {
        let code = encoding.status(status).and_then(|status| u16::try_from(status.code).ok());
        Error::refused(code.unwrap_or(500), path, encoding, status)
    }

    /// The HTTP status, if the server answered.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request may have had an effect although it failed.
    pub(crate) fn is_uncertain(&self) -> bool {
        match self {
            Error::Refused { code, .. } => *code >= 500,
            Error::Unreachable { .. }
            | Error::Broken { .. }
            | Error::Timeout { .. }
            | Error::Decode { .. }
            | Error::DecodeProtobuf { .. } => true,
            Error::Config(_) | Error::File { .. } | Error::Plugin { .. } | Error::Request { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_message_of_the_server() {
        let body = r#"{"kind":"Status","message":"pods \"a\" not found","reason":"NotFound","code":404}"#;
        let error = Error::refused(404, "/api/v1/pods/a", Encoding::Json, &body.into());
        assert_eq!(error.to_string(), "/api/v1/pods/a: pods \"a\" not found (404)");
        assert_eq!((error.code(), error.is_uncertain()), (Some(404), false));
        let expired = r#"{"message":"too old","code":410}"#.into();
        assert_eq!(Error::from_watch("/x", Encoding::Json, &expired).code(), Some(410));
    }

    #[test]
    fn after_a_server_error_the_effect_is_uncertain() {
        assert!(Error::refused(504, "/x", Encoding::Json, &"gateway".into()).is_uncertain());
        assert!(Error::Timeout { path: "/x".into() }.is_uncertain());
        assert!(!Error::refused(409, "/x", Encoding::Json, &"{}".into()).is_uncertain());
    }
}
