//! RemoveContainer.

use crate::error::Error;

use super::Containers;

impl Containers {
    /// Removes a container, and kills it first if it runs. One that does not exist counts as removed. The client removes
    /// the CRI log.
    ///
    /// # Errors
    /// If Docker could not remove it; then it stays listed.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(container) = self.index.containers.find(id)? else { return Ok(()) };
        self.engine.info()?;
        let _guard = self.store.lock(&container.record.key).await;
        let Some(container) = self.index.containers.get(&container.record.id) else { return Ok(()) };
        self.engine.remove_container(&container.record.id).await?;
        self.forget_log(&container.record.id).await;
        Ok(self.store.containers.remove(&container.record).await?)
    }
}
