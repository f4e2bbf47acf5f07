//! StartContainer.

use crate::docker;
use crate::error::Error;
use crate::observe;
use crate::observe::now_ns;
use crate::state::Container;
use crate::state::Process;

use super::Containers;
use super::cgroup;

impl Containers {
    /// Starts a container that was created and never started.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it ran before; otherwise the OCI runtime's words, and the container has ended
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
        // Taken before the request: a process that ends at once must not seem to have ended before it began.
        let started_at = now_ns();
        match self.engine.start_container(id).await {
            Ok(()) => {
                self.store.change_process(id, |process| process.started(started_at));
                self.write_unified(&container).await
            }
            Err(error) => {
                self.learn_failure(&container, &error).await;
                Err(error.into())
            }
        }
    }

    /// A container that Docker could not start has ended; one whose start got no answer may run.
    async fn learn_failure(&self, container: &Container, error: &docker::Error) {
        let record = &container.record;
        if let Err(error) = observe::refresh(&self.engine, &self.store, &record.id).await {
            tracing::warn!(container = record.id, %error, "could not learn how the start failed");
        }
        let unanswered = matches!(error, docker::Error::Unavailable { .. } | docker::Error::Timeout { .. });
        if unanswered {
            return;
        }
        let exit = observe::cannot_run(now_ns(), 0, &error.message());
        self.store.change_process(&record.id, |process| match process {
            Process::Created => process.exited(exit.clone()),
            known => known.clone(),
        });
    }

    /// Settings of cgroup v2 that Docker's API has no field for go straight into the container's cgroup.
    async fn write_unified(&self, container: &Container) -> Result<(), Error> {
        let record = &container.record;
        let resources = record.config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
        let Some(unified) = resources.map(|resources| &resources.unified).filter(|unified| !unified.is_empty()) else {
            return Ok(());
        };
        let sandbox = self.store.sandbox(&record.sandbox_id);
        let parent = sandbox
            .as_ref()
            .and_then(|sandbox| sandbox.record.config.linux.as_ref())
            .map(|linux| linux.cgroup_parent.as_str())
            .unwrap_or_default();
        let facts = self.engine.facts()?;
        match cgroup::write_unified(&facts, parent, &record.id, unified).await {
            // A process that has ended already has no cgroup any more.
            Err(error) if self.store.container(&record.id).is_some_and(|c| c.process.is_running()) => Err(error),
            _ => Ok(()),
        }
    }
}
