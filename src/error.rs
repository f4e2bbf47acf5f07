//! The error of every verb, and its gRPC code.
//!
//! The codes follow what a kubelet does with them: `NotFound` means that the object is gone, `Unavailable` that a retry
//! may succeed. `InvalidArgument` and `FailedPrecondition` are for the user to act on.

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
    Invalid {
        /// Such as `container nginx`.
        object: String,
        /// Its path in the CRI's message.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A field asks for something that this Docker or this host cannot do.
    #[error("{object}: {field}: {reason}")]
    Unsupported {
        /// Such as `container nginx`.
        object: String,
        /// Its path in the CRI's message.
        field: &'static str,
        /// What is missing for it.
        reason: String,
    },
    /// A field needs a later Docker. Clients handle this code by doing without the feature.
    #[error("{object}: {field}: {reason}")]
    Unimplemented {
        /// Such as `container nginx`.
        object: String,
        /// Its path in the CRI's message.
        field: &'static str,
        /// What is missing for it.
        reason: String,
    },
    /// The id is unknown, or the prefix of several.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The object exists, and is not what the request would make.
    #[error("{object} {reason}")]
    AlreadyExists {
        /// Such as `container nginx`.
        object: String,
        /// How it is in the way, beginning with a verb.
        reason: String,
    },
    /// The object is not in a state that allows the call.
    #[error("{object} {reason}")]
    Precondition {
        /// Such as `container` with its id.
        object: String,
        /// Its state, beginning with a verb.
        reason: String,
    },
    /// Docker failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// A CNI plugin failed.
    #[error(transparent)]
    Cni(#[from] cni::Error),
    /// A log could not be written or read.
    #[error(transparent)]
    Logs(#[from] logs::Error),
    /// A record could not be written or read.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Another file of the host could not be used.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// A verb, with an object if that is not the path itself.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The registry did not answer. The kubelet recognises this error by its first word.
    #[error("RegistryUnavailable: {0}")]
    RegistryUnavailable(String),
    /// An image volume could not be mounted. The kubelet counts these by their first word.
    #[error("ImageVolumeMountFailed: {0}")]
    ImageVolume(String),
    /// The deadline passed.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// A limit of Dockside is reached.
    #[error("{0}")]
    Exhausted(String),
    /// Several independent steps failed. The code is that of the first.
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

    /// This Docker or host cannot do what `field` of `object` asks for, for `reason`.
    pub fn unsupported(object: impl fmt::Display, field: &'static str, reason: impl fmt::Display) -> Error {
        Error::Unsupported { object: object.to_string(), field, reason: reason.to_string() }
    }

    /// `object` is not in a state that allows the call; `reason` begins with a verb.
    pub fn precondition(object: impl fmt::Display, reason: impl fmt::Display) -> Error {
        Error::Precondition { object: object.to_string(), reason: reason.to_string() }
    }

    /// The result of several independent steps.
    ///
    /// # Errors
    /// The only error, or [`Error::Several`] if there are more.
    pub fn all(mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Error::Invalid { .. } | Error::Lookup(LookupError::Ambiguous { .. }) => Code::InvalidArgument,
            Error::Unsupported { .. } | Error::Precondition { .. } => Code::FailedPrecondition,
            Error::Unimplemented { .. } => Code::Unimplemented,
            Error::Lookup(LookupError::NotFound { .. }) | Error::ImageVolume(_) => Code::NotFound,
            Error::AlreadyExists { .. } => Code::AlreadyExists,
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
            // The kubelet recognises RegistryUnavailable only with the code Unknown.
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
    fn an_unreachable_registry_has_the_code_and_text_the_kubelet_expects() {
        let status = Status::from(Error::RegistryUnavailable("connection refused".into()));
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().starts_with("RegistryUnavailable: "));
    }
}
