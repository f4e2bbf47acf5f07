//! `dockside pod up`: what a kubelet does when a Pod is bound to its node, once.
//!
//! A pass over the Pod as the kubelet makes one each time something changed: whatever is missing is made, in
//! order, and whatever is there already is left alone. So running it again continues where a failure stopped it.

mod containers;
mod decide;

use std::path::PathBuf;

use super::client::Client;
use super::files;
use super::files::Files;
use super::files::Places;
use super::host::Host;
use super::manifest::DnsPolicy;
use super::manifest::Manifest;
use super::manifest::Pod;
use super::manifest::RestartPolicy;
use super::report::Report;
use super::report::short;
use super::report::told;
use super::translate;
use crate::proto;
use crate::proto::ContainerState;
use crate::proto::PodSandboxConfig;
use crate::proto::PodSandboxState;
use crate::proto::PodSandboxStatus;

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
    /// The Pod's /etc/hosts.
    hosts: PathBuf,
}

/// One pass over one Pod.
struct Pass<'a> {
    up: &'a Up<'a>,
    pod: &'a Pod,
    files: Files<'a>,
}

impl Pass<'_> {
    async fn run(&self) -> Result<String, Failure> {
        let (sandboxes, existing) = self.look().await?;
        self.files.prepare()?;
        let (id, attempt, is_new) = self.sandbox(&sandboxes, &existing).await?;
        let status = self.status(&id).await?;
        let ips = ips(&status);
        let sandbox =
            Sandbox { config: self.config(attempt), hosts: self.files.write_hosts(&ips, &self.up.host.hosts)?, id };
        self.initialize(&sandbox, &existing).await?;
        let started = self.contain_all(&sandbox, &existing).await?;
        Ok(self.summary(is_new || started, &ips))
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
    async fn sandbox(
        &self,
        sandboxes: &[proto::PodSandbox],
        containers: &[proto::Container],
    ) -> Result<(String, u32, bool), Failure> {
        let newest = sandboxes.iter().max_by_key(|sandbox| (attempt(sandbox), sandbox.created_at));
        if let Some(ready) = newest.filter(|sandbox| sandbox.state() == PodSandboxState::SandboxReady) {
            return Ok((ready.id.clone(), attempt(ready), false));
        }
        self.stop_dead(sandboxes, containers).await?;
        let attempt = newest.map_or(0, |dead| attempt(dead) + 1);
        let object = format!("pod {}", self.pod);
        let run = self.up.client.run_pod_sandbox(self.config(attempt), &self.pod.spec.runtime_class_name);
        let told = |id: &String| format!("{object}, sandbox {}…{}", short(id), nth(attempt));
        let id = self.call("RunPodSandbox", object.clone(), run, told).await?;
        Ok((id, attempt, true))
    }

    /// Stops what is left of dead sandboxes: containers can outlive theirs, and its address and host ports are
    /// given back only when it is stopped.
    async fn stop_dead(&self, sandboxes: &[proto::PodSandbox], containers: &[proto::Container]) -> Result<(), Failure> {
        for left in containers.iter().filter(|container| may_run(container)) {
            self.stop(&left.id, "of a dead sandbox").await?;
        }
        for dead in sandboxes {
            let object = format!("sandbox {}…", short(&dead.id));
            let stop = self.up.client.stop_pod_sandbox(&dead.id);
            self.call("StopPodSandbox", object.clone(), stop, |()| format!("{object}, which is dead")).await?;
        }
        Ok(())
    }

    async fn stop(&self, container: &str, which: &str) -> Result<(), Failure> {
        let object = format!("container {}…", short(container));
        let stop = self.up.client.stop_container(container, self.pod.spec.termination_grace_period_seconds);
        self.call("StopContainer", object.clone(), stop, |()| format!("{object} {which}")).await
    }

    async fn status(&self, id: &str) -> Result<PodSandboxStatus, Failure> {
        let status = self.up.client.pod_sandbox_status(id);
        let told = |status: &PodSandboxStatus| match ips(status).as_slice() {
            [] => "no IP".to_owned(),
            ips => format!("IP {}", ips.join(", ")),
        };
        self.call("PodSandboxStatus", format!("sandbox {}…", short(id)), status, told).await
    }
}

/// Whether a container runs, as far as is known.
pub(super) fn may_run(container: &proto::Container) -> bool {
    matches!(container.state(), ContainerState::ContainerRunning | ContainerState::ContainerUnknown)
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

/// Said only of what is not the first.
fn nth(attempt: u32) -> String {
    if attempt == 0 { String::new() } else { format!(", attempt {attempt}") }
}
