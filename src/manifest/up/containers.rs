//! The containers of a Pod: image, CreateContainer, StartContainer, and their state afterwards.

use std::time::Duration;

use super::Failure;
use super::Pass;
use super::Sandbox;
use super::attempt_suffix;
use super::decide::Decision;
use super::decide::decide;
use super::decide::in_sandbox;
use crate::manifest::report::short;
use crate::manifest::translate;
use crate::manifest::translate::Image;
use crate::manifest::types::Container;
use crate::manifest::types::PullPolicy;
use crate::manifest::types::RestartPolicy;
use crate::proto;
use crate::proto::ContainerState;
use crate::proto::ContainerStatus;

/// The pauses between calls of ContainerStatus while waiting for a state: doubled from the first to the longest.
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);
/// The reported reason to stop a container before it is replaced.
const UNKNOWN_STATE: &str = "in an unknown state";
/// How long after the last start all containers are checked again: most failures happen at once.
const RECHECK_DELAY: Duration = Duration::from_millis(250);

/// The result for one container.
enum Outcome {
    /// It was started, and runs.
    Started { id: String, attempt: u32 },
    /// It ran already, or has completed.
    Unchanged,
    /// It exited with an error.
    Failed(Failure),
}

impl Pass<'_> {
    /// Runs the init containers, one after the other, each until it exits.
    pub(super) async fn run_init_containers(
        &self,
        sandbox: &Sandbox,
        existing: &[proto::Container],
    ) -> Result<(), Failure> {
        let spec = &self.pod.spec;
        let exists = |container: &Container| in_sandbox(&container.name, &sandbox.id, existing).next().is_some();
        if spec.containers.iter().any(exists) {
            // All init containers completed before the first container was created.
            return Ok(());
        }
        for init in &spec.init_containers {
            let (id, attempt) = match decide(&init.name, &sandbox.id, existing) {
                Decision::Start { attempt } => (self.start(sandbox, init, attempt).await?, attempt),
                Decision::Replace { id, attempt } => {
                    self.stop(&id, UNKNOWN_STATE).await?;
                    (self.start(sandbox, init, attempt).await?, attempt)
                }
                Decision::Running { id, attempt } => (id, attempt),
                Decision::Exited { id, attempt } => match self.container_status(&id).await?.exit_code {
                    0 => continue,
                    _ => (self.start(sandbox, init, attempt + 1).await?, attempt + 1),
                },
            };
            let object = format!("init container {}", init.name);
            let exit = self.wait_for_state(&id, |state| state == ContainerState::ContainerExited, None);
            let status = self
                .call("ContainerStatus", object.clone(), exit, |status| format!("{object}: {}", describe(status)))
                .await?;
            if let Some(failure) = self.failure(init, attempt, &status) {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Starts a container, unless it runs or its restartPolicy leaves it exited.
    async fn ensure_container(
        &self,
        sandbox: &Sandbox,
        container: &Container,
        existing: &[proto::Container],
    ) -> Result<Outcome, Failure> {
        let attempt = match decide(&container.name, &sandbox.id, existing) {
            Decision::Start { attempt } => attempt,
            Decision::Replace { id, attempt } => {
                self.stop(&id, UNKNOWN_STATE).await?;
                attempt
            }
            Decision::Running { id, .. } => {
                self.warn_of_change(container, &id, existing);
                self.up.report.note(format_args!("container {} is running already, {}…", container.name, short(&id)));
                return Ok(Outcome::Unchanged);
            }
            Decision::Exited { id, attempt } => {
                let status = self.container_status(&id).await?;
                if !self.restarts(status.exit_code) {
                    let policy = self.pod.spec.restart_policy;
                    let name = &container.name;
                    let state = describe(&status);
                    self.up
                        .report
                        .note(format_args!("container {name}: {state}; restartPolicy {policy:?} does not restart it"));
                    return Ok(self.failure(container, attempt, &status).map_or(Outcome::Unchanged, Outcome::Failed));
                }
                attempt + 1
            }
        };
        let id = self.start(sandbox, container, attempt).await?;
        let object = format!("container {}", container.name);
        let limit = Some(self.up.client.timeout());
        let start = self.wait_for_state(&id, |state| state != ContainerState::ContainerCreated, limit);
        let status = self
            .call("ContainerStatus", object.clone(), start, |status| format!("{object}: {}", describe(status)))
            .await?;
        let failure = self.failure(container, attempt, &status);
        Ok(match (failure, status.state()) {
            (Some(failure), _) => Outcome::Failed(failure),
            // It completed already, so the later check must not expect it to run.
            (None, ContainerState::ContainerExited) => Outcome::Unchanged,
            (None, _) => Outcome::Started { id, attempt },
        })
    }

    /// The error of a container that exited with one.
    fn failure(&self, container: &Container, attempt: u32, status: &ContainerStatus) -> Option<Failure> {
        let failed = status.state() == ContainerState::ContainerExited && status.exit_code != 0;
        failed.then(|| Failure::Container {
            name: container.name.clone(),
            reason: self.exit_summary(container, attempt, status),
        })
    }

    fn restarts(&self, exit_code: i32) -> bool {
        match self.pod.spec.restart_policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }

    /// Notes that a running container was created from another manifest.
    fn warn_of_change(&self, container: &Container, id: &str, existing: &[proto::Container]) {
        let running = existing.iter().find(|other| other.id == id);
        let hash = running.and_then(|running| running.annotations.get(translate::HASH));
        if hash.is_some_and(|hash| *hash != container.hash) {
            let name = &container.name;
            self.up.report.note(format_args!(
                "container {name} was started from another manifest; to apply this one, run `dockside pod down {}` and then `up`",
                self.pod
            ));
        }
    }

    /// Ensures the image, creates and starts a container; returns its id.
    async fn start(&self, sandbox: &Sandbox, container: &Container, attempt: u32) -> Result<String, Failure> {
        let image = self.ensure_image(sandbox, container).await?;
        let mounts = self.files.mounts(container, attempt, &sandbox.hosts)?;
        let config = translate::container(self.pod, container, attempt, &image, mounts, self.up.host)
            .map_err(|reason| Failure::Container { name: container.name.clone(), reason })?;
        let object = format!("container {}", container.name);
        let create = self.up.client.create_container(&sandbox.id, config, sandbox.config.clone());
        let describe = |id: &String| format!("{object}, {}…{}", short(id), attempt_suffix(attempt));
        let id = self.call("CreateContainer", object.clone(), create, describe).await?;
        let start = self.up.client.start_container(&id);
        self.call("StartContainer", object.clone(), start, |()| object.clone()).await?;
        Ok(id)
    }

    /// Pulls the image if the container's policy says so.
    async fn ensure_image(&self, sandbox: &Sandbox, container: &Container) -> Result<Image, Failure> {
        let policy = translate::pull_policy(container);
        let found = self.image_status(container).await?;
        match (found, policy) {
            (Some(image), PullPolicy::IfNotPresent | PullPolicy::Never) => return Ok(image),
            (None, PullPolicy::Never) => {
                let reason = format!(
                    "image {} is not on this node, and imagePullPolicy Never does not allow to pull it",
                    container.image
                );
                return Err(Failure::Container { name: container.name.clone(), reason });
            }
            (_, PullPolicy::Always) | (None, PullPolicy::IfNotPresent) => {}
        }
        let pull = self.up.client.pull_image(translate::image_spec(self.pod, container), sandbox.config.clone());
        let object = format!("image {}", container.image);
        self.call("PullImage", object.clone(), pull, |id| format!("{object}, {}", short_image_id(id))).await?;
        self.image_status(container).await?.ok_or_else(|| {
            let reason = format!("image {} was pulled and does not exist", container.image);
            Failure::Container { name: container.name.clone(), reason }
        })
    }

    async fn image_status(&self, container: &Container) -> Result<Option<Image>, Failure> {
        let status = self.up.client.image_status(translate::image_spec(self.pod, container));
        let object = format!("image {}", container.image);
        let describe = |image: &Option<proto::Image>| match image {
            Some(image) => format!("{object}, {}", short_image_id(&image.id)),
            None => format!("{object}: not on this node"),
        };
        let found = self.call("ImageStatus", object.clone(), status, describe).await?;
        Ok(found.map(|image| Image { id: image.id, uid: image.uid.map(|uid| uid.value), username: image.username }))
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus, Failure> {
        let status = self.up.client.container_status(id);
        self.call("ContainerStatus", format!("container {}…", short(id)), status, describe).await
    }

    /// Calls ContainerStatus until `is_done` of the state, or until `limit` has passed; returns the last status.
    async fn wait_for_state(
        &self,
        id: &str,
        is_done: impl Fn(ContainerState) -> bool,
        limit: Option<Duration>,
    ) -> Result<ContainerStatus, tonic::Status> {
        let mut pause = POLL_MIN;
        let mut waited = Duration::ZERO;
        loop {
            let status = self.up.client.container_status(id).await?;
            if is_done(status.state()) || limit.is_some_and(|limit| waited >= limit) {
                return Ok(status);
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// How a container failed: exit code, log file and termination message.
    fn exit_summary(&self, container: &Container, attempt: u32, status: &ContainerStatus) -> String {
        let message = self.files.termination_message(container, attempt);
        let log = self.files.logs.join(translate::log_path(container, attempt));
        let message = if message.is_empty() { message } else { format!("\n{message}") };
        format!("{}, log {}{message}", describe(status), log.display())
    }

    /// Ensures all containers, also after one has failed; returns whether any was started.
    pub(super) async fn ensure_containers(
        &self,
        sandbox: &Sandbox,
        existing: &[proto::Container],
    ) -> Result<bool, Failure> {
        let (mut started, mut failed) = (Vec::new(), Vec::new());
        for container in &self.pod.spec.containers {
            match self.ensure_container(sandbox, container, existing).await? {
                Outcome::Started { id, attempt } => started.push((container, id, attempt)),
                Outcome::Unchanged => {}
                Outcome::Failed(failure) => failed.push(failure),
            }
        }
        failed.extend(self.recheck(&started).await?);
        let last = failed.pop();
        for failure in failed {
            self.up.report.note(failure);
        }
        last.map_or(Ok(!started.is_empty()), Err)
    }

    /// Checks the started containers again, a moment later; returns the errors of those that exited with one.
    async fn recheck(&self, started: &[(&Container, String, u32)]) -> Result<Vec<Failure>, Failure> {
        if started.is_empty() {
            return Ok(Vec::new());
        }
        tokio::time::sleep(RECHECK_DELAY).await;
        let metadata = &self.pod.metadata;
        let list = self.up.client.list_containers(Some((&metadata.namespace, &metadata.name)));
        let exited = |list: &[proto::Container], id: &str| {
            list.iter().any(|other| other.id == id && other.state() == ContainerState::ContainerExited)
        };
        let describe = |list: &Vec<proto::Container>| {
            let running = started.iter().filter(|(_, id, _)| !exited(list, id)).count();
            format!("a moment later: {running} of {} started containers running", started.len())
        };
        let list = self.call("ListContainers", format!("pod {}", self.pod), list, describe).await?;
        let mut failed = Vec::new();
        for (container, id, attempt) in started.iter().filter(|(_, id, _)| exited(&list, id)) {
            let status = self.container_status(id).await?;
            failed.extend(self.failure(container, *attempt, &status));
        }
        Ok(failed)
    }
}

/// The state of a container in words.
fn describe(status: &ContainerStatus) -> String {
    let mut text = match status.state() {
        ContainerState::ContainerCreated => "created".to_owned(),
        ContainerState::ContainerRunning => "running".to_owned(),
        ContainerState::ContainerExited => format!("exited with code {}", status.exit_code),
        ContainerState::ContainerUnknown => "unknown".to_owned(),
    };
    if status.state() == ContainerState::ContainerExited
        && !matches!(status.reason.as_str(), "" | "Completed" | "Error")
    {
        text.push_str(&format!(" ({})", status.reason));
    }
    if !status.message.is_empty() {
        text.push_str(&format!(": {}", status.message));
    }
    text
}

/// An image's id without its algorithm, shortened.
fn short_image_id(id: &str) -> String {
    format!("{}…", short(id.strip_prefix("sha256:").unwrap_or(id)))
}
