//! StopPodSandbox: stops the containers, tears down the network, then stops the pause container.

use std::time::Duration;

use futures_util::future::join_all;

use crate::error::Error;
use crate::state::SandboxRecord;

use super::Pods;

impl Pods {
    /// Kills everything in a sandbox without a grace period and tears down its network. A sandbox that does not exist, or
    /// is stopped, counts as stopped.
    ///
    /// # Errors
    /// If a process could not be killed or a plugin failed. The other steps are done all the same, and the call can be
    /// repeated.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), Error> {
        let Some(sandbox) = self.index.sandboxes.find(id)? else { return Ok(()) };
        self.engine.info()?;
        // Refuses creates and starts that wait for the lock; the stop would otherwise wait for each of them.
        self.store.sandboxes.update(&sandbox.record.id, |sandbox| sandbox.stopping = true);
        let _guard = self.store.lock(&sandbox.record.key).await;
        // It may have been removed while this waited for the lock.
        let Some(sandbox) = self.index.sandboxes.get(&sandbox.record.id) else { return Ok(()) };
        self.stop_locked(sandbox.record.clone()).await.map(|_| ())
    }

    /// As [`Pods::stop`], for a caller that holds the lock. Returns the record as it is now.
    pub(super) async fn stop_locked(&self, mut record: SandboxRecord) -> Result<SandboxRecord, Error> {
        let mut errors = Vec::new();
        let running = self.index.containers_of(&record.id).into_iter().filter(|c| c.process.exit().is_none());
        for outcome in join_all(running.map(|c| self.kill(c.record.id.clone()))).await {
            errors.extend(outcome.err());
        }
        let released = record.network.as_ref().is_none_or(|network| network.released);
        match self.teardown_pod_network(&mut record).await {
            Ok(()) if !released => errors.extend(self.store.sandboxes.save(&record).await.err().map(Error::from)),
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
        self.store.sandboxes.update(&record.id, |sandbox| sandbox.record = record.clone());
        if self.index.sandboxes.get(&record.id).is_some_and(|sandbox| sandbox.process.exit().is_none()) {
            errors.extend(self.kill(record.id.clone()).await.err());
        }
        Error::all(errors).map(|()| record)
    }

    /// Kills one container and records its exit status; one that is missing in Docker has exited.
    async fn kill(&self, id: String) -> Result<(), Error> {
        self.containers.stop_running(&id, Duration::ZERO, true).await
    }
}
