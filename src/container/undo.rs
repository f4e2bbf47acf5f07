//! Undoing a CreateContainer that was not finished.

use crate::error::Error;
use crate::lifecycle::Handles;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::Outcome;
use crate::state::Container;
use crate::state::ContainerRecord;

use super::Containers;

impl Lifecycle for Containers {
    type Object = Container;

    const IDENTITY: &'static str = "name and attempt";

    fn handles(&self) -> Handles<'_, ContainerRecord> {
        Handles { engine: &self.engine, store: &self.store, unfinished: &self.unfinished }
    }

    async fn teardown(&self, record: &mut ContainerRecord) -> Result<(), Error> {
        Ok(self.engine.remove_container(&record.id).await?)
    }
}

impl Containers {
    /// Undoes the unfinished containers of one sandbox that is being removed.
    ///
    /// # Errors
    /// If Docker could not remove one.
    pub(crate) async fn undo_unfinished_of(&self, sandbox_id: &str) -> Result<(), Error> {
        for record in self.unfinished.filter(|record| record.sandbox_id == sandbox_id) {
            let _guard = self.store.lock(&record.key).await;
            self.undo(record, Outcome::Known).await?;
        }
        Ok(())
    }
}
