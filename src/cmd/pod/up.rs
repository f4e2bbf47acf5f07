//! `dockside pod up`: what a kubelet does when a Pod is bound to its node, once.
//!
//! A pass over the Pod as the kubelet makes one each time something changed: whatever is missing is made, in
//! order, and whatever is there already is left alone. So running it again continues where a failure stopped it.

use std::time::Duration;

use super::client::Client;
use super::files;
use super::files::Files;
use super::files::Places;
use super::host::Host;
use super::manifest::Container;
use super::manifest::DnsPolicy;
use super::manifest::Manifest;
use super::manifest::Pod;
use super::manifest::PullPolicy;
use super::manifest::RestartPolicy;
use super::report::Report;
use super::report::short;
use super::report::told;
use super::translate;
use super::translate::Image;
use crate::proto;
use crate::proto::ContainerState;
use crate::proto::ContainerStatus;
use crate::proto::PodSandboxConfig;
use crate::proto::PodSandboxState;
use crate::proto::PodSandboxStatus;

/// How often a container is looked at while it is waited for: often at first, less often later.
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);

/// What stopped a Pod on its way up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{call} of {object}: {}", told(status))]
    Call { call: &'static str, object: String, status: tonic::Status },

    #[error(transparent)]
    Files(#[from] files::Error),

    #[error("container {name}: {reason}")]
    Container { name: String, reason: String },

    #[error("{0}")]
    Pod(String),
}

/// Everything `up` works with.
pub(super) struct Up<'a> {
    pub(super) client: &'a Client,
    pub(super) report: &'a Report,
    pub(super) places: &'a Places,
    pub(super) host: &'a Host,
}

impl Up<'_> {
    /// Brings one Pod up. Says what it does, and on failure what to do next; the answer is whether it worked.
    pub(super) async fn bring_up(&self, manifest: &Manifest) -> bool {
        let pod = &manifest.pod;
        self.report.line(format_args!("pod {pod}"));
        for note in manifest.notes.iter().cloned().chain(self.notes(pod)) {
            self.report.note(note);
        }
        let pass = Pass { up: self, pod, files: Files::of(pod, self.places) };
        match pass.run().await {
            Ok(summary) => {
                self.report.line(summary);
                true
            }
            Err(failure) => {
                self.report.line(format_args!("pod {pod} is not up: {failure}"));
                self.report.line(format_args!("What was made is still there; `up` again continues."));
                self.report.line(format_args!("To remove it: dockside pod down {pod}"));
                false
            }
        }
    }

    /// What a kubelet in a cluster would do differently.
    fn notes(&self, pod: &Pod) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(policy @ (DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet)) = pod.spec.dns_policy {
            notes
                .push(format!("dnsPolicy {policy:?}: there is no cluster DNS, so names are looked up as on this node"));
        }
        if pod.spec.dns_policy != Some(DnsPolicy::None) && !pod.spec.host_network && self.host.hides_its_resolver() {
            notes.push("the name servers of this node are on its loopback, where the pod cannot reach them".into());
        }
        if pod.spec.restart_policy != RestartPolicy::Never {
            let policy = pod.spec.restart_policy;
            notes.push(format!("restartPolicy {policy:?}: nobody watches, `up` again restarts what has ended"));
        }
        notes
    }
}

/// The sandbox containers are made in.
struct Sandbox {
    id: String,
    config: PodSandboxConfig,
    hosts: std::path::PathBuf,
}

/// One pass over one Pod.
struct Pass<'a> {
    up: &'a Up<'a>,
    pod: &'a Pod,
    files: Files<'a>,
}

/// What to do about a container.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Make a new one, of this attempt.
    Start { attempt: u32 },
    /// It runs.
    Running { id: String, attempt: u32 },
    /// It has ended; what follows depends on how.
    Ended { id: String, attempt: u32 },
}

impl Pass<'_> {
    async fn run(&self) -> Result<String, Failure> {
        let (sandboxes, existing) = self.look().await?;
        self.files.prepare()?;
        let (id, attempt, is_new) = self.sandbox(&sandboxes).await?;
        let status = self.status(&id).await?;
        let ips = ips(&status);
        let sandbox =
            Sandbox { config: self.config(attempt), hosts: self.files.write_hosts(&ips, &self.up.host.hosts)?, id };
        self.initialize(&sandbox, &existing).await?;
        let mut changed = is_new;
        let mut failed = Vec::new();
        for container in &self.pod.spec.containers {
            match self.contain(&sandbox, container, &existing).await? {
                Outcome::Started => changed = true,
                Outcome::Left => {}
                Outcome::Failed(reason) => failed.push(Failure::Container { name: container.name.clone(), reason }),
            }
        }
        // A kubelet goes on with the other containers too.
        match failed.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(self.summary(changed, &ips)),
        }
    }

    fn summary(&self, changed: bool, ips: &[String]) -> String {
        let state = if changed { "is up" } else { "was up already" };
        let place = if self.pod.spec.host_network {
            "on the network of this node".to_owned()
        } else if ips.is_empty() {
            "without an IP".to_owned()
        } else {
            format!("IP {}", ips.join(", "))
        };
        format!("pod {} {state}, {place}", self.pod)
    }

    fn config(&self, attempt: u32) -> PodSandboxConfig {
        translate::sandbox(self.pod, attempt, &self.files.logs, self.up.host)
    }

    /// Runs a call as a step of the report.
    async fn call<T>(
        &self,
        call: &'static str,
        object: String,
        work: impl Future<Output = Result<T, tonic::Status>>,
        told: impl FnOnce(&T) -> String,
    ) -> Result<T, Failure> {
        let result = self.up.report.step(call, &object, work, told).await;
        result.map_err(|status| Failure::Call { call, object, status })
    }

    /// What there is of this Pod already.
    async fn look(&self) -> Result<(Vec<proto::PodSandbox>, Vec<proto::Container>), Failure> {
        let client = self.up.client;
        let metadata = &self.pod.metadata;
        let pod = Some((metadata.namespace.as_str(), metadata.name.as_str()));
        let object = format!("pod {}", self.pod);
        let count = |count: usize| if count == 0 { "none yet".to_owned() } else { format!("{count} of this pod") };
        let list = client.list_pod_sandbox(pod);
        let sandboxes = self.call("ListPodSandbox", object.clone(), list, |list| count(list.len())).await?;
        let (own, other): (Vec<_>, Vec<_>) = sandboxes.into_iter().partition(|sandbox| uid(sandbox) == metadata.uid);
        if let Some(other) = other.iter().find(|sandbox| sandbox.state() == PodSandboxState::SandboxReady) {
            let reason = format!("a pod of this name with another UID, {}, is running: take it down first", uid(other));
            return Err(Failure::Pod(reason));
        }
        if own.is_empty() {
            return Ok((own, Vec::new()));
        }
        let list = client.list_containers(pod);
        let mut containers = self.call("ListContainers", object, list, |list| count(list.len())).await?;
        containers.retain(|container| container.labels.get(translate::POD_UID) == Some(&metadata.uid));
        Ok((own, containers))
    }

    /// The sandbox that is ready, or else a new one; its id, its attempt, and whether it is new.
    async fn sandbox(&self, existing: &[proto::PodSandbox]) -> Result<(String, u32, bool), Failure> {
        let newest = existing.iter().max_by_key(|sandbox| (attempt(sandbox), sandbox.created_at));
        if let Some(ready) = newest.filter(|sandbox| sandbox.state() == PodSandboxState::SandboxReady) {
            return Ok((ready.id.clone(), attempt(ready), false));
        }
        let attempt = newest.map_or(0, |dead| attempt(dead) + 1);
        let object = format!("pod {}", self.pod);
        let run = self.up.client.run_pod_sandbox(self.config(attempt), &self.pod.spec.runtime_class_name);
        let told = |id: &String| format!("{object}, sandbox {}…{}", short(id), nth(attempt));
        let id = self.call("RunPodSandbox", object.clone(), run, told).await?;
        Ok((id, attempt, true))
    }

    async fn status(&self, id: &str) -> Result<PodSandboxStatus, Failure> {
        let status = self.up.client.pod_sandbox_status(id);
        let told = |status: &PodSandboxStatus| match ips(status).as_slice() {
            [] => "no IP".to_owned(),
            ips => format!("IP {}", ips.join(", ")),
        };
        self.call("PodSandboxStatus", format!("sandbox {}…", short(id)), status, told).await
    }

    /// Runs the init containers, one after the other, each to its end.
    async fn initialize(&self, sandbox: &Sandbox, existing: &[proto::Container]) -> Result<(), Failure> {
        let spec = &self.pod.spec;
        let here = |container: &Container| here(&container.name, sandbox, existing).next().is_some();
        if spec.containers.iter().any(here) {
            // They were all done before a container was made.
            return Ok(());
        }
        for init in &spec.init_containers {
            let (id, attempt) = match decide(&init.name, sandbox, existing) {
                Decision::Start { attempt } => (self.start(sandbox, init, attempt).await?, attempt),
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
            if ended.exit_code != 0 {
                return Err(Failure::Container { name: init.name.clone(), reason: self.end(init, attempt, &ended) });
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
        let attempt = match decide(&container.name, sandbox, existing) {
            Decision::Start { attempt } => attempt,
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
                    return Ok(self.outcome(container, attempt, &status, Outcome::Left));
                }
                attempt + 1
            }
        };
        let id = self.start(sandbox, container, attempt).await?;
        let object = format!("container {}", container.name);
        let begun = self.until(&id, |state| state != ContainerState::ContainerCreated, Some(self.up.client.timeout()));
        let status =
            self.call("ContainerStatus", object.clone(), begun, |status| format!("{object}: {}", fate(status))).await?;
        Ok(self.outcome(container, attempt, &status, Outcome::Started))
    }

    fn outcome(&self, container: &Container, attempt: u32, status: &ContainerStatus, well: Outcome) -> Outcome {
        if status.state() == ContainerState::ContainerExited && status.exit_code != 0 {
            return Outcome::Failed(self.end(container, attempt, status));
        }
        well
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
}

/// What came of a container.
enum Outcome {
    /// It was started now.
    Started,
    /// Nothing was to be done.
    Left,
    /// It ended with an error.
    Failed(String),
}

/// The containers of that name in this sandbox.
fn here<'a>(
    name: &'a str,
    sandbox: &'a Sandbox,
    existing: &'a [proto::Container],
) -> impl Iterator<Item = &'a proto::Container> {
    named(name, existing).filter(|container| container.pod_sandbox_id == sandbox.id)
}

fn named<'a>(name: &'a str, existing: &'a [proto::Container]) -> impl Iterator<Item = &'a proto::Container> {
    existing.iter().filter(move |container| container.metadata.as_ref().is_some_and(|metadata| metadata.name == name))
}

fn container_attempt(container: &proto::Container) -> u32 {
    container.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

/// What to do about the container of that name. A number is never used twice for a name, not even in another sandbox: names
/// of containers and logs have it. One that was made and not started stays as it is; the kubelet makes another one too.
fn decide(name: &str, sandbox: &Sandbox, existing: &[proto::Container]) -> Decision {
    let latest = here(name, sandbox, existing).max_by_key(|container| container_attempt(container));
    let next = named(name, existing).map(|container| container_attempt(container) + 1).max().unwrap_or(0);
    let Some(latest) = latest else { return Decision::Start { attempt: next } };
    let (id, attempt) = (latest.id.clone(), container_attempt(latest));
    match latest.state() {
        ContainerState::ContainerRunning => Decision::Running { id, attempt },
        ContainerState::ContainerExited => Decision::Ended { id, attempt },
        ContainerState::ContainerCreated | ContainerState::ContainerUnknown => Decision::Start { attempt: next },
    }
}

fn uid(sandbox: &proto::PodSandbox) -> &str {
    sandbox.metadata.as_ref().map_or("", |metadata| &metadata.uid)
}

fn attempt(sandbox: &proto::PodSandbox) -> u32 {
    sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

/// The addresses of a Pod, the primary one first.
pub(super) fn ips(status: &PodSandboxStatus) -> Vec<String> {
    let network = status.network.iter();
    let ips =
        network.flat_map(|network| std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|ip| &ip.ip)));
    ips.filter(|ip| !ip.is_empty()).cloned().collect()
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

/// Said only of what is not the first.
fn nth(attempt: u32) -> String {
    if attempt == 0 { String::new() } else { format!(", attempt {attempt}") }
}
