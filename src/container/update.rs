//! UpdateContainerResources.

use crate::error::Error;
use crate::proto::LinuxContainerResources;

use super::Containers;
use super::describe;
use super::resources;

impl Containers {
    /// Changes the resources of a container that has not exited; ContainerStatus reports the new ones.
    ///
    /// Docker cannot change `oom_score_adj` and hugepage limits of an existing container: they stay as they are. The kubelet
    /// sends them unchanged.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field; Docker's message if the kernel refuses a value.
    pub(crate) async fn update(&self, id: &str, change: &LinuxContainerResources) -> Result<(), Error> {
        let container = self.existing(id)?;
        let _guard = self.store.lock(&container.record.key).await;
        let container = self.existing(&container.record.id)?;
        let info = self.engine.info()?;
        resources::check(&describe(&container.record.config), change, &info)?;
        if container.process.exit().is_some() {
            return Err(Error::precondition(format!("container {}", container.record.id), "has exited"));
        }
        self.engine.update_container(&container.record.id, &resources::update(change)).await?;
        if container.process.is_running() {
            self.write_unified(&container.record, &change.unified).await?;
        }
        let mut record = container.record.clone();
        let linux = record.config.linux.get_or_insert_default();
        linux.resources = Some(resources::merge(&linux.resources.clone().unwrap_or_default(), change));
        self.store.containers.save(&record).await?;
        self.store.containers.update(&record.id, |container| container.record = record.clone());
        Ok(())
    }
}
