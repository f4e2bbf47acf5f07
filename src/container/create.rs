//! CreateContainer, and undoing one that did not get to its end.

use crate::docker;
use crate::error::Error;
use crate::error::Kind;
use crate::naming;
use crate::observe;
use crate::observe::now_ns;
use crate::proto::ContainerConfig;
use crate::proto::NamespaceMode;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Resolved;
use crate::state::Sandbox;
use crate::state::VERSION;
use crate::state::key_of;

use super::Containers;
use super::describe;
use super::spec;
use super::spec::Surroundings;

impl Containers {
    /// Makes a container in a sandbox and returns its id. The same request repeated returns the same id while the
    /// container was not started yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Unsupported`] name the field; [`Error::NotFound`] the sandbox.
    pub async fn create(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String, Error> {
        let meta = spec::check(&config)?;
        let sandbox = self.ready_sandbox(sandbox_id)?;
        // Held so that the sandbox cannot be stopped or removed around a container it does not know of yet.
        let _sandbox_guard = self.store.lock(&sandbox.record.key).await;
        let sandbox = self.ready_sandbox(&sandbox.record.id)?;
        let facts = self.engine.facts()?;
        let pod = sandbox.record.config.metadata.clone().unwrap_or_default();
        let name = naming::container(meta, &pod);
        let key = key_of(&name);
        let _guard = self.store.lock(&key).await;
        if let Some(id) = self.already(&key, &sandbox.record.id, &config).await? {
            return Ok(id);
        }
        let image = config.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        let image_id = self.images.id_of(image).await?;
        let mut record = ContainerRecord {
            version: VERSION,
            key,
            name,
            id: String::new(),
            sandbox_id: sandbox.record.id.clone(),
            phase: Phase::Creating,
            created_at: now_ns(),
            image_id,
            config,
        };
        let around = Surroundings {
            sandbox: &sandbox.record,
            facts: &facts,
            log_path: &record.log_path(&sandbox.record),
            pid_target: self.pid_target(&record.config, &sandbox)?,
        };
        let body = spec::container(&record.config, &around)?;
        self.store.write_container(&record).await?;
        match self.make(&mut record, body).await {
            Ok(()) => {
                let id = record.id.clone();
                self.store.put_container(Container { record, process: Process::Created });
                Ok(id)
            }
            Err(error) => {
                self.undo_or_keep(record).await;
                Err(error)
            }
        }
    }

    /// Undoes what an earlier process, or a broken connection, left half-made. Containers that a verb is working
    /// on are left alone.
    pub async fn undo_half_made(&self) {
        let keys: Vec<String> = self.half_made.lock().keys().cloned().collect();
        for key in keys {
            let Some(_guard) = self.store.try_lock(&key) else { continue };
            let Some(record) = self.half_made.lock().get(&key).cloned() else { continue };
            let name = record.name.clone();
            match self.undo(record).await {
                Ok(()) => tracing::info!(container = name, "undid a half-made container"),
                Err(error) => tracing::warn!(container = name, %error, "could not undo a half-made container yet"),
            }
        }
    }

    pub(super) fn ready_sandbox(&self, id: &str) -> Result<std::sync::Arc<Sandbox>, Error> {
        let sandbox = match self.store.resolve_sandbox(id) {
            Resolved::One(sandbox) => sandbox,
            Resolved::None => return Err(Error::NotFound { kind: Kind::Sandbox, id: id.to_owned() }),
            Resolved::Ambiguous => return Err(Error::Ambiguous { kind: Kind::Sandbox, id: id.to_owned() }),
        };
        if sandbox.is_ready() {
            Ok(sandbox)
        } else {
            Err(Error::Precondition(format!("pod sandbox {} is not ready", sandbox.record.id)))
        }
    }

    /// The id of the container, if the same request made it before. A leftover of a failed attempt is undone.
    async fn already(&self, key: &str, sandbox: &str, config: &ContainerConfig) -> Result<Option<String>, Error> {
        let leftover = self.half_made.lock().get(key).cloned();
        if let Some(record) = leftover {
            self.undo(record).await?;
            return Ok(None);
        }
        let Some(container) = self.store.container_by_key(key) else { return Ok(None) };
        let record = &container.record;
        let same = record.sandbox_id == sandbox && record.config == *config;
        if same && container.process == Process::Created {
            return Ok(Some(record.id.clone()));
        }
        Err(Error::AlreadyExists(format!(
            "{}: container {} has the same name and attempt; remove it or raise metadata.attempt",
            describe(config),
            record.id
        )))
    }

    /// The container whose processes this one shall see, which has to be of the same sandbox.
    fn pid_target(&self, config: &ContainerConfig, sandbox: &Sandbox) -> Result<Option<String>, Error> {
        const FIELD: &str = "linux.security_context.namespace_options.target_id";
        let modes = spec::security_context(config).namespace_options.unwrap_or_default();
        if modes.pid() != NamespaceMode::Target {
            return Ok(None);
        }
        let object = describe(config);
        let target = self
            .find(&modes.target_id)?
            .ok_or_else(|| Error::invalid(&object, FIELD, format!("container {:?} does not exist", modes.target_id)))?;
        if target.record.sandbox_id != sandbox.record.id {
            return Err(Error::invalid(
                &object,
                FIELD,
                format!("container {} is in another sandbox", target.record.id),
            ));
        }
        if !target.process.is_running() {
            return Err(Error::invalid(&object, FIELD, format!("container {} does not run", target.record.id)));
        }
        Ok(Some(target.record.id.clone()))
    }

    async fn make(&self, record: &mut ContainerRecord, body: docker::model::ContainerCreateBody) -> Result<(), Error> {
        record.id = match self.engine.create_container(&record.name, body.clone()).await {
            Err(docker::Error::Conflict { .. }) => {
                self.remove_stray(&record.name).await?;
                self.engine.create_container(&record.name, body).await?
            }
            other => other?,
        };
        record.phase = Phase::Live;
        Ok(self.store.write_container(record).await?)
    }

    /// A container of this name that no record knows is what a lost state directory left.
    async fn remove_stray(&self, name: &str) -> Result<(), Error> {
        let details = self.engine.inspect_container(name).await?;
        if details.state.running {
            return Err(Error::AlreadyExists(format!(
                "container {} runs under the name {name}, and Dockside has no record of it; stop it first",
                details.id
            )));
        }
        Ok(self.engine.remove_container(&details.id).await?)
    }

    async fn undo_or_keep(&self, mut record: ContainerRecord) {
        record.phase = Phase::Creating;
        if let Err(error) = self.undo(record.clone()).await {
            tracing::warn!(container = record.name, %error, "could not undo a container that failed to be made; it is tried again");
            self.half_made.lock().insert(record.key.clone(), record);
        }
    }

    /// Takes back a begun CreateContainer. Every step can be repeated.
    async fn undo(&self, mut record: ContainerRecord) -> Result<(), Error> {
        if record.id.is_empty() {
            // Killed between Docker's create and the note of the id: the name tells. One that is older than the
            // record is somebody else's.
            match self.engine.inspect_container(&record.name).await {
                Ok(details) if observe::parse_time(&details.created) >= record.created_at => record.id = details.id,
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !record.id.is_empty() {
            self.engine.remove_container(&record.id).await?;
        }
        self.store.forget_container(&record).await?;
        self.half_made.lock().remove(&record.key);
        Ok(())
    }
}
