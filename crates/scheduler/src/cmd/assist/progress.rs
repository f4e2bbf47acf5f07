//! Progress of a bound pod, derived from its status. Pure: statuses go in, progress comes out.
//!
//! Caller: `binder`, with every version of the pod that the API server sends.

use std::collections::HashSet;

use serde::Deserialize;

use super::text::one_line;
use crate::wire::Meta;

/// Progress of a pod that the user has bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The API server accepted the binding.
    Bound,
    /// The binding failed, with the reason.
    NotBound(String),
    /// All containers are ready.
    ContainersReady,
    /// The pod is running, with this IP.
    Running(String),
    /// The kubelet keeps trying, but reports a problem.
    Problem(String),
    /// All containers exited with 0.
    Succeeded,
    /// The pod has failed, with the reason.
    Failed(String),
    /// The pod was deleted.
    Deleted,
}

impl Progress {
    /// In a word or two, with the cause of a problem.
    pub(super) fn short(&self) -> String {
        match self {
            Progress::Bound => "Bound".to_owned(),
            Progress::NotBound(why) => format!("not bound: {why}"),
            Progress::ContainersReady => "ContainersReady".to_owned(),
            Progress::Running(address) => format!("Running {address}"),
            Progress::Problem(why) => why.clone(),
            Progress::Succeeded => "Succeeded".to_owned(),
            Progress::Failed(why) => format!("Failed: {why}"),
            Progress::Deleted => "deleted".to_owned(),
        }
    }
}

/// The fields of a pod that show its progress.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObservedPod {
    pub(super) metadata: Meta,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    reason: String,
    message: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    conditions: Option<Vec<Condition>>,
    init_container_statuses: Option<Vec<Container>>,
    container_statuses: Option<Vec<Container>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    reason: String,
    exit_code: i32,
}

/// What has been reported about a pod.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    ready: bool,
    running: bool,
    ended: bool,
    /// Each problem is reported once, however often it recurs.
    problems: HashSet<String>,
}

impl Tracker {
    /// What is new in this version of the pod.
    pub(super) fn observe(&mut self, pod: &ObservedPod) -> Vec<Progress> {
        let status = &pod.status;
        let mut progress = Vec::new();
        match status.phase.as_str() {
            "Succeeded" => self.ended(Progress::Succeeded, &mut progress),
            "Failed" => self.ended(Progress::Failed(status.failure()), &mut progress),
            phase => {
                if !self.ready && status.is_ready() {
                    self.ready = true;
                    progress.push(Progress::ContainersReady);
                }
                if !self.running && phase == "Running" && !status.pod_ip.is_empty() {
                    self.running = true;
                    progress.push(Progress::Running(status.pod_ip.clone()));
                }
                for (kind, message) in status.problems() {
                    if self.problems.insert(kind) {
                        progress.push(Progress::Problem(message));
                    }
                }
            }
        }
        progress
    }

    fn ended(&mut self, last: Progress, progress: &mut Vec<Progress>) {
        if !self.ended {
            self.ended = true;
            progress.push(last);
        }
    }

    /// Whether no more progress is expected.
    pub(super) fn is_done(&self) -> bool {
        self.ended || (self.ready && self.running)
    }
}

impl Status {
    fn is_ready(&self) -> bool {
        let mut conditions = self.conditions.iter().flatten();
        conditions.any(|condition| condition.kind == "ContainersReady" && condition.status == "True")
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        self.init_container_statuses.iter().chain(&self.container_statuses).flatten()
    }

    /// Containers that wait for a reason other than normal startup: container and reason, and the full message.
    fn problems(&self) -> impl Iterator<Item = (String, String)> {
        self.containers().filter_map(|container| {
            let waiting = container.state.waiting.as_ref()?;
            if matches!(waiting.reason.as_str(), "" | "ContainerCreating" | "PodInitializing") {
                return None;
            }
            let kind = format!("{}: {}", container.name, waiting.reason);
            let colon = if waiting.message.is_empty() { "" } else { ": " };
            let message = one_line(&format!("{kind}{colon}{}", waiting.message));
            Some((kind, message))
        })
    }

    fn failure(&self) -> String {
        if !self.reason.is_empty() || !self.message.is_empty() {
            let parts: Vec<_> = [&*self.reason, &*self.message].into_iter().filter(|part| !part.is_empty()).collect();
            return one_line(&parts.join(": "));
        }
        let ended = self.containers().filter_map(|container| {
            let ended = container.state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
            Some(format!("{}: {} with exit code {}", container.name, ended.reason, ended.exit_code))
        });
        one_line(&ended.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> ObservedPod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "status": status})).unwrap()
    }

    #[test]
    fn a_starting_pod_becomes_ready_and_running() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.observe(&pod(json!({"phase": "Pending", "conditions": null}))), []);
        let waiting = json!([{"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}]);
        assert_eq!(tracker.observe(&pod(json!({"phase": "Pending", "containerStatuses": waiting}))), []);
        let up = || {
            let ready = json!([{"type": "ContainersReady", "status": "True"}]);
            pod(json!({"phase": "Running", "podIP": "10.0.0.9", "conditions": ready}))
        };
        assert_eq!(tracker.observe(&up()), [Progress::ContainersReady, Progress::Running("10.0.0.9".into())]);
        assert_eq!(tracker.observe(&up()), []);
        assert!(tracker.is_done());
    }

    #[test]
    fn a_running_pod_that_is_not_ready_is_followed_further() {
        let mut tracker = Tracker::default();
        let progress = tracker.observe(&pod(json!({"phase": "Running", "podIP": "10.0.0.9"})));
        assert_eq!(progress, [Progress::Running("10.0.0.9".into())]);
        assert!(!tracker.is_done());
    }

    #[test]
    fn a_problem_is_reported_once_with_the_kubelets_message() {
        let mut tracker = Tracker::default();
        let waiting_for = |reason: &str| {
            let waiting = json!({"reason": reason, "message": "no\nsuch image"});
            pod(json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}))
        };
        assert_eq!(
            tracker.observe(&waiting_for("ErrImagePull")),
            [Progress::Problem("c: ErrImagePull: no such image".into())]
        );
        assert_eq!(tracker.observe(&waiting_for("ImagePullBackOff")).len(), 1);
        assert_eq!(tracker.observe(&waiting_for("ErrImagePull")), []);
        assert!(!tracker.is_done());
    }

    #[test]
    fn a_failure_has_the_kubelets_reason_or_the_exit_code() {
        let failed = |status| Tracker::default().observe(&pod(status));
        let refused = json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource"});
        assert_eq!(failed(refused), [Progress::Failed("OutOfcpu: Node didn't have enough resource".into())]);
        let ended = json!([{"name": "c", "state": {"terminated": {"reason": "Error", "exitCode": 3}}}]);
        let failed = failed(json!({"phase": "Failed", "containerStatuses": ended}));
        assert_eq!(failed, [Progress::Failed("c: Error with exit code 3".into())]);
    }
}
