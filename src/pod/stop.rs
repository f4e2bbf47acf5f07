//! StopPodSandbox: the containers first, then the network, then the pause process.

use std::time::Duration;

use futures_util::future::join_all;

use crate::error::Error;
use crate::state::SandboxRecord;

use super::Pods;

impl Pods {
    /// Ends everything in a sandbox at once and gives back its network. A sandbox that does not exist counts as
    /// stopped, and stopping twice is fine.
    ///
    /// # Errors
    /// When a process could not be ended or a plugin failed; everything else was done all the same, and the call
    /// may be repeated.
    pub async fn stop(&self, id: &str) -> Result<(), Error> {
        let Some(sandbox) = self.find(id)? else { return Ok(()) };
        self.engine_info()?;
        // Creates and starts that wait for the lock are refused from now on, or the stop would wait for each of them.
        self.store.change_sandbox(&sandbox.record.id, |sandbox| sandbox.stopping = true);
        let _guard = self.store.lock(&sandbox.record.key).await;
        // It may have been removed while we waited.
        let Some(sandbox) = self.store.sandbox(&sandbox.record.id) else { return Ok(()) };
        self.stop_locked(sandbox.record.clone()).await.map(|_| ())
    }

    /// As [`Pods::stop`], by somebody who holds the lock. Returns the record as it is now.
    pub(super) async fn stop_locked(&self, mut record: SandboxRecord) -> Result<SandboxRecord, Error> {
        let mut errors = Vec::new();
        let running = self.store.containers_of(&record.id).into_iter().filter(|c| c.process.exit().is_none());
        for outcome in join_all(running.map(|c| self.end(c.record.id.clone()))).await {
            errors.extend(outcome.err());
        }
        let released = record.network.as_ref().is_none_or(|network| network.released);
        match self.detach(&mut record).await {
            Ok(()) if !released => errors.extend(self.store.write_sandbox(&record).await.err().map(Error::from)),
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
        self.store.change_sandbox(&record.id, |sandbox| sandbox.record = record.clone());
        if self.store.sandbox(&record.id).is_some_and(|sandbox| sandbox.process.exit().is_none()) {
            errors.extend(self.end(record.id.clone()).await.err());
        }
        Error::all(errors).map(|()| record)
    }

    /// Kills one process and learns how it ended; one whose container is gone has ended.
    async fn end(&self, id: String) -> Result<(), Error> {
        self.containers.end(&id, Duration::ZERO, true).await
    }
}
