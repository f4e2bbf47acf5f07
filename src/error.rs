//! What a verb answers when it cannot do its work, and the gRPC code a client sees for it.
//!
//! The codes follow what a kubelet does with them: `NotFound` means gone, `Unavailable` means try again soon,
//! `InvalidArgument` and `FailedPrecondition` tell a person what to change.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tonic::Code;
use tonic::Status;

use crate::docker;
use crate::logs;
use crate::state;
use crate::state::LookupError;
use cni_runtime as cni;

/// The error of every verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is missing or wrong.
    #[error("{object}: {field}: {reason}")]
    Invalid { object: String, field: &'static str, reason: String },
    /// A field asks for something that this Docker or this host cannot do.
    #[error("{object}: {field}: {reason}")]
    Unsupported { object: String, field: &'static str, reason: String },
    /// A field asks for a feature that came with a later Docker, which clients know to do without.
    #[error("{object}: {field}: {reason}")]
    Unimplemented { object: String, field: &'static str, reason: String },
    /// The id is unknown, or the prefix of several.
    #[error(transparent)]
    Lookup(#[from] state::LookupError),
    #[error("{0}")]
    AlreadyExists(String),
    /// The object is not in a state that allows the call.
    #[error("{0}")]
    Precondition(String),
    #[error(transparent)]
    Docker(#[from] docker::Error),
    #[error(transparent)]
    Cni(#[from] cni::Error),
    #[error(transparent)]
    Logs(#[from] logs::Error),
    #[error(transparent)]
    State(#[from] state::Error),
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// The registry could not be asked; the kubelet knows this error by its first word.
    #[error("RegistryUnavailable: {0}")]
    RegistryUnavailable(String),
    /// The kubelet counts these by their first word.
    #[error("ImageVolumeMountFailed: {0}")]
    ImageVolume(String),
    #[error("{0}")]
    DeadlineExceeded(String),
    /// There is too much of something already.
    #[error("{0}")]
    Exhausted(String),
    /// Several independent steps failed; all are told.
    #[error("{}", join(.0))]
    Several(Vec<Error>),
}

fn join(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// `field` of `object` is wrong, for `reason`.
    pub fn invalid(object: impl fmt::Display, field: &'static str, reason: impl fmt::Display) -> Error {
        Error::Invalid { object: object.to_string(), field, reason: reason.to_string() }
    }

    /// `field` of `object` cannot be honoured here, for `reason`.
    pub fn unsupported(object: impl fmt::Display, field: &'static str, reason: impl fmt::Display) -> Error {
        Error::Unsupported { object: object.to_string(), field, reason: reason.to_string() }
    }

    /// Nothing when there was no error, the error itself when there was one, all of them otherwise.
    ///
    /// # Errors
    /// As described.
    pub fn all(mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// What a client sees besides the words.
    pub fn code(&self) -> Code {
        match self {
            Error::Invalid { .. } | Error::Lookup(LookupError::Ambiguous { .. }) => Code::InvalidArgument,
            Error::Unsupported { .. } | Error::Precondition(_) => Code::FailedPrecondition,
            Error::Unimplemented { .. } => Code::Unimplemented,
            Error::Lookup(LookupError::NotFound { .. }) | Error::ImageVolume(_) => Code::NotFound,
            Error::AlreadyExists(_) => Code::AlreadyExists,
            Error::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Error::Exhausted(_) => Code::ResourceExhausted,
            Error::Docker(error) => match error.cause {
                docker::Cause::Unavailable(_) => Code::Unavailable,
                docker::Cause::NotFound(_) => Code::NotFound,
                docker::Cause::Conflict(_) => Code::FailedPrecondition,
                docker::Cause::Invalid(_) => Code::InvalidArgument,
                docker::Cause::Timeout(_) => Code::DeadlineExceeded,
                docker::Cause::Failed(_) => Code::Unknown,
            },
            // The kubelet matches RegistryUnavailable by its text, and only when the code is Unknown.
            Error::RegistryUnavailable(_) | Error::Cni(_) => Code::Unknown,
            Error::State(state::Error::NotSynced) => Code::Unavailable,
            Error::State(_) | Error::Io { .. } | Error::Logs(_) => Code::Internal,
            Error::Several(errors) => errors.first().map_or(Code::Unknown, Error::code),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        Status::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_with_its_object() {
        let status = Status::from(Error::invalid("container a", "linux.resources", "too small"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "container a: linux.resources: too small");
    }

    #[test]
    fn an_unreachable_registry_is_told_as_the_kubelet_expects() {
        let status = Status::from(Error::RegistryUnavailable("connection refused".into()));
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().starts_with("RegistryUnavailable: "));
    }
}
