//! StartContainer.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::Instant;

use crate::clock::now_ns;
use crate::docker;
use crate::error::Error;
use crate::refresh::cannot_run;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Process;

use super::Containers;
use super::cgroup;

/// For one look at a container whose start failed.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How much later than the kernel Docker may know of an end, and the pause between two looks.
const END_LAG: Duration = Duration::from_secs(1);
const END_POLL: Duration = Duration::from_millis(50);

impl Containers {
    /// Starts a container that was created and never started.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it ran before; [`Error::Invalid`] when its log file cannot be one; otherwise the OCI runtime's words, and the container has ended
    /// with the reason `ContainerCannotRun` then.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        let container = self.existing(id)?;
        // Held so that StopPodSandbox finds the container either not started or running.
        let sandbox = self.ready_sandbox(&container.record.sandbox_id)?;
        let _sandbox_guard = self.store.lock(&sandbox.record.key).await;
        self.ready_sandbox(&sandbox.record.id)?;
        let _guard = self.store.lock(&container.record.key).await;
        let container = self.existing(&container.record.id)?;
        let id = container.record.id.as_str();
        match container.process {
            Process::Created => {}
            Process::Running { .. } => return Ok(()),
            Process::Exited { .. } => return Err(Error::Precondition(format!("container {id} has exited"))),
        }
        // The kubelet links to the file once this call has returned, and Docker's must not be missed.
        self.begin_log(&container, &sandbox.record).await?;
        // Taken before the request: a process that ends at once must not seem to have ended before it began.
        let started_at = now_ns();
        match self.engine.start_container(id).await {
            Ok(()) => {
                self.store.change_process(id, |process| process.started(started_at));
                let resources = container.record.config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
                let unified = resources.map(|resources| resources.unified.clone()).unwrap_or_default();
                match self.write_unified(&container.record, &unified).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.end_unlimited(id).await;
                        Err(error)
                    }
                }
            }
            Err(error) => {
                self.learn_failure(&container, &error).await;
                Err(error.into())
            }
        }
    }

    /// A container that Docker could not start has ended; one whose start got no answer may run, now or later. While Docker
    /// starts a container it tells nobody of it: so what it tells is true, and when it tells nothing it is asked again.
    async fn learn_failure(&self, container: &Container, error: &docker::Error) {
        let record = &container.record;
        self.store.set_unsettled(&record.id, error.is_unanswered());
        if let Err(error) = self.refresher.with_timeout(LOOK_LIMIT).refresh(&record.id).await {
            tracing::warn!(container = record.id, %error, "could not learn how the start failed");
        }
        if error.is_unanswered() {
            return;
        }
        self.logs.finish(&record.id).await;
        let exit = cannot_run(now_ns(), 0, &error.message());
        self.store.change_process(&record.id, |process| match process {
            Process::Created => process.exited(exit.clone()),
            known => known.clone(),
        });
    }

    /// Settings of cgroup v2 that Docker's API has no field for go straight into the container's cgroup.
    pub(super) async fn write_unified(
        &self,
        record: &ContainerRecord,
        unified: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        if unified.is_empty() {
            return Ok(());
        }
        let sandbox = self.store.sandbox(&record.sandbox_id);
        let parent = sandbox.as_ref().map(|sandbox| sandbox.record.cgroup_parent()).unwrap_or_default();
        // The container runs, or is about to be told that it does: that Docker is slow just now is no reason to end it.
        let info = self.engine.last_info()?;
        match cgroup::write_unified(&info, parent, &record.id, unified).await {
            // A process that has ended already has no cgroup any more.
            Err(error) if self.has_ended(&record.id) || is_absent(&error) && self.ends_soon(&record.id).await => Ok(()),
            outcome => outcome,
        }
    }

    fn has_ended(&self, id: &str) -> bool {
        self.store.container(id).is_none_or(|container| container.process.exit().is_some())
    }

    /// Whether a container has ended whose cgroup is gone: Docker hears of an end later than the kernel.
    async fn ends_soon(&self, id: &str) -> bool {
        let refresher = self.refresher.with_timeout(END_LAG);
        let until = Instant::now() + END_LAG;
        loop {
            if let Err(error) = refresher.refresh(id).await {
                tracing::warn!(container = id, %error, "could not learn whether a container without a cgroup has ended");
            }
            if self.has_ended(id) {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// A container that does not have the limits it was asked for must not go on.
    async fn end_unlimited(&self, id: &str) {
        let killed = self.engine.kill_container(id).await;
        let seen = self.refresher.refresh(id).await;
        for error in [killed.err(), seen.err()].into_iter().flatten() {
            tracing::error!(container = id, %error, "could not end a container that lacks its limits");
        }
    }
}

/// Whether there is no cgroup: the first when its file is opened, the second when it is written.
fn is_absent(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    source.raw_os_error().map(Errno::from_raw).is_some_and(|errno| matches!(errno, Errno::ENOENT | Errno::ENODEV))
}

#[cfg(test)]
mod tests;
