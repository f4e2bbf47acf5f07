//! RunPodSandbox, and undoing one that did not get to its end.

use tokio::join;

use crate::docker;
use crate::docker::Facts;
use crate::error::Error;
use crate::naming;
use crate::observe;
use crate::observe::now_ns;
use crate::proto::PodSandboxConfig;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Sandbox;
use crate::state::SandboxRecord;
use crate::state::VERSION;
use crate::state::key_of;

use super::Pods;
use super::describe;
use super::is_host_network;
use super::resolv;
use super::spec;

impl Pods {
    /// Makes a sandbox and returns its id; it is READY and has its addresses then.
    ///
    /// The same request repeated, for a sandbox that is READY, returns the same id: a kubelet that lost the first
    /// answer goes on with it. After a failure nothing is left, so the same request may be repeated too.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Unsupported`] name the field; [`Error::Cni`] has the plugin's own words.
    pub async fn run(&self, config: PodSandboxConfig, runtime_handler: String) -> Result<String, Error> {
        let meta = spec::check(&config)?;
        if let Some(dns) = &config.dns_config {
            resolv::check(&describe(&config), dns)?;
        }
        let facts = self.facts()?;
        self.check_handler(&config, &runtime_handler, &facts)?;
        let name = naming::sandbox(meta);
        let key = key_of(&name);
        let _guard = self.store.lock(&key).await;
        if let Some(id) = self.already(&key, &config, &runtime_handler).await? {
            return Ok(id);
        }
        let mut record = SandboxRecord {
            version: VERSION,
            key,
            name,
            id: String::new(),
            phase: Phase::Creating,
            created_at: now_ns(),
            runtime_handler,
            netns: None,
            network: None,
            config,
        };
        self.network_or_refuse(&record)?;
        self.store.write_sandbox(&record).await?;
        match self.make(&mut record, &facts).await {
            Ok(sandbox) => {
                let id = sandbox.record.id.clone();
                self.store.put_sandbox(sandbox);
                self.check_pause_lives(&id).await;
                Ok(id)
            }
            Err(error) => {
                self.undo_or_keep(record).await;
                Err(error)
            }
        }
    }

    /// Undoes what an earlier process, or a broken connection, left half-made. Sandboxes that a verb is working on
    /// are left alone.
    pub async fn undo_half_made(&self) {
        let keys: Vec<String> = self.half_made.lock().keys().cloned().collect();
        for key in keys {
            let Some(_guard) = self.store.try_lock(&key) else { continue };
            let Some(record) = self.half_made.lock().get(&key).cloned() else { continue };
            let name = record.name.clone();
            match self.undo(record).await {
                Ok(()) => tracing::info!(sandbox = name, "undid a half-made sandbox"),
                Err(error) => tracing::warn!(sandbox = name, %error, "could not undo a half-made sandbox yet"),
            }
        }
    }

    fn check_handler(&self, config: &PodSandboxConfig, handler: &str, facts: &Facts) -> Result<(), Error> {
        if handler.is_empty() || facts.runtimes.iter().any(|runtime| runtime == handler) {
            return Ok(());
        }
        let reason = format!("{handler:?} is not a runtime of this Docker, which has {}", facts.runtimes.join(", "));
        Err(Error::invalid(describe(config), "runtime_handler", reason))
    }

    /// The id of the sandbox, if the same request made it before. A leftover of a failed attempt is undone.
    async fn already(&self, key: &str, config: &PodSandboxConfig, handler: &str) -> Result<Option<String>, Error> {
        let leftover = self.half_made.lock().get(key).cloned();
        if let Some(record) = leftover {
            self.undo(record).await?;
            return Ok(None);
        }
        let Some(sandbox) = self.store.sandbox_by_key(key) else { return Ok(None) };
        let record = &sandbox.record;
        if record.phase == Phase::Broken {
            self.undo(record.clone()).await?;
            return Ok(None);
        }
        if sandbox.is_ready() && record.config == *config && record.runtime_handler == handler {
            return Ok(Some(record.id.clone()));
        }
        Err(Error::AlreadyExists(format!(
            "{}: sandbox {} has the same name, namespace, uid and attempt; remove it or raise metadata.attempt",
            describe(config),
            record.id
        )))
    }

    async fn make(&self, record: &mut SandboxRecord, facts: &Facts) -> Result<Sandbox, Error> {
        record.id = self.create_pause(record, facts).await?;
        let started_at = now_ns();
        // The id is on disk before the plugins run: whatever happens then, DEL can be asked for.
        let (started, written) = join!(self.engine.start_container(&record.id), self.store.write_sandbox(record));
        started?;
        written?;
        let details = self.engine.inspect_container(&record.id).await?;
        if let Some(dns) = record.config.dns_config.as_ref().filter(|dns| resolv::is_asked(dns)) {
            resolv::write(&details.resolv_conf_path, dns).await?;
        }
        if !is_host_network(&record.config) {
            self.attach(record, details.state.pid).await?;
        }
        record.phase = Phase::Live;
        self.store.write_sandbox(record).await?;
        Ok(Sandbox { record: record.clone(), process: Process::Running { started_at } })
    }

    /// Creates the pause container. A missing pause image is fetched, and a container of the same name that no
    /// record knows is what a lost state directory left: it is removed if it does not run.
    async fn create_pause(&self, record: &SandboxRecord, facts: &Facts) -> Result<String, Error> {
        let runtime = (!record.runtime_handler.is_empty()).then(|| record.runtime_handler.clone());
        let body = spec::pause_container(&record.config, self.images.pause_reference(), runtime, facts)?;
        match self.engine.create_container(&record.name, body.clone()).await {
            Err(docker::Error::NotFound { .. }) => self.images.ensure_pause().await?,
            Err(docker::Error::Conflict { .. }) => self.remove_stray(&record.name).await?,
            other => return Ok(other?),
        }
        Ok(self.engine.create_container(&record.name, body).await?)
    }

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

    /// The pause process may have died before the sandbox was in the index, where Docker's event is looked up.
    async fn check_pause_lives(&self, id: &str) {
        if let Err(error) = observe::refresh(&self.engine, &self.store, id).await {
            tracing::warn!(sandbox = id, %error, "could not check the new sandbox");
        }
    }

    async fn undo_or_keep(&self, mut record: SandboxRecord) {
        let Err(error) = self.undo(record.clone()).await else { return };
        tracing::warn!(sandbox = record.name, %error, "could not undo a sandbox that failed to start; it is kept until that works");
        if record.id.is_empty() {
            self.half_made.lock().insert(record.key.clone(), record);
            return;
        }
        record.phase = Phase::Broken;
        if let Err(error) = self.store.write_sandbox(&record).await {
            tracing::error!(sandbox = record.name, %error, "could not record a broken sandbox");
        }
        self.store.put_sandbox(Sandbox { record, process: Process::Created });
    }

    /// Takes back everything a begun RunPodSandbox may have made, in reverse. Every step can be repeated.
    pub(super) async fn undo(&self, mut record: SandboxRecord) -> Result<(), Error> {
        if record.id.is_empty() {
            // Killed between Docker's create and the note of the id: the name tells.
            match self.engine.inspect_container(&record.name).await {
                // One that is older than the record is somebody else's.
                Ok(details) if observe::parse_time(&details.created) >= record.created_at => record.id = details.id,
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !record.id.is_empty() {
            self.detach(&mut record).await?;
            self.engine.remove_container(&record.id).await?;
        }
        self.store.forget_sandbox(&record).await?;
        self.half_made.lock().remove(&record.key);
        Ok(())
    }
}
