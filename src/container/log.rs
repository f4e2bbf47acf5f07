//! ReopenContainerLog, and the paths of a container's Docker log and CRI log.

use std::path::PathBuf;

use crate::error::Error;
use crate::logs;
use crate::logs::LogPaths;
use crate::logs::Logs;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::SandboxRecord;

use super::Containers;
use super::describe;

/// The limits of the Docker log of each container.
#[derive(Debug, Clone)]
pub(crate) struct DockerLog {
    /// The size of one file in Docker's notation, such as `32m`.
    pub max_size: String,
    /// The number of files, at least 2.
    pub max_files: u32,
}

impl Containers {
    /// The logs of all containers.
    pub(crate) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Continues in a new file at the log's path, after the client renamed the old one. A container without a log path has
    /// nothing to reopen.
    ///
    /// # Errors
    /// [`Error::Precondition`] if the container does not run. After any error there is no new file, so that the kubelet can
    /// undo its rename.
    pub(crate) async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        let container = self.existing(id)?;
        let id = &container.record.id;
        if !container.process.is_running() {
            return Err(Error::precondition(
                format!("container {id}"),
                "is not running, so its log cannot be reopened",
            ));
        }
        if self.log_path(&container.record).is_empty() {
            return Ok(());
        }
        match self.logs.reopen(id).await {
            Err(logs::Error::NotFollowed { .. }) => {
                Err(Error::precondition(format!("the log of container {id}"), "is complete and cannot be reopened"))
            }
            other => other.map_err(|error| log_error(&container.record, error)),
        }
    }

    /// Creates the CRI log and starts to follow the Docker log, which need not exist yet.
    pub(super) async fn begin_log(&self, container: &Container, sandbox: &SandboxRecord) -> Result<(), Error> {
        let record = &container.record;
        let Some(paths) = self.log_paths(record, sandbox)? else { return Ok(()) };
        self.logs.begin(&record.id, paths).await.map_err(|error| log_error(record, error))
    }

    /// Follows the log of a running container that Dockside did not start: a user did, or an earlier version.
    pub(crate) async fn follow_running_log(&self, id: &str) {
        let runs = || self.index.containers.get(id).is_some_and(|container| container.process.is_running());
        if runs() {
            self.adopt_log(id);
            // It may have exited since, and no event would finish its log.
            if !runs() {
                self.logs.finish(id).await;
            }
        }
    }

    /// Follows the log of a container that Dockside did not start. The caller refreshes the container afterwards, which
    /// finishes the log if it has exited.
    pub(crate) fn adopt_log(&self, id: &str) {
        let Some(container) = self.index.containers.get(id) else { return };
        let Some(sandbox) = self.index.sandboxes.get(&container.record.sandbox_id) else { return };
        if let Ok(Some(paths)) = self.log_paths(&container.record, &sandbox.record) {
            self.logs.adopt(id, &paths);
        }
    }

    /// Reads the log of a container that Docker has removed to its end, then forgets it.
    pub(super) async fn forget_log(&self, id: &str) {
        self.logs.finish(id).await;
        if let Err(error) = self.logs.forget(id).await {
            tracing::warn!(container = id, %error, "could not forget the log of a removed container");
        }
    }

    /// `None` for a container without a CRI log.
    fn log_paths(&self, record: &ContainerRecord, sandbox: &SandboxRecord) -> Result<Option<LogPaths>, Error> {
        if record.log_path(sandbox).is_empty() {
            return Ok(None);
        }
        let info = self.engine.last_info()?;
        Ok(Some(LogPaths {
            docker_file: logs::docker_file(&info.container_directory(&record.id), &record.id),
            log_directory: PathBuf::from(&sandbox.config.log_directory),
            log_path: PathBuf::from(&record.config.log_path),
        }))
    }
}

/// A log path that cannot be used is an error of the request; everything else is internal.
fn log_error(record: &ContainerRecord, error: logs::Error) -> Error {
    match error {
        logs::Error::InvalidPath { field, path, reason } => {
            Error::invalid(describe(&record.config), field, format!("{} {reason}", path.display()))
        }
        other => other.into(),
    }
}
