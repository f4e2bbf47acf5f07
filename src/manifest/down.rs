//! `dockside pod down`: what the kubelet does when a Pod is deleted. It can be repeated, and works on unfinished Pods.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::check;
use super::client::Client;
use super::files;
use super::files::PodDirs;
use super::load;
use super::report::Report;
use super::report::describe_status;
use super::report::short;
use super::target::Target;
use super::translate::GRACE;
use super::translate::POD_UID;
use super::up::may_run;
use crate::proto::Container;
use crate::proto::PodSandbox;

/// The grace period in seconds of containers without the annotation: Kubernetes' default.
const DEFAULT_GRACE: i64 = 30;

/// Everything `down` works with.
pub(super) struct Down<'a> {
    pub(super) client: &'a Client,
    pub(super) report: &'a Report,
    pub(super) dirs: &'a PodDirs,
}

/// A step failed; the report has the error.
struct Failed;

impl Down<'_> {
    /// Takes one Pod down: processes, containers, sandboxes, files. Returns whether nothing is left of it.
    pub(super) async fn take_down(&self, target: &Target) -> bool {
        let pod = target.to_string();
        self.report.line(format_args!("pod {pod}"));
        match self.run(target, &pod).await {
            Ok(true) => {
                self.report.line(format_args!("pod {pod} is gone"));
                true
            }
            Ok(false) => {
                self.report.line(format_args!("pod {pod} was gone already"));
                true
            }
            Err(Failed) => {
                self.report.line(format_args!("pod {pod} is not gone; run `down` again to continue"));
                false
            }
        }
    }

    async fn run(&self, target: &Target, pod: &str) -> Result<bool, Failed> {
        let of = Some((target.namespace.as_str(), target.name.as_str()));
        let object = format!("pod {pod}");
        let list = self.client.list_pod_sandbox(of);
        let sandboxes = self.call("ListPodSandbox", &object, list, |list| found(list.len())).await?;
        let list = self.client.list_containers(of);
        let containers = self.call("ListContainers", &object, list, |list| found(list.len())).await?;

        // A container that does not stop is killed with its sandbox, so this failure is ignored.
        let _ = self.stop(&containers, target.grace).await;
        all(join_all(sandboxes.iter().map(|sandbox| self.stop_sandbox(sandbox))).await)?;
        all(join_all(containers.iter().map(|container| self.remove(container))).await)?;
        all(join_all(sandboxes.iter().map(|sandbox| self.remove_sandbox(sandbox))).await)?;
        let had_files = self.remove_files(target, &sandboxes, &containers)?;
        Ok(had_files || !sandboxes.is_empty() || !containers.is_empty())
    }

    /// Runs a call as a step of the report, and reports its error.
    async fn call<T>(
        &self,
        call: &str,
        object: &str,
        work: impl Future<Output = Result<T, tonic::Status>>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<T, Failed> {
        self.report.step(call, object, work, describe).await.map_err(|status| {
            self.report.note(format_args!("{call} of {object}: {}", describe_status(&status)));
            Failed
        })
    }

    /// Stops all containers that may run, concurrently: the grace period is the whole Pod's.
    async fn stop(&self, containers: &[Container], grace: Option<i64>) -> Result<(), Failed> {
        let stops = containers.iter().filter(|container| may_run(container)).map(|container| async move {
            let grace = grace.or_else(|| annotated_grace(container)).unwrap_or(DEFAULT_GRACE);
            let object = name(container);
            let stop = self.client.stop_container(&container.id, grace);
            self.call("StopContainer", &object, stop, |()| format!("{object}, grace {grace} s")).await
        });
        all(join_all(stops).await)
    }

    async fn stop_sandbox(&self, sandbox: &PodSandbox) -> Result<(), Failed> {
        let object = format!("sandbox {}…", short(&sandbox.id));
        self.call("StopPodSandbox", &object, self.client.stop_pod_sandbox(&sandbox.id), |()| object.clone()).await
    }

    async fn remove(&self, container: &Container) -> Result<(), Failed> {
        let object = name(container);
        self.call("RemoveContainer", &object, self.client.remove_container(&container.id), |()| object.clone()).await
    }

    async fn remove_sandbox(&self, sandbox: &PodSandbox) -> Result<(), Failed> {
        let object = format!("sandbox {}…", short(&sandbox.id));
        self.call("RemovePodSandbox", &object, self.client.remove_pod_sandbox(&sandbox.id), |()| object.clone()).await
    }

    fn remove_files(
        &self,
        target: &Target,
        sandboxes: &[PodSandbox],
        containers: &[Container],
    ) -> Result<bool, Failed> {
        let mut any = false;
        for uid in uids(target, sandboxes, containers) {
            match files::remove(self.dirs, &target.namespace, &target.name, &uid) {
                Ok(removed) => any |= removed,
                Err(error) => {
                    self.report.note(error);
                    return Err(Failed);
                }
            }
        }
        Ok(any)
    }
}

/// All UIDs under which the Pod may have files. They become part of paths that are removed, so UIDs from the runtime are
/// checked.
fn uids(target: &Target, sandboxes: &[PodSandbox], containers: &[Container]) -> BTreeSet<String> {
    let of_sandboxes = sandboxes.iter().filter_map(|sandbox| Some(sandbox.metadata.as_ref()?.uid.clone()));
    let of_containers = containers.iter().filter_map(|container| container.labels.get(POD_UID).cloned());
    let own = target.uid.clone().unwrap_or_else(|| load::uid(&target.namespace, &target.name));
    of_sandboxes.chain(of_containers).chain([own]).filter(|uid| check::is_uid(uid)).collect()
}

fn annotated_grace(container: &Container) -> Option<i64> {
    container.annotations.get(GRACE)?.parse().ok().filter(|grace| *grace >= 0)
}

fn name(container: &Container) -> String {
    let name = container.metadata.as_ref().map_or("", |metadata| metadata.name.as_str());
    format!("container {name}, {}…", short(&container.id))
}

fn found(count: usize) -> String {
    if count == 0 { "none".into() } else { count.to_string() }
}

fn all(results: Vec<Result<(), Failed>>) -> Result<(), Failed> {
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::PodSandboxMetadata;

    fn target(uid: Option<&str>) -> Target {
        Target { namespace: "default".into(), name: "web".into(), uid: uid.map(str::to_owned), grace: None }
    }

    fn sandbox(uid: &str) -> PodSandbox {
        PodSandbox {
            metadata: Some(PodSandboxMetadata { uid: uid.into(), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn files_are_removed_under_every_uid_the_pod_had() {
        let container = Container { labels: [(POD_UID.to_owned(), "c".to_owned())].into(), ..Default::default() };
        let uids = uids(&target(Some("own")), &[sandbox("a"), sandbox("b"), sandbox("a")], &[container]);
        assert_eq!(uids, ["a", "b", "c", "own"].map(str::to_owned).into());
    }

    #[test]
    fn a_pod_by_name_has_files_under_its_derived_uid() {
        assert_eq!(uids(&target(None), &[], &[]), [load::uid("default", "web")].into());
    }

    #[test]
    fn a_uid_that_is_a_path_is_never_removed() {
        let uids = uids(&target(Some("own")), &[sandbox(".."), sandbox("a/b"), sandbox("")], &[]);
        assert_eq!(uids, ["own".to_owned()].into());
    }

    #[test]
    fn the_grace_period_is_the_annotated_one() {
        let with = |value: &str| Container {
            annotations: [(GRACE.to_owned(), value.to_owned())].into(),
            ..Default::default()
        };
        assert_eq!(annotated_grace(&with("5")), Some(5));
        assert_eq!(annotated_grace(&with("-5")), None);
        assert_eq!(annotated_grace(&with("soon")), None);
        assert_eq!(annotated_grace(&Container::default()), None);
    }
}
