//! RunPodSandbox.

use tokio::join;

use crate::cgroup::Cgroup;
use crate::clock::now_ns;
use crate::docker::EngineInfo;
use crate::error::Error;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::Outcome;
use crate::lifecycle::free_name;
use crate::naming;
use crate::proto::PodSandboxConfig;
use crate::state::Object;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Record;
use crate::state::Sandbox;
use crate::state::SandboxRecord;
use crate::state::key_of;

use super::Pods;
use super::describe;
use super::etc;
use super::etc::Etc;
use super::pause::PauseProcess;
use super::spec;

impl Pods {
    /// Makes a sandbox and returns its id. On return it is READY and has its addresses.
    ///
    /// The same request repeated returns the same id while the sandbox is READY, so that a kubelet that lost the first
    /// answer can repeat it. A failed request leaves nothing, or a NOTREADY sandbox if it could not be undone, and can be
    /// repeated too.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Unsupported`] name the field; [`Error::Cni`] has the plugin's message.
    pub(crate) async fn run(&self, config: PodSandboxConfig, runtime_handler: String) -> Result<String, Error> {
        let meta = spec::check(&config)?;
        let pod = describe(&config);
        if let Some(dns) = &config.dns_config {
            etc::check(&pod, dns)?;
        }
        let info = self.engine.info()?;
        check_handler(&pod, &runtime_handler, &info)?;
        let name = naming::sandbox(meta);
        let key = key_of(&name);
        let _guard = self.store.lock(&key).await;
        let same = |sandbox: &Sandbox| {
            let known = &sandbox.record;
            sandbox.is_ready() && known.config == config && known.runtime_handler == runtime_handler
        };
        if let Some(id) = self.find_repeated(&key, pod, same).await? {
            return Ok(id);
        }
        let mut record = SandboxRecord { runtime_handler, ..SandboxRecord::creating(name, now_ns(), config) };
        self.require_network(&record)?;
        self.store.sandboxes.save(&record).await?;
        match self.make(&mut record, &info).await {
            Ok((sandbox, pause)) => {
                let id = sandbox.record.id.clone();
                self.store.sandboxes.insert(sandbox);
                if pause.is_reaped() {
                    self.refresh_exited(&id).await;
                }
                Ok(id)
            }
            Err(error) => {
                self.undo_or_keep(record, Outcome::of(&error)).await;
                Err(error)
            }
        }
    }

    /// Makes everything of the sandbox; on an error, the record says what of it may exist.
    async fn make(&self, record: &mut SandboxRecord, info: &EngineInfo) -> Result<(Sandbox, PauseProcess), Error> {
        let etc = (!record.config.is_host_network()).then(|| Etc::new(self.store.pod_files(&record.key)));
        if let Some(etc) = &etc {
            etc.make(&record.config).await?;
        }
        record.id = self.create_pause(record, etc.as_ref(), info).await?;
        let started_at = now_ns();
        // The id is saved before the plugins run, so that DEL can be called whatever happens next.
        let (started, saved) =
            join!(self.engine.start_container(&record.id), self.store.sandboxes.save_unflushed(record));
        started?;
        saved?;
        let pause = match etc {
            Some(etc) => self.finish_with_pod_network(record, &etc, info).await?,
            None => self.finish_on_host_network(record).await?,
        };
        record.phase = Phase::Live;
        self.store.sandboxes.save(record).await?;
        Ok((Sandbox::new(record.clone(), Process::Running { started_at }), pause))
    }

    /// Sets up the pod network and completes the pod's files.
    async fn finish_with_pod_network(
        &self,
        record: &mut SandboxRecord,
        etc: &Etc,
        info: &EngineInfo,
    ) -> Result<PauseProcess, Error> {
        // The kernel knows the pid as well as Docker does, and answers at once. Some OCI runtimes have helper processes in
        // the same cgroup, with network namespaces of their own: then only Docker knows which process is the pod's.
        let pid = match Cgroup::of_container(info, record.cgroup_parent(), &record.id).only_pid() {
            Some(pid) => pid,
            None => self.engine.inspect_container(&record.id).await?.state.pid,
        };
        // Opened before the plugins run: they may take so long that the kernel reuses the pid.
        let pause = PauseProcess::open(pid);
        self.setup_pod_network(record, pid).await?;
        etc.complete(record, &info.container_directory(&record.id)).await?;
        Ok(pause)
    }

    /// As [`Pods::finish_with_pod_network`], for a pod on the host's network.
    async fn finish_on_host_network(&self, record: &SandboxRecord) -> Result<PauseProcess, Error> {
        let details = self.engine.inspect_container(&record.id).await?;
        let pause = PauseProcess::open(details.state.pid);
        if let Some(dns) = record.config.dns_config.as_ref().filter(|dns| etc::has_settings(dns)) {
            etc::write(&details.resolv_conf_path, dns).await?;
        }
        Ok(pause)
    }

    /// Creates the pause container. A missing pause image is pulled or loaded first.
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
            Err(error) if error.is_conflict() => free_name(&self.engine, &record.name).await?,
            other => return Ok(other?),
        }
        Ok(self.engine.create_container(&record.name, &body).await?)
    }

    /// Records an exit of the pause process that Docker reported before the sandbox was in the index.
    async fn refresh_exited(&self, id: &str) {
        if let Err(error) = self.containers.refresher().refresh(id).await {
            tracing::warn!(sandbox = id, %error, "could not refresh a new sandbox whose pause process has exited");
        }
    }
}

/// Refuses a runtime handler that Docker has no runtime for.
fn check_handler(pod: &str, handler: &str, info: &EngineInfo) -> Result<(), Error> {
    if handler.is_empty() || info.runtimes.iter().any(|runtime| runtime == handler) {
        return Ok(());
    }
    let reason = format!("{handler:?} is not a runtime of this Docker, which has {}", info.runtimes.join(", "));
    Err(Error::invalid(pod, "runtime_handler", reason))
}
