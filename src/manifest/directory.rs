//! Directories of a Pod on this machine, and why its files could not be used.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::path::PathBuf;

/// The directory of emptyDir volumes below the Pod's directory, named as the kubelet names it.
pub(super) const EMPTY_DIR: &str = "volumes/kubernetes.io~empty-dir";

/// Why the files of a Pod could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A system call failed.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// The operation, as in `could not <operation> <path>`.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The path is not what the manifest says, or not safe to use.
    #[error("could not use {}: {reason}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
}

/// For `map_err`: the failed operation and its path.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

pub(super) fn refused<T>(path: &Path, reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused { path: path.to_owned(), reason: reason.into() })
}

/// Creates a directory and its missing parents.
pub(super) fn create_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed("create the directory", path))
}
