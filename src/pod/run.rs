//! RunPodSandbox, and undoing one that did not get to its end.

use std::fs::File;
use std::io::Read;

use tokio::join;

use crate::clock::now_ns;
use crate::container::Outcome;
use crate::container::cgroup;
use crate::container::runs_already;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::naming;
use crate::proto::PodSandboxConfig;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Sandbox;
use crate::state::SandboxRecord;
use crate::state::VERSION;
use crate::state::key_of;

use super::Pods;
use super::describe;
use super::etc;
use super::etc::Etc;
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
            etc::check(&describe(&config), dns)?;
        }
        let info = self.engine_info()?;
        self.check_handler(&config, &runtime_handler, &info)?;
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
        match self.make(&mut record, &info).await {
            Ok((sandbox, pause)) => {
                let id = sandbox.record.id.clone();
                self.store.put_sandbox(sandbox);
                if !pause.is_there() {
                    self.learn_of_its_end(&id).await;
                }
                Ok(id)
            }
            Err(error) => {
                self.undo_or_keep(record, Outcome::of(&error)).await;
                Err(error)
            }
        }
    }

    /// Undoes what an earlier process, or a broken connection, left half-made. Sandboxes that a verb is working on
    /// are left alone.
    pub async fn undo_half_made(&self) {
        for key in self.half_made.keys() {
            let Some(_guard) = self.store.try_lock(&key) else { continue };
            let Some(record) = self.half_made.get(&key) else { continue };
            let name = record.name.clone();
            match self.undo(record, Outcome::Unknown).await {
                Ok(true) => tracing::info!(sandbox = name, "undid a half-made sandbox"),
                Ok(false) => {}
                Err(error) => tracing::warn!(sandbox = name, %error, "could not undo a half-made sandbox yet"),
            }
        }
    }

    /// Takes over a pause container whose record is damaged, to be undone.
    pub fn adopt_damaged(&self, name: &str, id: &str) {
        let key = key_of(name);
        let record = SandboxRecord {
            version: VERSION,
            key: key.clone(),
            name: name.to_owned(),
            id: id.to_owned(),
            phase: Phase::Creating,
            created_at: now_ns(),
            runtime_handler: String::new(),
            netns: None,
            network: None,
            config: PodSandboxConfig::default(),
        };
        self.half_made.insert(key, record);
    }

    fn check_handler(&self, config: &PodSandboxConfig, handler: &str, info: &EngineInfo) -> Result<(), Error> {
        if handler.is_empty() || info.runtimes.iter().any(|runtime| runtime == handler) {
            return Ok(());
        }
        let reason = format!("{handler:?} is not a runtime of this Docker, which has {}", info.runtimes.join(", "));
        Err(Error::invalid(describe(config), "runtime_handler", reason))
    }

    /// The id of the sandbox, if the same request made it before. A leftover of a failed attempt is undone.
    async fn already(&self, key: &str, config: &PodSandboxConfig, handler: &str) -> Result<Option<String>, Error> {
        if let Some(record) = self.half_made.get(key) {
            self.undo(record, Outcome::Known).await?;
            return Ok(None);
        }
        let Some(sandbox) = self.store.sandbox_by_key(key) else { return Ok(None) };
        let record = &sandbox.record;
        if record.phase == Phase::Broken {
            self.undo(record.clone(), Outcome::Known).await?;
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

    async fn make(&self, record: &mut SandboxRecord, info: &EngineInfo) -> Result<(Sandbox, Witness), Error> {
        let etc = (!record.config.is_host_network()).then(|| Etc::new(self.store.pod_files(&record.key)));
        if let Some(etc) = &etc {
            etc.make(&record.config).await?;
        }
        record.id = self.create_pause(record, etc.as_ref(), info).await?;
        let started_at = now_ns();
        // The id is noted before the plugins run: whatever happens then, DEL can be asked for.
        let (started, noted) = join!(self.engine.start_container(&record.id), self.store.note_sandbox(record));
        started?;
        noted?;
        let pause = match etc {
            Some(etc) => self.wire_up(record, &etc, info).await?,
            None => self.on_the_node(record).await?,
        };
        record.phase = Phase::Live;
        self.store.write_sandbox(record).await?;
        Ok((Sandbox::new(record.clone(), Process::Running { started_at }), pause))
    }

    /// Gives the pod its network and its name there.
    async fn wire_up(&self, record: &mut SandboxRecord, etc: &Etc, info: &EngineInfo) -> Result<Witness, Error> {
        // The kernel knows the process as well as Docker does, and answers at once. An OCI runtime that has helpers in the
        // cgroup, in network namespaces of their own, leaves it to Docker to say which is the pod's.
        let pid = match cgroup::only_process(info, record.cgroup_parent(), &record.id) {
            Some(pid) => pid,
            None => self.engine.inspect_container(&record.id).await?.state.pid,
        };
        // Before the plugins run, which may take so long that the number has gone to another process.
        let pause = Witness::of(pid);
        self.attach(record, pid).await?;
        etc.complete(record, &info.container_directory(&record.id)).await?;
        Ok(pause)
    }

    /// As [`Pods::wire_up`], for a pod on the node's network.
    async fn on_the_node(&self, record: &SandboxRecord) -> Result<Witness, Error> {
        let details = self.engine.inspect_container(&record.id).await?;
        let pause = Witness::of(details.state.pid);
        if let Some(dns) = record.config.dns_config.as_ref().filter(|dns| etc::is_asked(dns)) {
            etc::write(&details.resolv_conf_path, dns).await?;
        }
        Ok(pause)
    }

    /// Creates the pause container. A missing pause image is fetched, and a container of the same name that no
    /// record knows is what a lost state directory left: it is removed if it does not run.
    async fn create_pause(
        &self,
        record: &SandboxRecord,
        etc: Option<&Etc>,
        info: &EngineInfo,
    ) -> Result<String, Error> {
        let runtime = (!record.runtime_handler.is_empty()).then(|| record.runtime_handler.clone());
        let image = self.images.pause_image().await?;
        let body = spec::pause_container(&record.config, image, runtime, etc, info)?;
        match self.engine.create_container(&record.name, &body).await {
            Err(error) if error.is_not_found() => self.images.ensure_pause().await?,
            Err(error) if error.is_conflict() => {
                if let Some(id) = self.engine.remove_unless_running(&record.name).await? {
                    return Err(runs_already(&record.name, &id));
                }
            }
            other => return Ok(other?),
        }
        Ok(self.engine.create_container(&record.name, &body).await?)
    }

    /// The pause process died before the sandbox was in the index, where Docker's event is looked up.
    async fn learn_of_its_end(&self, id: &str) {
        if let Err(error) = self.containers.refresher().refresh(id).await {
            tracing::warn!(sandbox = id, %error, "could not check the new sandbox");
        }
    }

    async fn undo_or_keep(&self, mut record: SandboxRecord, outcome: Outcome) {
        let error = match self.undo(record.clone(), outcome).await {
            Ok(true) => return,
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if record.id.is_empty() {
            self.half_made.insert(record.key.clone(), record);
            return;
        }
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        tracing::warn!(sandbox = record.name, error, "could not undo a sandbox that failed to start; it is kept");
        record.phase = Phase::Broken;
        if let Err(error) = self.store.write_sandbox(&record).await {
            tracing::error!(sandbox = record.name, %error, "could not record a broken sandbox");
        }
        self.store.put_sandbox(Sandbox::new(record, Process::Created));
    }

    /// Takes back everything a begun RunPodSandbox may have made, in reverse. Every step can be repeated. False when
    /// Docker may still be making the pause container: then the record stays, and this has to be called again.
    async fn undo(&self, mut record: SandboxRecord, outcome: Outcome) -> Result<bool, Error> {
        if record.id.is_empty() {
            // Killed between Docker's create and the note of the id: the name tells.
            match self.engine.find_created_since(&record.name, record.created_at).await? {
                Some(id) => record.id = id,
                None if outcome.may_come(record.created_at) => return Ok(false),
                None => {}
            }
        }
        if !record.id.is_empty() {
            for container in self.store.containers_of(&record.id) {
                self.containers.remove(&container.record.id).await?;
            }
            self.detach(&mut record).await?;
            self.engine.remove_container(&record.id).await?;
        }
        self.store.forget_sandbox(&record).await?;
        self.half_made.remove(&record.key);
        Ok(true)
    }
}

/// Somebody who knows whether a process was reaped, even when its number belongs to another by then.
struct Witness(Option<File>);

impl Witness {
    fn of(pid: i32) -> Witness {
        Witness(File::open(format!("/proc/{pid}/status")).ok())
    }

    fn is_there(&self) -> bool {
        self.0.as_ref().is_some_and(|mut status| status.read(&mut [0]).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_witness_knows_a_process_from_what_is_left_of_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (before, after) = (Witness::of(pid), Witness::of(pid));
        assert!(before.is_there());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!after.is_there());
        assert!(!Witness::of(pid).is_there());
    }
}
