//! Carries out bindings in the background: binds pods, reports events as the scheduler does, and follows each bound pod
//! until it is running or has failed.
//!
//! Caller: `assist`, which starts one. Requests come from the `App`, progress goes back to it.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use super::progress::ObservedPod;
use super::progress::Progress;
use super::progress::Tracker;
use crate::api::Client;
use crate::api::Encoding;
use crate::api::Error;
use crate::api::Pool;
use crate::bind;
use crate::bind::Outcome;
use crate::cluster::VolumePlan;
use crate::model::Intern;
use crate::model::Pod;
use crate::reflector::WATCH_IDLE_TIMEOUT;
use crate::report::Reporter;

/// The `reportingInstance` of events.
const INSTANCE: &str = "dockside-scheduler-assist";
/// How long to wait for bindings in flight when the user quits.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause before a failed watch of a pod is retried.
const RETRY: Duration = Duration::from_secs(1);

/// A binding to make.
pub(super) struct BindRequest {
    pub(super) pod: Arc<Pod>,
    pub(super) node: Arc<str>,
    pub(super) plan: VolumePlan,
}

/// Sends requests to the binder and receives their progress.
pub(super) struct BinderHandle {
    pub(super) requests: UnboundedSender<BindRequest>,
    pub(super) progress: UnboundedReceiver<(Arc<str>, Progress)>,
    /// Completes soon after the last sender of requests is dropped.
    pub(super) end: JoinHandle<()>,
}

/// Starts a binder.
pub(super) fn start(client: &Client, intern: &Arc<Intern>) -> BinderHandle {
    let (requests, received) = unbounded_channel();
    let (sender, progress) = unbounded_channel();
    let reporter = Reporter::start(client, INSTANCE);
    let binder = Binder { client: client.clone(), intern: intern.clone(), reporter, progress: sender };
    BinderHandle { requests, progress, end: tokio::spawn(binder.run(received)) }
}

#[derive(Clone)]
struct Binder {
    client: Client,
    intern: Arc<Intern>,
    reporter: Reporter,
    progress: UnboundedSender<(Arc<str>, Progress)>,
}

impl Binder {
    async fn run(self, mut requests: UnboundedReceiver<BindRequest>) {
        let mut bindings = JoinSet::new();
        while let Some(request) = requests.recv().await {
            while bindings.try_join_next().is_some() {}
            bindings.spawn(self.clone().bind(request));
        }
        let all = async { while bindings.join_next().await.is_some() {} };
        // The result of a slower binding is not reported.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await;
        self.reporter.finish().await;
    }

    async fn bind(self, request: BindRequest) {
        let BindRequest { pod, node, plan } = request;
        let outcome = bind::bind(&self.client, &self.intern, &pod, &node, &plan).await;
        match refusal(outcome, &node) {
            None => {
                self.reporter.scheduled(&pod, &node);
                self.send(&pod, Progress::Bound);
                tokio::spawn(self.follow(pod));
            }
            Some(why) => self.send(&pod, Progress::NotBound(why)),
        }
    }

    fn send(&self, pod: &Pod, progress: Progress) {
        // The receiver is dropped only at shutdown.
        let _ = self.progress.send((pod.uid.clone(), progress));
    }

    /// Sends each progress of a bound pod, until no more is expected.
    async fn follow(self, pod: Arc<Pod>) {
        let mut tracker = Tracker::default();
        while !self.progress.is_closed() {
            match self.follow_once(&pod, &mut tracker).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::info!(pod = %pod, %error, "could not watch a pod: retrying");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Follows a pod until no more progress is expected (true), or the server closes the watch (false).
    async fn follow_once(&self, pod: &Pod, tracker: &mut Tracker) -> Result<bool, Error> {
        let path = format!("/api/v1/namespaces/{}/pods?fieldSelector=metadata.name%3D{}", pod.namespace(), pod.name);
        let found: Found = self.client.get(Pool::Watch, &path).await?;
        let now = found.items.into_iter().flatten().find(|seen| *seen.metadata.uid == *pod.uid);
        let Some(now) = now else {
            self.send(pod, Progress::Deleted);
            return Ok(true);
        };
        if self.send_progress(pod, tracker, &now) {
            return Ok(true);
        }
        let path = format!("{path}&watch=true&resourceVersion={}", found.metadata.resource_version);
        let mut lines = self.client.watch(&path, Encoding::Json, WATCH_IDLE_TIMEOUT).await?;
        while let Some(line) = lines.next().await? {
            // An ERROR event does not decode as a pod; the pod is then fetched again, which helps in any case.
            let broken = |error: serde_json::Error| Error::Broken { path: path.clone(), reason: error.to_string() };
            let change: Change = serde_json::from_slice(&line).map_err(broken)?;
            match change.kind.as_str() {
                _ if *change.object.metadata.uid != *pod.uid => {}
                "DELETED" => {
                    self.send(pod, Progress::Deleted);
                    return Ok(true);
                }
                _ if self.send_progress(pod, tracker, &change.object) => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    fn send_progress(&self, pod: &Pod, tracker: &mut Tracker, seen: &ObservedPod) -> bool {
        for progress in tracker.observe(seen) {
            self.send(pod, progress);
        }
        tracker.is_done()
    }
}

/// A list of at most one pod.
#[derive(Deserialize)]
struct Found {
    metadata: Version,
    items: Option<Vec<ObservedPod>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

/// A watch event.
#[derive(Deserialize)]
struct Change {
    #[serde(rename = "type")]
    kind: String,
    object: ObservedPod,
}

/// Why the pod is not bound to this node; `None`, if it is.
fn refusal(outcome: Outcome, node: &str) -> Option<String> {
    match outcome {
        Outcome::Bound => None,
        Outcome::Failed(error) => Some(error),
        Outcome::Unclear(None) | Outcome::Refused(None) => Some("the pod is gone".to_owned()),
        Outcome::Unclear(Some(pod)) | Outcome::Refused(Some(pod)) => match &pod.node {
            Some(bound) if **bound == *node => None,
            Some(bound) => Some(format!("another client bound it to {bound}")),
            None if pod.gated => Some("it has scheduling gates".to_owned()),
            None if pod.terminating => Some("it is being deleted".to_owned()),
            None => Some("the API server rejected the binding, and the pod is still pending".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;

    #[test]
    fn a_pod_on_its_node_is_bound_whatever_the_response_was() {
        let on = |node: &str| Outcome::Unclear(Some(Builder::default().pod(json!({"spec": {"nodeName": node}}))));
        assert_eq!(refusal(Outcome::Bound, "a"), None);
        assert_eq!(refusal(on("a"), "a"), None);
        assert_eq!(refusal(on("b"), "a").unwrap(), "another client bound it to b");
        assert_eq!(refusal(Outcome::Unclear(None), "a").unwrap(), "the pod is gone");
    }
}
