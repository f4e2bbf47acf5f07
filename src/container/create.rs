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
use crate::error::Kind;
use crate::naming;
use crate::proto::ContainerConfig;
use crate::proto::NamespaceMode;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Identity;
use crate::state::Phase;
use crate::state::Process;
use crate::state::Resolved;
use crate::state::Sandbox;
use crate::state::VERSION;
use crate::state::key_of;

use super::Containers;
use super::Outcome;
use super::describe;
use super::effective;
use super::mounts;
use super::runs_already;
use super::spec;
use super::spec::Surroundings;

/// How long the file systems of a container's mounts may take to answer.
const MOUNTS_LIMIT: Duration = Duration::from_secs(20);

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
        let info = self.engine.info()?;
        let pod = sandbox.record.config.metadata.clone().unwrap_or_default();
        let name = naming::container(meta, &pod);
        let key = key_of(&name);
        let _guard = self.store.lock(&key).await;
        if let Some(id) = self.already(&key, &sandbox.record.id, &config).await? {
            return Ok(id);
        }
        let image = config.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        let (image_id, image_settings) = self.images.identify(image).await?;
        let mut record = ContainerRecord {
            version: VERSION,
            key,
            name,
            id: String::new(),
            sandbox_id: sandbox.record.id.clone(),
            phase: Phase::Creating,
            created_at: now_ns(),
            image_id,
            image_settings: Some(image_settings),
            identity: None,
            config,
        };
        let pid_target = self.pid_target(&record.config, &sandbox)?;
        let body = self.body(&record, &sandbox, info, pid_target).await?;
        self.store.write_container(&record).await?;
        match self.make(&mut record, body).await {
            Ok(()) => {
                let id = record.id.clone();
                self.store.put_container(Container::new(record, Process::Created));
                Ok(id)
            }
            Err(error) => {
                self.undo_or_keep(record, Outcome::of(&error)).await;
                self.learn_missing_image(&error).await;
                Err(error)
            }
        }
    }

    /// The container to ask Docker for. Its mounts are looked at on the way, which can take for ever on a dead network
    /// file system: so that is done on a thread of its own, once each of them has answered.
    async fn body(
        &self,
        record: &ContainerRecord,
        sandbox: &Arc<Sandbox>,
        info: Arc<EngineInfo>,
        pid_target: Option<String>,
    ) -> Result<ContainerRequest, Error> {
        let (mut config, sandbox, docker_log) = (record.config.clone(), Arc::clone(sandbox), self.docker_log.clone());
        self.find_mounted_images(&mut config).await?;
        let log_path = record.log_path(&sandbox.record);
        let build = move || {
            let around = Surroundings {
                sandbox: &sandbox.record,
                info: &info,
                log_path: &log_path,
                docker_log: &docker_log,
                pid_target,
            };
            spec::container(&config, &around)
        };
        let building = async {
            join_all(host_paths(&record.config).map(|path| self.looks.answered(path))).await;
            tokio::task::spawn_blocking(build).await
        };
        match tokio::time::timeout(MOUNTS_LIMIT, building).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => Err(Error::invalid(describe(&record.config), "mounts", error)),
            Err(_) => {
                let paths: Vec<String> = host_paths(&record.config).map(|path| path.display().to_string()).collect();
                Err(Error::DeadlineExceeded(format!(
                    "{}: mounts.host_path: no answer within {MOUNTS_LIMIT:?} from one of {}",
                    describe(&record.config),
                    paths.join(", ")
                )))
            }
        }
    }

    /// An image that the index has and Docker has not is asked for again and again, until the index knows.
    async fn learn_missing_image(&self, error: &Error) {
        if matches!(error, Error::Docker(error) if error.is_missing_image())
            && let Err(error) = self.images.refresh().await
        {
            tracing::warn!(%error, "could not refresh the list of images");
        }
    }

    /// Puts the ids of images that are to be mounted in the place of their names.
    async fn find_mounted_images(&self, config: &mut ContainerConfig) -> Result<(), Error> {
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

    pub(super) fn ready_sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        let sandbox = match self.store.resolve_sandbox(id) {
            Resolved::One(sandbox) => sandbox,
            Resolved::None => return Err(Error::NotFound { kind: Kind::Sandbox, id: id.to_owned() }),
            Resolved::Ambiguous => return Err(Error::Ambiguous { kind: Kind::Sandbox, id: id.to_owned() }),
        };
        if sandbox.is_ready() && !sandbox.stopping {
            Ok(sandbox)
        } else {
            Err(Error::Precondition(format!("pod sandbox {} is not ready", sandbox.record.id)))
        }
    }

    /// The id of the container, if the same request made it before. A leftover of a failed attempt is undone.
    async fn already(&self, key: &str, sandbox: &str, config: &ContainerConfig) -> Result<Option<String>, Error> {
        if let Some(record) = self.half_made.get(key) {
            self.undo(record, Outcome::Known).await?;
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

    async fn make(&self, record: &mut ContainerRecord, mut body: ContainerRequest) -> Result<(), Error> {
        record.identity = self.known_identity(record);
        if record.identity.is_some() {
            body.user = effective::strict_user(record)?.or(body.user);
        }
        record.id = match self.create_in_docker(&record.name, body.clone()).await {
            Err(error) if error.is_conflict() => {
                if let Some(id) = self.engine.remove_unless_running(&record.name).await? {
                    return Err(runs_already(&record.name, &id));
                }
                self.create_in_docker(&record.name, body.clone()).await?
            }
            other => other?,
        };
        if record.identity.is_none() {
            record.identity = self.identity(record).await?;
            if let Some(user) = effective::strict_user(record)? {
                // Only now is it known by numbers, and Docker cannot change it.
                self.engine.remove_container(&record.id).await?;
                body.user = Some(user);
                record.id = self.create_in_docker(&record.name, body).await?;
            }
        }
        record.phase = Phase::Live;
        Ok(self.store.write_container(record).await?)
    }

    /// Who the process will start as, where that is for an image to say that was asked before.
    fn known_identity(&self, record: &ContainerRecord) -> Option<Identity> {
        let user = effective::user_left_to_image(record)?;
        self.images.known_accounts(&record.image_id)?.identity(&user)
    }

    /// The same from a container that Docker has made of the image.
    ///
    /// # Errors
    /// When Docker does not tell, and the container depends on it.
    async fn identity(&self, record: &ContainerRecord) -> Result<Option<Identity>, Error> {
        let Some(user) = effective::user_left_to_image(record) else { return Ok(None) };
        if spec::hides_accounts(&record.config) {
            return Ok(None);
        }
        match self.images.accounts(&record.image_id, &record.id).await {
            Ok(accounts) => Ok(accounts.and_then(|accounts| accounts.identity(&user))),
            Err(error) if effective::is_strict(record) => Err(error.into()),
            Err(error) => {
                tracing::warn!(container = record.id, %error, "cannot tell the user of a container");
                Ok(None)
            }
        }
    }

    /// A daemon that is configured to buffer all logs refuses every container that is to be logged without a buffer.
    /// A container whose log may lose lines when it writes too fast is better than none.
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

/// What is looked at on the host for a container.
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
    async fn an_image_that_docker_has_not_is_not_in_the_index_any_more() {
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
