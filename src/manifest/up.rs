//! `dockside pod up`: one pass of what the kubelet does for a Pod bound to its node.
//!
//! The pass creates what is missing, in order, and leaves what exists as it is, as each of the kubelet's passes does. So
//! running it again continues where a failure stopped it.

mod containers;
mod decide;

use std::path::PathBuf;

use super::client::Client;
use super::directory;
use super::files::Files;
use super::files::PodDirs;
use super::host::Host;
use super::load::Manifest;
use super::report::Report;
use super::report::describe_status;
use super::report::short;
use super::translate;
use super::types::DnsPolicy;
use super::types::Pod;
use super::types::RestartPolicy;
use crate::proto;
use crate::proto::ContainerState;
use crate::proto::PodSandboxConfig;
use crate::proto::PodSandboxState;
use crate::proto::PodSandboxStatus;

/// Why a Pod could not be brought up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{call} of {object}: {}", describe_status(status))]
    Call { call: &'static str, object: String, status: tonic::Status },

    #[error(transparent)]
    Files(#[from] directory::Error),

    #[error("container {name}: {reason}")]
    Container { name: String, reason: String },

    #[error("{0}")]
    Pod(String),
}

/// Everything `up` works with.
pub(super) struct Up<'a> {
    pub(super) client: &'a Client,
    pub(super) report: &'a Report,
    pub(super) dirs: &'a PodDirs,
    pub(super) host: &'a Host,
}

impl Up<'_> {
    /// Brings one Pod up and reports each step, and on failure what to do next; returns whether it succeeded.
    pub(super) async fn bring_up(&self, manifest: &Manifest) -> bool {
        let pod = &manifest.pod;
        self.report.line(format_args!("pod {pod}"));
        for note in manifest.notes.iter().cloned().chain(self.notes(pod)) {
            self.report.note(note);
        }
        let pass = Pass { up: self, pod, files: Files::of(pod, self.dirs) };
        match pass.run().await {
            Ok(summary) => {
                self.report.line(summary);
                true
            }
            Err(failure) => {
                self.report.line(format_args!("pod {pod} is not up: {failure}"));
                self.report.line(format_args!("What was created stays; run `up` again to continue."));
                self.report.line(format_args!("To remove it: dockside pod down {pod}"));
                false
            }
        }
    }

    /// What a kubelet in a cluster would do and this command does not.
    fn notes(&self, pod: &Pod) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(policy @ (DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet)) = pod.spec.dns_policy {
            notes.push(format!(
                "dnsPolicy {policy:?}: there is no cluster DNS, so the pod uses the resolver of this node"
            ));
        }
        if pod.spec.dns_policy != Some(DnsPolicy::None) && !pod.spec.host_network && self.host.resolver_is_unreachable()
        {
            notes.push("the name servers of this node listen on loopback, where the pod cannot reach them".into());
        }
        if pod.spec.restart_policy != RestartPolicy::Never {
            let policy = pod.spec.restart_policy;
            notes.push(format!(
                "restartPolicy {policy:?}: the pod is not watched; run `up` again to restart exited containers"
            ));
        }
        notes
    }
}

/// The sandbox of the containers.
struct Sandbox {
    id: String,
    config: PodSandboxConfig,
    /// The file that containers see as /etc/hosts.
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
        let (sandboxes, existing) = self.list_existing().await?;
        self.files.prepare()?;
        let (id, attempt, is_new) = self.ensure_sandbox(&sandboxes, &existing).await?;
        let status = self.status(&id).await?;
        let ips = ips(&status);
        let sandbox =
            Sandbox { config: self.config(attempt), hosts: self.files.write_hosts(&ips, &self.up.host.hosts)?, id };
        self.run_init_containers(&sandbox, &existing).await?;
        let started = self.ensure_containers(&sandbox, &existing).await?;
        Ok(self.summary(is_new || started, &ips))
    }

    fn summary(&self, changed: bool, ips: &[String]) -> String {
        let state = if changed { "is up" } else { "was up already" };
        let address = if self.pod.spec.host_network {
            "on the network of this node".to_owned()
        } else if ips.is_empty() {
            "without an IP".to_owned()
        } else {
            format!("IP {}", ips.join(", "))
        };
        format!("pod {} {state}, {address}", self.pod)
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
        describe: impl FnOnce(&T) -> String,
    ) -> Result<T, Failure> {
        let result = self.up.report.step(call, &object, work, describe).await;
        result.map_err(|status| Failure::Call { call, object, status })
    }

    /// The sandboxes and containers of this Pod.
    async fn list_existing(&self) -> Result<(Vec<proto::PodSandbox>, Vec<proto::Container>), Failure> {
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

    /// The sandbox that is ready, or else a new one; returns its id, its attempt, and whether it is new.
    async fn ensure_sandbox(
        &self,
        sandboxes: &[proto::PodSandbox],
        containers: &[proto::Container],
    ) -> Result<(String, u32, bool), Failure> {
        let newest = sandboxes.iter().max_by_key(|sandbox| (attempt(sandbox), sandbox.created_at));
        if let Some(ready) = newest.filter(|sandbox| sandbox.state() == PodSandboxState::SandboxReady) {
            return Ok((ready.id.clone(), attempt(ready), false));
        }
        self.stop_not_ready(sandboxes, containers).await?;
        let attempt = newest.map_or(0, |sandbox| attempt(sandbox) + 1);
        let object = format!("pod {}", self.pod);
        let run = self.up.client.run_pod_sandbox(self.config(attempt), &self.pod.spec.runtime_class_name);
        let describe = |id: &String| format!("{object}, sandbox {}…{}", short(id), attempt_suffix(attempt));
        let id = self.call("RunPodSandbox", object.clone(), run, describe).await?;
        Ok((id, attempt, true))
    }

    /// Stops sandboxes that are not ready, and their containers: a container can outlive its sandbox, and only StopPodSandbox
    /// releases address and host ports.
    async fn stop_not_ready(
        &self,
        sandboxes: &[proto::PodSandbox],
        containers: &[proto::Container],
    ) -> Result<(), Failure> {
        for container in containers.iter().filter(|container| may_run(container)) {
            self.stop(&container.id, "of a sandbox that is not ready").await?;
        }
        for sandbox in sandboxes {
            let object = format!("sandbox {}…", short(&sandbox.id));
            let stop = self.up.client.stop_pod_sandbox(&sandbox.id);
            self.call("StopPodSandbox", object.clone(), stop, |()| format!("{object}, which is not ready")).await?;
        }
        Ok(())
    }

    async fn stop(&self, container: &str, reason: &str) -> Result<(), Failure> {
        let object = format!("container {}…", short(container));
        let stop = self.up.client.stop_container(container, self.pod.spec.termination_grace_period_seconds);
        self.call("StopContainer", object.clone(), stop, |()| format!("{object} {reason}")).await
    }

    async fn status(&self, id: &str) -> Result<PodSandboxStatus, Failure> {
        let status = self.up.client.pod_sandbox_status(id);
        let describe = |status: &PodSandboxStatus| match ips(status).as_slice() {
            [] => "no IP".to_owned(),
            ips => format!("IP {}", ips.join(", ")),
        };
        self.call("PodSandboxStatus", format!("sandbox {}…", short(id)), status, describe).await
    }
}

/// Whether a container runs, or is in an unknown state and may run.
pub(super) fn may_run(container: &proto::Container) -> bool {
    matches!(container.state(), ContainerState::ContainerRunning | ContainerState::ContainerUnknown)
}

fn uid(sandbox: &proto::PodSandbox) -> &str {
    sandbox.metadata.as_ref().map_or("", |metadata| &metadata.uid)
}

fn attempt(sandbox: &proto::PodSandbox) -> u32 {
    sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

/// The addresses of a Pod, the primary one first; none with hostNetwork.
pub(super) fn ips(status: &PodSandboxStatus) -> Vec<String> {
    let network = status.network.iter();
    let ips =
        network.flat_map(|network| std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|ip| &ip.ip)));
    ips.filter(|ip| !ip.is_empty()).cloned().collect()
}

/// Names an attempt other than the first.
fn attempt_suffix(attempt: u32) -> String {
    if attempt == 0 { String::new() } else { format!(", attempt {attempt}") }
}
