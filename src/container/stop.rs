//! StopContainer.

use std::time::Duration;

use crate::error::Error;

use super::Containers;

impl Containers {
    /// Sends the stop signal, and SIGKILL after `grace`; with no grace, SIGKILL at once. A container that does not
    /// exist, or has ended, counts as stopped.
    ///
    /// No lock is held: a second call with a shorter grace must be able to end the first one's wait.
    ///
    /// # Errors
    /// When Docker could not end it.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let Some(container) = self.find(id)? else { return Ok(()) };
        let id = container.record.id.as_str();
        if container.process.exit().is_some() {
            return Ok(());
        }
        self.engine.info()?;
        self.end(id, grace, container.unsettled).await
    }

    /// The same for what runs or may run, be it a sandbox. One that Docker was `starting` may be there only afterwards: it
    /// is ended once more then.
    ///
    /// # Errors
    /// When Docker could not end it.
    pub async fn end(&self, id: &str, grace: Duration, starting: bool) -> Result<(), Error> {
        let mut again = starting;
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
            // After this answer, ContainerStatus says EXITED.
            self.refresher.refresh(id).await?;
            let runs = self.store.container(id).is_some_and(|container| container.process.is_running());
            if !(again && runs) {
                return Ok(());
            }
            again = false;
        }
    }
}
