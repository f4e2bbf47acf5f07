//! ReopenContainerLog, and the paths of a container's Docker log and CRI log.

use std::path::PathBuf;

use crate::error::Error;
use crate::logs;
use crate::logs::Logs;
use crate::logs::Place;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::SandboxRecord;

use super::Containers;
use super::describe;

/// The limits of the Docker log of each container.
#[derive(Debug, Clone)]
pub struct DockerLog {
    /// The size of one file in Docker's notation, such as `32m`.
    pub max_size: String,
    /// The number of files, at least 2.
    pub max_files: u32,
}

impl Containers {
    /// The logs of all containers.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Continues in a new file at the log's path, after the client renamed the old one. A container without a log path has
    /// nothing to reopen.
    ///
    /// # Errors
    /// [`Error::Precondition`] if the container does not run. After any error there is no new file, so that the kubelet can
    /// undo its rename.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        let container = self.existing(id)?;
        let id = &container.record.id;
        if !container.process.is_running() {
            return Err(Error::precondition(format!("container {id}"), "does not run, so nothing more is logged"));
        }
        if self.log_path(&container.record).is_empty() {
            return Ok(());
        }
        match self.logs.reopen(id).await {
            Err(logs::Error::NotFollowed { .. }) => {
                Err(Error::precondition(format!("the log of container {id}"), "is not written any more"))
            }
            other => other.map_err(|error| refusal(&container.record, error)),
        }
    }

    /// Makes the CRI log and starts to follow the Docker log, which need not exist yet.
    pub(super) async fn begin_log(&self, container: &Container, sandbox: &SandboxRecord) -> Result<(), Error> {
        let record = &container.record;
        let Some(place) = self.place(record, sandbox)? else { return Ok(()) };
        self.logs.begin(&record.id, place).await.map_err(|error| refusal(record, error))
    }

    /// Follows the log of a running container that Dockside did not start: a user did, or an earlier version.
    pub async fn follow_running_log(&self, id: &str) {
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
    pub fn adopt_log(&self, id: &str) {
        let Some(container) = self.index.containers.get(id) else { return };
        let Some(sandbox) = self.index.sandboxes.get(&container.record.sandbox_id) else { return };
        if let Ok(Some(place)) = self.place(&container.record, &sandbox.record) {
            self.logs.adopt(id, &place);
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
    fn place(&self, record: &ContainerRecord, sandbox: &SandboxRecord) -> Result<Option<Place>, Error> {
        if record.log_path(sandbox).is_empty() {
            return Ok(None);
        }
        let info = self.engine.last_info()?;
        Ok(Some(Place {
            docker_file: logs::docker_file(&info.container_directory(&record.id), &record.id),
            directory: PathBuf::from(&sandbox.config.log_directory),
            path: PathBuf::from(&record.config.log_path),
        }))
    }
}

/// A log path that cannot be used is an error of the request; everything else is internal.
fn refusal(record: &ContainerRecord, error: logs::Error) -> Error {
    match error {
        logs::Error::Place { field, path, reason } => {
            Error::invalid(describe(&record.config), field, format!("{} {reason}", path.display()))
        }
        other => other.into(),
    }
}
