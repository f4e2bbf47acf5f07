//! Where a container's Docker log and CRI log are.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// Where a container's Docker log and CRI log are. Part of the checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPaths {
    /// The file that Docker writes: see [`docker_file`].
    pub docker_file: PathBuf,
    /// The sandbox's `log_directory`.
    #[serde(rename = "directory")]
    pub log_directory: PathBuf,
    /// The container's `log_path`, relative to `log_directory`.
    #[serde(rename = "path")]
    pub log_path: PathBuf,
}

impl LogPaths {
    pub(super) fn cri_file(&self) -> PathBuf {
        self.log_directory.join(&self.log_path)
    }
}

/// The file that Docker's `json-file` driver writes for container `id`, whose directory under Docker's root is
/// `container_directory`.
pub(crate) fn docker_file(container_directory: &Path, id: &str) -> PathBuf {
    container_directory.join(format!("{id}-json.log"))
}
