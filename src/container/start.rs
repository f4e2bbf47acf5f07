//! StartContainer.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::Instant;

use crate::cgroup::Cgroup;
use crate::clock::now_ns;
use crate::docker;
use crate::error::Error;
use crate::refresh::cannot_run;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Process;

use super::Containers;

/// For one inspect of a container whose start failed.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after the kernel Docker may notice an exit.
const EXIT_LAG: Duration = Duration::from_secs(1);
/// Between two inspects meanwhile.
const EXIT_POLL: Duration = Duration::from_millis(50);

impl Containers {
    /// Starts a container that was created and never started; one that runs counts as started.
    ///
    /// # Errors
    /// [`Error::Precondition`] if it has exited; [`Error::Invalid`] if its log path cannot be used; otherwise the OCI
    /// runtime's message, and the container has exited with the reason `ContainerCannotRun`.
    pub(crate) async fn start(&self, id: &str) -> Result<(), Error> {
        let container = self.existing(id)?;
        // Held so that StopPodSandbox finds the container either created or running.
        let sandbox = self.ready_sandbox(&container.record.sandbox_id)?;
        let _sandbox_guard = self.store.lock(&sandbox.record.key).await;
        self.ready_sandbox(&sandbox.record.id)?;
        let _guard = self.store.lock(&container.record.key).await;
        let container = self.existing(&container.record.id)?;
        let id = container.record.id.as_str();
        match container.process {
            Process::Created => {}
            Process::Running { .. } => return Ok(()),
            Process::Exited { .. } => return Err(Error::precondition(format!("container {id}"), "has exited")),
        }
        // The kubelet makes a symbolic link to the file once this call has returned, and Docker's log must be followed
        // from its first line.
        self.begin_log(&container, &sandbox.record).await?;
        // Taken before the request: a process that exits at once must not have an exit before its start.
        let started_at = now_ns();
        match self.engine.start_container(id).await {
            Ok(()) => {
                self.store.update_process(id, |process| process.started(started_at));
                let resources = container.record.config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
                let unified = resources.map(|resources| resources.unified.clone()).unwrap_or_default();
                match self.write_unified(&container.record, &unified).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.kill_unlimited(id).await;
                        Err(error)
                    }
                }
            }
            Err(error) => {
                self.apply_failure(&container, &error).await;
                Err(error.into())
            }
        }
    }

    /// Records a failed start: the container has exited, or is unsettled if Docker did not answer, as it may start it later.
    /// An inspect blocks while Docker starts the container, so an answer is final, and without one `watch` asks again.
    async fn apply_failure(&self, container: &Container, error: &docker::Error) {
        let record = &container.record;
        self.store.set_unsettled(&record.id, error.is_unanswered());
        if let Err(error) = self.refresher.with_timeout(INSPECT_TIMEOUT).refresh(&record.id).await {
            tracing::warn!(container = record.id, %error, "could not inspect a container whose start failed");
        }
        if error.is_unanswered() {
            return;
        }
        self.logs.finish(&record.id).await;
        let exit = cannot_run(now_ns(), 0, &error.message());
        self.store.update_process(&record.id, |process| match process {
            Process::Created => process.exited(exit.clone()),
            known => known.clone(),
        });
    }

    /// Writes cgroup v2 settings that Docker's API has no field for into the container's cgroup.
    pub(super) async fn write_unified(
        &self,
        record: &ContainerRecord,
        unified: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        if unified.is_empty() {
            return Ok(());
        }
        let sandbox = self.index.sandboxes.get(&record.sandbox_id);
        let parent = sandbox.as_ref().map(|sandbox| sandbox.record.cgroup_parent()).unwrap_or_default();
        // The last known info: the container runs, and must not fail because Docker is slow just now.
        let info = self.engine.last_info()?;
        match Cgroup::of_container(&info, parent, &record.id).write_unified(unified).await {
            // The cgroup goes with the last process.
            Err(error) if self.has_exited(&record.id) || is_absent(&error) && self.exits_soon(&record.id).await => {
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn has_exited(&self, id: &str) -> bool {
        self.index.containers.get(id).is_none_or(|container| container.process.exit().is_some())
    }

    /// Whether a container without a cgroup has exited: Docker notices an exit later than the kernel.
    async fn exits_soon(&self, id: &str) -> bool {
        let refresher = self.refresher.with_timeout(EXIT_LAG);
        let until = Instant::now() + EXIT_LAG;
        loop {
            if let Err(error) = refresher.refresh(id).await {
                tracing::warn!(container = id, %error, "could not inspect a container without a cgroup");
            }
            if self.has_exited(id) {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
    }

    /// Kills a container whose limits could not be set.
    async fn kill_unlimited(&self, id: &str) {
        let killed = self.engine.kill_container(id).await;
        let refreshed = self.refresher.refresh(id).await;
        for error in [killed.err(), refreshed.err()].into_iter().flatten() {
            tracing::error!(container = id, %error, "could not kill a container whose limits could not be set");
        }
    }
}

/// Whether the cgroup does not exist: ENOENT from the open, ENODEV from the write.
fn is_absent(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    source.raw_os_error().map(Errno::from_raw).is_some_and(|errno| matches!(errno, Errno::ENOENT | Errno::ENODEV))
}

#[cfg(test)]
mod tests;
