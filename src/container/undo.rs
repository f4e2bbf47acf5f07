//! Undoing a CreateContainer that was not finished.

use crate::docker::Engine;
use crate::error::Error;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::Outcome;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Store;
use crate::state::Unfinished;

use super::Containers;

impl Lifecycle for Containers {
    type Object = Container;

    const IDENTITY: &'static str = "name and attempt";

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn unfinished(&self) -> &Unfinished<ContainerRecord> {
        &self.unfinished
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
    pub async fn undo_unfinished_of(&self, sandbox_id: &str) -> Result<(), Error> {
        for record in self.unfinished.filter(|record| record.sandbox_id == sandbox_id) {
            let _guard = self.store.lock(&record.key).await;
            self.undo(record, Outcome::Known).await?;
        }
        Ok(())
    }
}
