//! What becomes of a bound pod, step by step, as its status tells. Pure: statuses go in, steps come out.
//!
//! Who calls in: `clerk`, with every version of the pod that the API server shows.

use std::collections::HashSet;

use serde::Deserialize;

use super::text::one_line;
use crate::wire::Meta;

/// Something that happened to a pod that a person has chosen a node for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The API server took the binding.
    Bound,
    /// There is no binding, and why.
    NotBound(String),
    /// All containers are ready.
    ContainersReady,
    /// It runs, under this address.
    Running(String),
    /// The kubelet goes on trying, but something is wrong.
    Trouble(String),
    /// All containers ended well.
    Succeeded,
    /// It will not run any more, and why.
    Failed(String),
    /// Somebody deleted it.
    Gone,
}

impl Step {
    /// In a word or two, with the cause where something went wrong.
    pub(super) fn short(&self) -> String {
        match self {
            Step::Bound => "Bound".to_owned(),
            Step::NotBound(why) => format!("not bound: {why}"),
            Step::ContainersReady => "ContainersReady".to_owned(),
            Step::Running(address) => format!("Running {address}"),
            Step::Trouble(why) => why.clone(),
            Step::Succeeded => "Succeeded".to_owned(),
            Step::Failed(why) => format!("Failed: {why}"),
            Step::Gone => "deleted".to_owned(),
        }
    }
}

/// A pod as far as its way to Running is told by it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
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

/// What has been told of a pod.
#[derive(Debug, Default)]
pub(super) struct Track {
    ready: bool,
    running: bool,
    ended: bool,
    /// Each trouble is told once, however often the kubelet comes back to it.
    troubles: HashSet<String>,
}

impl Track {
    /// What is new in this version of the pod.
    pub(super) fn look(&mut self, pod: &Seen) -> Vec<Step> {
        let status = &pod.status;
        let mut steps = Vec::new();
        match status.phase.as_str() {
            "Succeeded" => self.ended(Step::Succeeded, &mut steps),
            "Failed" => self.ended(Step::Failed(status.failure()), &mut steps),
            phase => {
                if !self.ready && status.is_ready() {
                    self.ready = true;
                    steps.push(Step::ContainersReady);
                }
                if !self.running && phase == "Running" && !status.pod_ip.is_empty() {
                    self.running = true;
                    steps.push(Step::Running(status.pod_ip.clone()));
                }
                for (kind, told) in status.troubles() {
                    if self.troubles.insert(kind) {
                        steps.push(Step::Trouble(told));
                    }
                }
            }
        }
        steps
    }

    fn ended(&mut self, step: Step, steps: &mut Vec<Step>) {
        if !self.ended {
            self.ended = true;
            steps.push(step);
        }
    }

    /// Whether nothing more is to be expected.
    pub(super) fn is_over(&self) -> bool {
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

    /// Containers that wait for another reason than their turn: what is wrong, and the whole story.
    fn troubles(&self) -> impl Iterator<Item = (String, String)> {
        self.containers().filter_map(|container| {
            let waiting = container.state.waiting.as_ref()?;
            if matches!(waiting.reason.as_str(), "" | "ContainerCreating" | "PodInitializing") {
                return None;
            }
            let kind = format!("{}: {}", container.name, waiting.reason);
            let colon = if waiting.message.is_empty() { "" } else { ": " };
            let told = one_line(&format!("{kind}{colon}{}", waiting.message));
            Some((kind, told))
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

    fn pod(status: Value) -> Seen {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "status": status})).unwrap()
    }

    #[test]
    fn a_pod_that_comes_up_is_ready_and_runs() {
        let mut track = Track::default();
        assert_eq!(track.look(&pod(json!({"phase": "Pending", "conditions": null}))), []);
        let waiting = json!([{"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}]);
        assert_eq!(track.look(&pod(json!({"phase": "Pending", "containerStatuses": waiting}))), []);
        let up = || {
            let ready = json!([{"type": "ContainersReady", "status": "True"}]);
            pod(json!({"phase": "Running", "podIP": "10.0.0.9", "conditions": ready}))
        };
        assert_eq!(track.look(&up()), [Step::ContainersReady, Step::Running("10.0.0.9".into())]);
        assert_eq!(track.look(&up()), []);
        assert!(track.is_over());
    }

    #[test]
    fn a_pod_that_runs_and_is_not_ready_is_followed_on() {
        let mut track = Track::default();
        let steps = track.look(&pod(json!({"phase": "Running", "podIP": "10.0.0.9"})));
        assert_eq!(steps, [Step::Running("10.0.0.9".into())]);
        assert!(!track.is_over());
    }

    #[test]
    fn a_trouble_is_told_once_with_the_kubelets_words() {
        let mut track = Track::default();
        let waits = |reason: &str| {
            let waiting = json!({"reason": reason, "message": "no\nsuch image"});
            pod(json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}))
        };
        assert_eq!(track.look(&waits("ErrImagePull")), [Step::Trouble("c: ErrImagePull: no such image".into())]);
        assert_eq!(track.look(&waits("ImagePullBackOff")).len(), 1);
        assert_eq!(track.look(&waits("ErrImagePull")), []);
        assert!(!track.is_over());
    }

    #[test]
    fn a_failure_has_the_kubelets_reason_or_the_exit_code() {
        let failed = |status| Track::default().look(&pod(status));
        let refused = json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource"});
        assert_eq!(failed(refused), [Step::Failed("OutOfcpu: Node didn't have enough resource".into())]);
        let ended = json!([{"name": "c", "state": {"terminated": {"reason": "Error", "exitCode": 3}}}]);
        let failed = failed(json!({"phase": "Failed", "containerStatuses": ended}));
        assert_eq!(failed, [Step::Failed("c: Error with exit code 3".into())]);
    }
}
