//! RemovePodSandbox.

use futures_util::future::join_all;

use crate::error::Error;

use super::Pods;

impl Pods {
    /// Removes a sandbox with its containers, stopping it first where needed. One that does not exist counts as
    /// removed.
    ///
    /// # Errors
    /// As [`Pods::stop`]; then the sandbox stays listed, and the call may be repeated.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(sandbox) = self.find(id)? else { return Ok(()) };
        self.engine_info()?;
        self.store.change_sandbox(&sandbox.record.id, |sandbox| sandbox.stopping = true);
        let _guard = self.store.lock(&sandbox.record.key).await;
        let Some(sandbox) = self.store.sandbox(&sandbox.record.id) else { return Ok(()) };
        let record = self.stop_locked(sandbox.record.clone()).await?;
        self.containers.undo_half_made_of(&record.id).await?;
        let containers = self.store.containers_of(&record.id);
        let removals = containers.iter().map(|container| self.containers.remove(&container.record.id));
        Error::all(join_all(removals).await.into_iter().filter_map(Result::err).collect())?;
        self.engine.remove_container(&record.id).await?;
        self.store.forget_sandbox(&record).await?;
        Ok(())
    }
}
