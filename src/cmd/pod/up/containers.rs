//! The containers of a Pod in its sandbox: image, CreateContainer, StartContainer, and what became of them.

use std::time::Duration;

use super::Failure;
use super::Pass;
use super::Sandbox;
use super::decide::Decision;
use super::decide::decide;
use super::decide::here;
use super::nth;
use crate::cmd::pod::manifest::Container;
use crate::cmd::pod::manifest::PullPolicy;
use crate::cmd::pod::manifest::RestartPolicy;
use crate::cmd::pod::report::short;
use crate::cmd::pod::translate;
use crate::cmd::pod::translate::Image;
use crate::proto;
use crate::proto::ContainerState;
use crate::proto::ContainerStatus;

/// How often a container is looked at while it is waited for: often at first, less often later.
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);
/// Said of a container that is stopped to be replaced.
const UNSURE: &str = "of which is not known whether it runs";
/// How long after the last start containers are looked at once more.
const SETTLE: Duration = Duration::from_millis(250);

/// What came of a container.
enum Outcome {
    /// It was started now, and runs.
    Started { id: String, attempt: u32 },
    /// There is nothing more to do.
    Left,
    /// It ended with an error.
    Failed(Failure),
}

impl Pass<'_> {
    /// Runs the init containers, one after the other, each to its end.
    pub(super) async fn initialize(&self, sandbox: &Sandbox, existing: &[proto::Container]) -> Result<(), Failure> {
        let spec = &self.pod.spec;
        let here = |container: &Container| here(&container.name, &sandbox.id, existing).next().is_some();
        if spec.containers.iter().any(here) {
            // They were all done before a container was made.
            return Ok(());
        }
        for init in &spec.init_containers {
            let (id, attempt) = match decide(&init.name, &sandbox.id, existing) {
                Decision::Start { attempt } => (self.start(sandbox, init, attempt).await?, attempt),
                Decision::Replace { id, attempt } => {
                    self.stop(&id, UNSURE).await?;
                    (self.start(sandbox, init, attempt).await?, attempt)
                }
                Decision::Running { id, attempt } => (id, attempt),
                Decision::Ended { id, attempt } => match self.look_at(&id).await?.exit_code {
                    0 => continue,
                    _ => (self.start(sandbox, init, attempt + 1).await?, attempt + 1),
                },
            };
            let object = format!("init container {}", init.name);
            let ended = self.until(&id, |state| state == ContainerState::ContainerExited, None);
            let ended = self
                .call("ContainerStatus", object.clone(), ended, |status| format!("{object}: {}", fate(status)))
                .await?;
            if let Some(failure) = self.failure(init, attempt, &ended) {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Sees to it that a container runs, or has run.
    async fn contain(
        &self,
        sandbox: &Sandbox,
        container: &Container,
        existing: &[proto::Container],
    ) -> Result<Outcome, Failure> {
        let attempt = match decide(&container.name, &sandbox.id, existing) {
            Decision::Start { attempt } => attempt,
            Decision::Replace { id, attempt } => {
                self.stop(&id, UNSURE).await?;
                attempt
            }
            Decision::Running { id, .. } => {
                self.warn_of_change(container, &id, existing);
                self.up.report.note(format_args!("container {} runs already, {}…", container.name, short(&id)));
                return Ok(Outcome::Left);
            }
            Decision::Ended { id, attempt } => {
                let status = self.look_at(&id).await?;
                if !self.restarts(status.exit_code) {
                    let policy = self.pod.spec.restart_policy;
                    let name = &container.name;
                    let told =
                        format!("container {name} has ended: {}; restartPolicy {policy:?} leaves it so", fate(&status));
                    self.up.report.note(told);
                    return Ok(self.failure(container, attempt, &status).map_or(Outcome::Left, Outcome::Failed));
                }
                attempt + 1
            }
        };
        let id = self.start(sandbox, container, attempt).await?;
        let object = format!("container {}", container.name);
        let begun = self.until(&id, |state| state != ContainerState::ContainerCreated, Some(self.up.client.timeout()));
        let status =
            self.call("ContainerStatus", object.clone(), begun, |status| format!("{object}: {}", fate(status))).await?;
        let failure = self.failure(container, attempt, &status);
        Ok(match (failure, status.state()) {
            (Some(failure), _) => Outcome::Failed(failure),
            // Done already. Nothing is to be seen of it later.
            (None, ContainerState::ContainerExited) => Outcome::Left,
            (None, _) => Outcome::Started { id, attempt },
        })
    }

    /// What to say about a container if it ended with an error.
    fn failure(&self, container: &Container, attempt: u32, status: &ContainerStatus) -> Option<Failure> {
        let failed = status.state() == ContainerState::ContainerExited && status.exit_code != 0;
        failed
            .then(|| Failure::Container { name: container.name.clone(), reason: self.end(container, attempt, status) })
    }

    fn restarts(&self, exit_code: i32) -> bool {
        match self.pod.spec.restart_policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }

    fn warn_of_change(&self, container: &Container, id: &str, existing: &[proto::Container]) {
        let running = existing.iter().find(|other| other.id == id);
        let hash = running.and_then(|running| running.annotations.get(translate::HASH));
        if hash.is_some_and(|hash| *hash != container.hash) {
            let name = &container.name;
            self.up.report.note(format_args!(
                "container {name} was started from another manifest; to apply this one: dockside pod down {}, then up",
                self.pod
            ));
        }
    }

    /// Image, CreateContainer, StartContainer; returns the id.
    async fn start(&self, sandbox: &Sandbox, container: &Container, attempt: u32) -> Result<String, Failure> {
        let image = self.image(sandbox, container).await?;
        let mounts = self.files.mounts(container, attempt, &sandbox.hosts)?;
        let config = translate::container(self.pod, container, attempt, &image, mounts, self.up.host)
            .map_err(|reason| Failure::Container { name: container.name.clone(), reason })?;
        let object = format!("container {}", container.name);
        let create = self.up.client.create_container(&sandbox.id, config, sandbox.config.clone());
        let told = |id: &String| format!("{object}, {}…{}", short(id), nth(attempt));
        let id = self.call("CreateContainer", object.clone(), create, told).await?;
        let start = self.up.client.start_container(&id);
        self.call("StartContainer", object.clone(), start, |()| object.clone()).await?;
        Ok(id)
    }

    /// Makes sure that the image is here, by the container's policy.
    async fn image(&self, sandbox: &Sandbox, container: &Container) -> Result<Image, Failure> {
        let policy = translate::pull_policy(container);
        let found = self.image_status(container).await?;
        match (found, policy) {
            (Some(image), PullPolicy::IfNotPresent | PullPolicy::Never) => return Ok(image),
            (None, PullPolicy::Never) => {
                let reason = format!(
                    "image {} is not on this node, and imagePullPolicy Never forbids to pull it",
                    container.image
                );
                return Err(Failure::Container { name: container.name.clone(), reason });
            }
            (_, PullPolicy::Always) | (None, PullPolicy::IfNotPresent) => {}
        }
        let pull = self.up.client.pull_image(translate::image_spec(self.pod, container), sandbox.config.clone());
        let object = format!("image {}", container.image);
        self.call("PullImage", object.clone(), pull, |id| format!("{object}, {}", brief(id))).await?;
        self.image_status(container).await?.ok_or_else(|| {
            let reason = format!("image {} was pulled, and is not there", container.image);
            Failure::Container { name: container.name.clone(), reason }
        })
    }

    async fn image_status(&self, container: &Container) -> Result<Option<Image>, Failure> {
        let status = self.up.client.image_status(translate::image_spec(self.pod, container));
        let object = format!("image {}", container.image);
        let told = |image: &Option<proto::Image>| match image {
            Some(image) => format!("{object}, {}", brief(&image.id)),
            None => format!("{object}: not here"),
        };
        let found = self.call("ImageStatus", object.clone(), status, told).await?;
        Ok(found.map(|image| Image { id: image.id, uid: image.uid.map(|uid| uid.value), username: image.username }))
    }

    async fn look_at(&self, id: &str) -> Result<ContainerStatus, Failure> {
        let status = self.up.client.container_status(id);
        self.call("ContainerStatus", format!("container {}…", short(id)), status, fate).await
    }

    /// Looks at a container until its state is a wanted one, or `within` is over. Then its last status is the answer.
    async fn until(
        &self,
        id: &str,
        wanted: impl Fn(ContainerState) -> bool,
        within: Option<Duration>,
    ) -> Result<ContainerStatus, tonic::Status> {
        let mut pause = POLL_MIN;
        let mut waited = Duration::ZERO;
        loop {
            let status = self.up.client.container_status(id).await?;
            if wanted(status.state()) || within.is_some_and(|within| waited >= within) {
                return Ok(status);
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// How a container failed, for a person: its last words are most of what helps.
    fn end(&self, container: &Container, attempt: u32, status: &ContainerStatus) -> String {
        let said = self.files.last_words(container, attempt);
        let log = self.files.logs.join(translate::log_path(container, attempt));
        let said = if said.is_empty() { String::new() } else { format!("\n{said}") };
        format!("{}, log {}{said}", fate(status), log.display())
    }

    /// Sees to all containers; returns whether one was started. One that fails does not keep the others from starting.
    pub(super) async fn contain_all(&self, sandbox: &Sandbox, existing: &[proto::Container]) -> Result<bool, Failure> {
        let (mut started, mut failed) = (Vec::new(), Vec::new());
        for container in &self.pod.spec.containers {
            match self.contain(sandbox, container, existing).await? {
                Outcome::Started { id, attempt } => started.push((container, id, attempt)),
                Outcome::Left => {}
                Outcome::Failed(failure) => failed.push(failure),
            }
        }
        failed.extend(self.settle(&started).await?);
        let last = failed.pop();
        for failure in failed {
            self.up.report.note(failure);
        }
        last.map_or(Ok(!started.is_empty()), Err)
    }

    /// Looks once more at what was started, a moment later: most of what fails, fails at once.
    async fn settle(&self, started: &[(&Container, String, u32)]) -> Result<Vec<Failure>, Failure> {
        if started.is_empty() {
            return Ok(Vec::new());
        }
        tokio::time::sleep(SETTLE).await;
        let metadata = &self.pod.metadata;
        let list = self.up.client.list_containers(Some((&metadata.namespace, &metadata.name)));
        let ended = |list: &[proto::Container], id: &str| {
            list.iter().any(|other| other.id == id && other.state() == ContainerState::ContainerExited)
        };
        let told = |list: &Vec<proto::Container>| {
            let running = started.iter().filter(|(_, id, _)| !ended(list, id)).count();
            format!("a moment later: {running} of {} started containers running", started.len())
        };
        let list = self.call("ListContainers", format!("pod {}", self.pod), list, told).await?;
        let mut failed = Vec::new();
        for (container, id, attempt) in started.iter().filter(|(_, id, _)| ended(&list, id)) {
            let status = self.look_at(id).await?;
            failed.extend(self.failure(container, *attempt, &status));
        }
        Ok(failed)
    }
}

/// The state of a container, for a person.
fn fate(status: &ContainerStatus) -> String {
    let mut fate = match status.state() {
        ContainerState::ContainerCreated => "created".to_owned(),
        ContainerState::ContainerRunning => "running".to_owned(),
        ContainerState::ContainerExited => format!("exited with code {}", status.exit_code),
        ContainerState::ContainerUnknown => "unknown".to_owned(),
    };
    if status.state() == ContainerState::ContainerExited
        && !matches!(status.reason.as_str(), "" | "Completed" | "Error")
    {
        fate.push_str(&format!(" ({})", status.reason));
    }
    if !status.message.is_empty() {
        fate.push_str(&format!(": {}", status.message));
    }
    fate
}

/// An image's id without its algorithm, cut.
fn brief(id: &str) -> String {
    format!("{}…", short(id.strip_prefix("sha256:").unwrap_or(id)))
}
