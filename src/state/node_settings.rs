//! What Dockside keeps of the node, apart from records: the pod CIDR.

use std::path::Path;

use super::disk::Directory;
use super::disk::Error;

/// The file with the node's pod CIDR.
const POD_CIDR: &str = "pod-cidr";

/// The settings of the node in the state directory. A cheap clone, which cannot change records.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    directory: Directory,
}

impl NodeSettings {
    /// Opens the settings in the state directory.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub(super) fn open(state_dir: &Path) -> Result<NodeSettings, Error> {
        Ok(NodeSettings { directory: Directory::open(state_dir.to_owned())? })
    }

    /// The pod CIDR that was kept: a kubelet sends it once, and not again after a restart of Dockside.
    pub(crate) fn pod_cidr(&self) -> Option<String> {
        self.directory.read(POD_CIDR)
    }

    /// Keeps the node's pod CIDR.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) async fn set_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        self.directory.write(POD_CIDR, &cidr).await
    }
}
