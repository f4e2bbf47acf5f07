//! ReopenContainerLog, and where a container's log comes from and goes to.

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

/// How much Docker keeps of each container's output.
#[derive(Debug, Clone)]
pub struct DockerLog {
    /// As Docker writes sizes: `32m`.
    pub max_size: String,
    /// At least 2.
    pub max_files: u32,
}

impl Containers {
    /// The logs of all containers.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Goes on in a new file at the log's path, after a client renamed the old one. A container without a log path has
    /// nothing to reopen.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the container does not run. After any error there is no new file: a kubelet takes
    /// its rename back then.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        let container = self.existing(id)?;
        let id = &container.record.id;
        if !container.process.is_running() {
            return Err(Error::Precondition(format!("container {id} does not run, so nothing more is logged")));
        }
        if self.log_path(&container.record).is_empty() {
            return Ok(());
        }
        match self.logs.reopen(id).await {
            Err(logs::Error::NotFollowed { .. }) => {
                Err(Error::Precondition(format!("the log of container {id} is not written any more")))
            }
            other => other.map_err(|error| refusal(&container.record, error)),
        }
    }

    /// Makes the log file and begins to follow Docker's, which need not exist yet.
    pub(super) async fn begin_log(&self, container: &Container, sandbox: &SandboxRecord) -> Result<(), Error> {
        let record = &container.record;
        let Some(place) = self.place(record, sandbox)? else { return Ok(()) };
        self.logs.begin(&record.id, place).await.map_err(|error| refusal(record, error))
    }

    /// Follows the log of a container that runs without our doing: started by hand, or before this Dockside knew how.
    pub async fn follow_running_log(&self, id: &str) {
        let runs = || self.store.container(id).is_some_and(|container| container.process.is_running());
        if runs() {
            self.adopt_log(id);
            // It may have ended meanwhile, and nobody would say so again.
            if !runs() {
                self.logs.finish(id).await;
            }
        }
    }

    /// Follows the log of a container that somebody started by hand. It may have ended by now: the caller looks, and
    /// with its end the log is read to its own.
    pub fn adopt_log(&self, id: &str) {
        let Some(container) = self.store.container(id) else { return };
        let Some(sandbox) = self.store.sandbox(&container.record.sandbox_id) else { return };
        if let Ok(Some(place)) = self.place(&container.record, &sandbox.record) {
            self.logs.adopt(id, &place);
        }
    }

    /// Takes leave of the log of a container that Docker has removed; what was written goes into the file first.
    pub(super) async fn forget_log(&self, id: &str) {
        self.logs.finish(id).await;
        if let Err(error) = self.logs.forget(id).await {
            tracing::warn!(container = id, %error, "could not forget the log of a removed container");
        }
    }

    /// `None` for a container that wants no log file.
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

/// A place that cannot be used is the request's fault, and all else is ours.
fn refusal(record: &ContainerRecord, error: logs::Error) -> Error {
    match error {
        logs::Error::Place { field, path, reason } => {
            Error::invalid(describe(&record.config), field, format!("{} {reason}", path.display()))
        }
        other => other.into(),
    }
}
