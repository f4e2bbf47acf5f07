//! RemovePodSandbox.

use futures_util::future::join_all;

use crate::error::Error;

use super::Pods;

impl Pods {
    /// Removes a sandbox with its containers, and stops it first if needed. One that does not exist counts as removed.
    ///
    /// # Errors
    /// As [`Pods::stop`]; then the sandbox stays listed, and the call can be repeated.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(sandbox) = self.index.sandboxes.find(id)? else { return Ok(()) };
        self.engine.info()?;
        self.store.sandboxes.update(&sandbox.record.id, |sandbox| sandbox.stopping = true);
        let _guard = self.store.lock(&sandbox.record.key).await;
        let Some(sandbox) = self.index.sandboxes.get(&sandbox.record.id) else { return Ok(()) };
        let record = self.stop_locked(sandbox.record.clone()).await?;
        self.containers.undo_unfinished_of(&record.id).await?;
        let containers = self.index.containers_of(&record.id);
        let removals = containers.iter().map(|container| self.containers.remove(&container.record.id));
        Error::all(join_all(removals).await.into_iter().filter_map(Result::err).collect())?;
        self.engine.remove_container(&record.id).await?;
        self.store.sandboxes.remove(&record).await?;
        Ok(())
    }
}
