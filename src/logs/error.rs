//! Why a log could not be opened, read or written.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// A log that could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request names a path that cannot be a log file.
    #[error("{field}: {} {reason}", path.display())]
    InvalidPath {
        /// The CRI's field: `log_directory` or `log_path`.
        field: &'static str,
        /// The path that was tried.
        path: PathBuf,
        /// What is wrong with it, as the rest of a sentence that begins with the path.
        reason: String,
    },
    /// A system call failed.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// The verb, and a noun where the path alone does not say what it is.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The container has exited and its log is complete, or its log was never followed.
    #[error("the log of container {id} is not being followed")]
    NotFollowed {
        /// The container.
        id: String,
    },
    /// The blocking task panicked or was cancelled.
    #[error("could not finish an operation on the log of container {id}: {source}")]
    Task {
        /// The container.
        id: String,
        /// How the task ended.
        source: tokio::task::JoinError,
    },
}

impl Error {
    pub(super) fn invalid_path(field: &'static str, path: &Path, reason: impl ToString) -> Error {
        Error::InvalidPath { field, path: path.to_owned(), reason: reason.to_string() }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    }
}
