//! CreateContainer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tonic::Code;

use crate::clock::now_ns;
use crate::docker;
use crate::docker::EngineInfo;
use crate::docker::request::ContainerRequest;
use crate::error::Error;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::Outcome;
use crate::lifecycle::free_name;
use crate::naming;
use crate::proto::ContainerConfig;
use crate::proto::NamespaceMode;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Identity;
use crate::state::Object;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Record;
use crate::state::Sandbox;
use crate::state::key_of;

use super::Containers;
use super::describe;
use super::effective;
use super::mounts;
use super::spec;
use super::spec::Context;

/// How long the file systems of a container's mounts may take to answer.
const MOUNTS_TIMEOUT: Duration = Duration::from_secs(20);

impl Containers {
    /// Makes a container in a sandbox and returns its id. The same request repeated returns the same id until the container
    /// is started.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Unsupported`] name the field; [`Error::Lookup`] the sandbox.
    pub(crate) async fn create(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String, Error> {
        let meta = spec::check(&config)?;
        let sandbox = self.ready_sandbox(sandbox_id)?;
        // Held so that the sandbox cannot be stopped or removed without the new container.
        let _sandbox_guard = self.store.lock(&sandbox.record.key).await;
        let sandbox = self.ready_sandbox(&sandbox.record.id)?;
        let info = self.engine.info()?;
        let pod = sandbox.record.config.metadata.clone().unwrap_or_default();
        let name = naming::container(meta, &pod);
        let key = key_of(&name);
        let _guard = self.store.lock(&key).await;
        let same = |container: &Container| {
            let known = &container.record;
            container.process == Process::Created && known.sandbox_id == sandbox.record.id && known.config == config
        };
        if let Some(id) = self.find_repeated(&key, describe(&config), same).await? {
            return Ok(id);
        }
        let image = config.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        let (image_id, image_settings) = self.images.identify(image).await?;
        let mut record = ContainerRecord {
            sandbox_id: sandbox.record.id.clone(),
            image_id,
            image_settings: Some(image_settings),
            ..ContainerRecord::creating(name, now_ns(), config)
        };
        let pid_target = self.pid_target(&record.config, &sandbox)?;
        let body = self.body(&record, &sandbox, info, pid_target).await?;
        self.store.containers.save(&record).await?;
        match self.make(&mut record, body).await {
            Ok(()) => {
                let id = record.id.clone();
                self.store.containers.insert(Container::new(record, Process::Created));
                Ok(id)
            }
            Err(error) => {
                self.undo_or_keep(record, Outcome::of(&error)).await;
                self.refresh_missing_image(&error).await;
                Err(error)
            }
        }
    }

    /// The create request for Docker. It resolves the paths of mounts, which can block for ever on a dead network file
    /// system, so it runs on a blocking thread, after a probe of each path.
    async fn body(
        &self,
        record: &ContainerRecord,
        sandbox: &Arc<Sandbox>,
        info: Arc<EngineInfo>,
        pid_target: Option<String>,
    ) -> Result<ContainerRequest, Error> {
        let (mut config, sandbox, docker_log) = (record.config.clone(), Arc::clone(sandbox), self.docker_log.clone());
        self.resolve_mounted_images(&mut config).await?;
        let log_path = record.log_path(&sandbox.record);
        let build = move || {
            let context = Context {
                sandbox: &sandbox.record,
                info: &info,
                log_path: &log_path,
                docker_log: &docker_log,
                pid_target,
            };
            spec::container(&config, &context)
        };
        let building = async {
            join_all(host_paths(&record.config).map(|path| self.path_probes.probe(path))).await;
            tokio::task::spawn_blocking(build).await
        };
        match tokio::time::timeout(MOUNTS_TIMEOUT, building).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => Err(Error::invalid(describe(&record.config), "mounts", error)),
            Err(_) => {
                let paths: Vec<String> = host_paths(&record.config).map(|path| path.display().to_string()).collect();
                Err(Error::DeadlineExceeded(format!(
                    "{}: mounts.host_path: no answer within {MOUNTS_TIMEOUT:?} from one of {}",
                    describe(&record.config),
                    paths.join(", ")
                )))
            }
        }
    }

    /// Refreshes the image index if Docker does not have an image that the index has: otherwise the kubelet would repeat
    /// the request without pulling the image.
    async fn refresh_missing_image(&self, error: &Error) {
        if matches!(error, Error::Docker(error) if error.is_missing_image())
            && let Err(error) = self.images.refresh().await
        {
            tracing::warn!(%error, "could not refresh the list of images");
        }
    }

    /// Replaces the names of mounted images by their ids.
    async fn resolve_mounted_images(&self, config: &mut ContainerConfig) -> Result<(), Error> {
        let object = describe(config);
        for mount in &mut config.mounts {
            let Some(name) = mounts::image_of(mount) else { continue };
            let (id, _) = self.images.identify(name).await.map_err(|error| match error.code() {
                Code::NotFound => {
                    Error::ImageVolume(format!("{object}: mounts.image: {}: {error}", mount.container_path))
                }
                _ => error,
            })?;
            mount.image.get_or_insert_default().image = id;
        }
        Ok(())
    }

    /// The sandbox with this id or id prefix, which is ready and not being stopped.
    pub(super) fn ready_sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let sandbox = self.index.sandboxes.require(id)?;
        if sandbox.is_ready() && !sandbox.stopping {
            Ok(sandbox)
        } else {
            Err(Error::precondition(format!("pod sandbox {}", sandbox.record.id), "is not ready"))
        }
    }

    /// The container whose PID namespace is joined, for mode TARGET; it has to be in the same sandbox.
    fn pid_target(&self, config: &ContainerConfig, sandbox: &Sandbox) -> Result<Option<String>, Error> {
        const FIELD: &str = "linux.security_context.namespace_options.target_id";
        let modes = spec::security_context(config).namespace_options.unwrap_or_default();
        if modes.pid() != NamespaceMode::Target {
            return Ok(None);
        }
        let object = describe(config);
        let target =
            self.index.containers.find(&modes.target_id)?.ok_or_else(|| {
                Error::invalid(&object, FIELD, format!("container {:?} does not exist", modes.target_id))
            })?;
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

    async fn make(&self, record: &mut ContainerRecord, mut body: ContainerRequest) -> Result<(), Error> {
        record.identity = self.known_identity(record);
        if record.identity.is_some() {
            body.user = effective::strict_user(record)?.or(body.user);
        }
        record.id = match self.create_in_docker(&record.name, body.clone()).await {
            Err(error) if error.is_conflict() => {
                free_name(&self.engine, &record.name).await?;
                self.create_in_docker(&record.name, body.clone()).await?
            }
            other => other?,
        };
        if record.identity.is_none() {
            record.identity = self.identity(record).await?;
            if let Some(user) = effective::strict_user(record)? {
                // The numbers come from the image's accounts, which need a container, and Docker cannot change its user.
                self.engine.remove_container(&record.id).await?;
                body.user = Some(user);
                record.id = self.create_in_docker(&record.name, body).await?;
            }
        }
        record.phase = Phase::Live;
        Ok(self.store.containers.save(record).await?)
    }

    /// The user of the init process, if it depends on the accounts of an image whose accounts are cached.
    fn known_identity(&self, record: &ContainerRecord) -> Option<Identity> {
        let user = effective::user_left_to_image(record)?;
        self.images.cached_users(&record.image_id)?.identity(&user)
    }

    /// The same, with the accounts read from the new container.
    ///
    /// # Errors
    /// If Docker does not return them and the container's groups depend on them.
    async fn identity(&self, record: &ContainerRecord) -> Result<Option<Identity>, Error> {
        let Some(user) = effective::user_left_to_image(record) else { return Ok(None) };
        if spec::hides_accounts(&record.config) {
            return Ok(None);
        }
        match self.images.users(&record.image_id, &record.id).await {
            Ok(users) => Ok(users.and_then(|users| users.identity(&user))),
            Err(error) if effective::is_strict(record) => Err(error.into()),
            Err(error) => {
                tracing::warn!(container = record.id, %error, "could not read the user of a container");
                Ok(None)
            }
        }
    }

    /// A daemon whose log-opts set a buffer size refuses each container with blocking log mode. The container is then
    /// created with the daemon's mode: its log may lose lines, which is better than no container.
    async fn create_in_docker(&self, name: &str, mut body: ContainerRequest) -> Result<String, docker::Error> {
        match self.engine.create_container(name, &body).await {
            Err(error) if error.is_refusal_of_blocking_logs() => {
                tracing::warn!(
                    container = name,
                    "the log may lose lines: Docker's log-opts have max-buffer-size, so it is not written in blocking mode"
                );
                spec::leave_log_mode(&mut body);
                self.engine.create_container(name, &body).await
            }
            other => other,
        }
    }
}

/// The host paths of mounts and devices.
fn host_paths(config: &ContainerConfig) -> impl Iterator<Item = &Path> {
    let mounts = config.mounts.iter().map(|mount| mount.host_path.as_str());
    let devices = config.devices.iter().map(|device| device.host_path.as_str());
    mounts.chain(devices).filter(|path| path.starts_with('/')).map(Path::new)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::container::testing::Bench;
    use crate::container::testing::SANDBOX;
    use crate::proto::ContainerMetadata;
    use crate::proto::ImageSpec;

    #[tokio::test]
    async fn an_image_that_docker_does_not_have_leaves_the_index() {
        let gone = Arc::new(AtomicBool::new(false));
        let removed = Arc::clone(&gone);
        let bench = Bench::new(Duration::from_secs(5), move |request| match request {
            "GET /images/json" if removed.load(Ordering::Relaxed) => (200, "[]".to_owned()),
            "GET /images/json" => (200, r#"[{"Id": "sha256:1", "RepoTags": ["app:1"]}]"#.to_owned()),
            "GET /images/sha256:1/json" => (200, r#"{"Id": "sha256:1"}"#.to_owned()),
            "POST /containers/create" => (404, r#"{"message": "No such image: sha256:1"}"#.to_owned()),
            _ => (404, r#"{"message": "no such container"}"#.to_owned()),
        });
        bench.images.refresh().await.unwrap();
        gone.store(true, Ordering::Relaxed);
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "main".into(), attempt: 0 }),
            image: Some(ImageSpec { image: "app:1".into(), ..Default::default() }),
            ..Default::default()
        };
        let refused = bench.containers.create(SANDBOX, config).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert!(bench.images.list("").is_empty());
    }
}
