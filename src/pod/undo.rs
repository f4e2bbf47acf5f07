//! Undoing a RunPodSandbox that was not finished.

use crate::error::Error;
use crate::lifecycle::Handles;
use crate::lifecycle::Lifecycle;
use crate::state::Object;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Sandbox;
use crate::state::SandboxRecord;

use super::Pods;

impl Lifecycle for Pods {
    type Object = Sandbox;

    const IDENTITY: &'static str = "name, namespace, uid and attempt";

    async fn teardown(&self, record: &mut SandboxRecord) -> Result<(), Error> {
        for container in self.index.containers_of(&record.id) {
            self.containers.remove(&container.record.id).await?;
        }
        self.teardown_pod_network(record).await?;
        Ok(self.engine.remove_container(&record.id).await?)
    }

    /// A sandbox with an id is listed as NOTREADY, so that its client removes it.
    async fn keep(&self, mut record: SandboxRecord) {
        if record.id.is_empty() {
            self.unfinished.insert(record);
            return;
        }
        record.phase = Phase::Broken;
        if let Err(error) = self.store.sandboxes.save(&record).await {
            tracing::error!(sandbox = record.name, %error, "could not record a broken sandbox");
        }
        self.store.sandboxes.insert(Sandbox::new(record, Process::Created));
    }

    fn handles(&self) -> Handles<'_, SandboxRecord> {
        Handles { engine: &self.engine, store: &self.store, unfinished: &self.unfinished }
    }
}
