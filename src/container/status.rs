//! ContainerStatus and ListContainers: answered from the index, without a request to Docker.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::proto;
use crate::proto::ContainerFilter;
use crate::proto::ContainerState;
use crate::proto::ContainerStatus;
use crate::proto::ImageSpec;
use crate::state::Container;
use crate::state::ContainerRecord;
use crate::state::Process;

use super::Containers;
use super::effective;
use super::spec;

/// Reasons of an exit, which the kubelet shows as they are.
const COMPLETED: &str = "Completed";
const ERROR: &str = "Error";
const OOM_KILLED: &str = "OOMKilled";

impl Containers {
    /// One container; if `verbose`, with a JSON object of details for the user under the key `info`.
    ///
    /// # Errors
    /// [`Error::Lookup`]; [`Error::State`] before the index is synced.
    pub(crate) fn status(&self, id: &str, verbose: bool) -> Result<(ContainerStatus, BTreeMap<String, String>), Error> {
        self.index.require_synced()?;
        let container = self.existing(id)?;
        let log_path = self.log_path(&container.record);
        let info = if verbose { BTreeMap::from([("info".to_owned(), self.info(&container))]) } else { BTreeMap::new() };
        Ok((status(&container, log_path), info))
    }

    /// The containers that match the filter, the oldest first.
    ///
    /// # Errors
    /// [`Error::State`] before the index is synced; [`Error::Lookup`] if the filter's id is the prefix of several.
    pub(crate) fn list(&self, filter: Option<&ContainerFilter>) -> Result<Vec<proto::Container>, Error> {
        self.index.require_synced()?;
        let filter = filter.cloned().unwrap_or_default();
        let selected = self.index.containers.select(&filter.id)?;
        Ok(selected.iter().filter(|container| matches_filter(container, &filter)).map(|one| entry(one)).collect())
    }

    /// The statuses of a sandbox's containers, the oldest first.
    pub(crate) fn statuses_of(&self, sandbox_id: &str) -> Vec<ContainerStatus> {
        let containers = self.index.containers_of(sandbox_id);
        containers.iter().map(|container| status(container, self.log_path(&container.record))).collect()
    }

    /// Details for `crictl inspect`, as JSON.
    fn info(&self, container: &Container) -> String {
        let record = &container.record;
        json!({
            "dockerName": record.name,
            "sandboxID": record.sandbox_id,
            "imageID": record.image_id,
            "pid": self.first_process(container),
            "privileged": spec::security_context(&record.config).privileged,
            "phase": record.phase,
            "config": record.config,
        })
        .to_string()
    }

    /// The pid of the init process. It comes from the kernel: a status makes no request to Docker.
    pub(super) fn first_process(&self, container: &Container) -> Option<i32> {
        let record = &container.record;
        let info = self.engine.connection().info().filter(|_| container.process.is_running())?;
        let sandbox = self.index.sandboxes.get(&record.sandbox_id)?;
        Cgroup::of_container(&info, sandbox.record.cgroup_parent(), &record.id).init_pid()
    }

    pub(super) fn log_path(&self, record: &ContainerRecord) -> String {
        self.index.sandboxes.get(&record.sandbox_id).map(|sandbox| record.log_path(&sandbox.record)).unwrap_or_default()
    }
}

fn matches_filter(container: &Container, filter: &ContainerFilter) -> bool {
    let record = &container.record;
    record.sandbox_id.starts_with(&filter.pod_sandbox_id)
        && filter.state.as_ref().is_none_or(|filter| filter.state() == state(container))
        && filter.label_selector.iter().all(|(key, value)| record.config.labels.get(key) == Some(value))
}

/// The state of a container in the CRI.
pub(crate) fn state(container: &Container) -> ContainerState {
    match container.process {
        // The kubelet replaces a container in state CREATED without stopping it; one in state UNKNOWN it stops first.
        Process::Created if container.unsettled => ContainerState::ContainerUnknown,
        Process::Created => ContainerState::ContainerCreated,
        Process::Running { .. } => ContainerState::ContainerRunning,
        Process::Exited { .. } => ContainerState::ContainerExited,
    }
}

/// The image as the pod names it: the kubelet requests it by id, with the pod's name in `user_specified_image`.
fn image(record: &ContainerRecord) -> Option<ImageSpec> {
    let mut image = record.config.image.clone()?;
    if !image.user_specified_image.is_empty() {
        image.image = image.user_specified_image.clone();
    }
    Some(image)
}

fn entry(container: &Container) -> proto::Container {
    let record = &container.record;
    proto::Container {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox_id.clone(),
        metadata: record.config.metadata.clone(),
        image: image(record),
        image_ref: record.image_id.clone(),
        state: state(container).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        image_id: record.image_id.clone(),
    }
}

fn status(container: &Container, log_path: String) -> ContainerStatus {
    let record = &container.record;
    let exit = container.process.exit();
    let linux = record.config.linux.clone().unwrap_or_default();
    let started_at = match exit {
        // One that never ran gets both times; the kubelet would otherwise take it for one that waits to be started.
        Some(exit) if container.process.started_at() == 0 => exit.at,
        _ => container.process.started_at(),
    };
    ContainerStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: state(container).into(),
        created_at: record.created_at,
        started_at,
        finished_at: exit.map_or(0, |exit| exit.at),
        exit_code: exit.map_or(0, |exit| exit.code),
        image: image(record),
        image_ref: record.image_id.clone(),
        image_id: record.image_id.clone(),
        reason: reason(&container.process),
        message: exit.map(|exit| exit.message.clone()).unwrap_or_default(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        mounts: record.config.mounts.clone(),
        log_path,
        resources: linux.resources.map(|linux| proto::ContainerResources { linux: Some(linux), ..Default::default() }),
        user: effective::user(record),
        stop_signal: effective::stop_signal(record).into(),
    }
}

fn reason(process: &Process) -> String {
    let Some(exit) = process.exit() else { return String::new() };
    if exit.oom_killed {
        OOM_KILLED.to_owned()
    } else if !exit.reason.is_empty() {
        exit.reason.clone()
    } else if exit.code == 0 {
        COMPLETED.to_owned()
    } else {
        ERROR.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Exit;

    fn exited(code: i32, oom_killed: bool, reason: &str) -> Process {
        let exit = Exit { at: 5, code, oom_killed, reason: reason.into(), message: String::new() };
        Process::Created.exited(exit)
    }

    #[test]
    fn the_reason_of_an_exit_is_the_one_the_kubelet_shows() {
        assert_eq!(reason(&exited(0, false, "")), "Completed");
        assert_eq!(reason(&exited(1, false, "")), "Error");
        assert_eq!(reason(&exited(137, true, "")), "OOMKilled");
        assert_eq!(reason(&exited(127, false, "ContainerCannotRun")), "ContainerCannotRun");
        assert_eq!(reason(&Process::Created), "");
    }
}
