//! StopContainer.

use std::time::Duration;

use crate::error::Error;

use super::Containers;

impl Containers {
    /// Sends the stop signal, and SIGKILL after the grace period; without one, SIGKILL at once. A container that does not
    /// exist, or has exited, counts as stopped.
    ///
    /// No lock is held: a second call with a shorter grace period must be able to cut the first one short.
    ///
    /// # Errors
    /// If Docker could not stop it.
    pub(crate) async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let Some(container) = self.index.containers.find(id)? else { return Ok(()) };
        let id = container.record.id.as_str();
        if container.process.exit().is_some() {
            return Ok(());
        }
        self.engine.info()?;
        self.stop_running(id, grace, container.unsettled).await
    }

    /// As [`Containers::stop`], for a workload or pause container that runs or may run. If Docker may still be starting it
    /// (`unsettled`), it may run only after the first stop, and is then stopped once more.
    ///
    /// # Errors
    /// If Docker could not stop it.
    pub(crate) async fn stop_running(&self, id: &str, grace: Duration, unsettled: bool) -> Result<(), Error> {
        let mut again = unsettled;
        loop {
            let stopped = if grace.is_zero() {
                self.engine.kill_container(id).await
            } else {
                self.engine.stop_container(id, grace).await
            };
            match stopped {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
            // From here on, ContainerStatus says EXITED.
            self.refresher.refresh(id).await?;
            let runs = self.index.containers.get(id).is_some_and(|container| container.process.is_running());
            if !(again && runs) {
                return Ok(());
            }
            again = false;
        }
    }
}
