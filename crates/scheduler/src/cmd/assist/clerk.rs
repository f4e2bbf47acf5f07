//! Carries out what the person has decided, beside the conversation: makes bindings, tells of them in events as every
//! scheduler does, and follows each bound pod until it is up or has failed.
//!
//! Who calls in: `assist`, which hires one clerk. Orders come from the `desk`, steps go back there.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use super::steps::Seen;
use super::steps::Step;
use super::steps::Track;
use crate::api::Client;
use crate::api::Encoding;
use crate::api::Error;
use crate::api::Lane;
use crate::bind;
use crate::bind::Outcome;
use crate::cluster::VolumePlan;
use crate::follow::SILENCE;
use crate::model::Intern;
use crate::model::Pod;
use crate::report::Reporter;

/// Who tells of bindings, for those who read events.
const INSTANCE: &str = "dockside-scheduler-assist";
/// So long bindings that are under way may take when the person leaves.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Between two attempts to follow a pod.
const RETRY: Duration = Duration::from_secs(1);

/// A binding to be made.
pub(super) struct Order {
    pub(super) pod: Arc<Pod>,
    pub(super) node: Arc<str>,
    pub(super) plan: VolumePlan,
}

/// How to give orders and hear what came of them.
pub(super) struct Contract {
    pub(super) orders: UnboundedSender<Order>,
    pub(super) steps: UnboundedReceiver<(Arc<str>, Step)>,
    /// Ends soon after the last sender of orders is gone.
    pub(super) end: JoinHandle<()>,
}

/// Hires a clerk.
pub(super) fn hire(client: &Client, intern: &Arc<Intern>) -> Contract {
    let (orders, to_do) = unbounded_channel();
    let (told, steps) = unbounded_channel();
    let reporter = Reporter::start(client, INSTANCE);
    let clerk = Clerk { client: client.clone(), intern: intern.clone(), reporter, told };
    Contract { orders, steps, end: tokio::spawn(clerk.work(to_do)) }
}

#[derive(Clone)]
struct Clerk {
    client: Client,
    intern: Arc<Intern>,
    reporter: Reporter,
    told: UnboundedSender<(Arc<str>, Step)>,
}

impl Clerk {
    async fn work(self, mut orders: UnboundedReceiver<Order>) {
        let mut bindings = JoinSet::new();
        while let Some(order) = orders.recv().await {
            while bindings.try_join_next().is_some() {}
            bindings.spawn(self.clone().bind(order));
        }
        let all = async { while bindings.join_next().await.is_some() {} };
        // What takes longer is known to the API server alone.
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        self.reporter.finish().await;
    }

    async fn bind(self, order: Order) {
        let Order { pod, node, plan } = order;
        let outcome = bind::bind(&self.client, &self.intern, &pod, &node, &plan).await;
        match refusal(outcome, &node) {
            None => {
                self.reporter.scheduled(&pod, &node);
                self.tell(&pod, Step::Bound);
                tokio::spawn(self.follow(pod));
            }
            Some(why) => self.tell(&pod, Step::NotBound(why)),
        }
    }

    fn tell(&self, pod: &Pod, step: Step) {
        // Nobody listens any more only when everything ends.
        let _ = self.told.send((pod.uid.clone(), step));
    }

    /// Tells of each step of a bound pod, until there is nothing more to expect.
    async fn follow(self, pod: Arc<Pod>) {
        let mut track = Track::default();
        while !self.told.is_closed() {
            match self.follow_once(&pod, &mut track).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::info!(pod = %pod, %error, "could not follow a pod; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Follows a pod until that is done (true), or the server ends the watch.
    async fn follow_once(&self, pod: &Pod, track: &mut Track) -> Result<bool, Error> {
        let path = format!("/api/v1/namespaces/{}/pods?fieldSelector=metadata.name%3D{}", pod.namespace(), pod.name);
        let found: Found = self.client.get(Lane::Watch, &path).await?;
        let now = found.items.into_iter().flatten().find(|seen| *seen.metadata.uid == *pod.uid);
        let Some(now) = now else {
            self.tell(pod, Step::Gone);
            return Ok(true);
        };
        if self.told_all(pod, track, &now) {
            return Ok(true);
        }
        let path = format!("{path}&watch=true&resourceVersion={}", found.metadata.resource_version);
        let mut lines = self.client.watch(&path, Encoding::Json, SILENCE).await?;
        while let Some(line) = lines.next().await? {
            // An error instead of a pod cannot be read as one either; looking at the pod anew helps in any case.
            let broken = |error: serde_json::Error| Error::Broken { path: path.clone(), reason: error.to_string() };
            let change: Change = serde_json::from_slice(&line).map_err(broken)?;
            match change.kind.as_str() {
                _ if *change.object.metadata.uid != *pod.uid => {}
                "DELETED" => {
                    self.tell(pod, Step::Gone);
                    return Ok(true);
                }
                _ if self.told_all(pod, track, &change.object) => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    fn told_all(&self, pod: &Pod, track: &mut Track, seen: &Seen) -> bool {
        for step in track.look(seen) {
            self.tell(pod, step);
        }
        track.is_over()
    }
}

/// A list of at most one pod.
#[derive(Deserialize)]
struct Found {
    metadata: Version,
    items: Option<Vec<Seen>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

/// A line of a watch.
#[derive(Deserialize)]
struct Change {
    #[serde(rename = "type")]
    kind: String,
    object: Seen,
}

/// Why there is no binding to this node; nothing, if there is.
fn refusal(outcome: Outcome, node: &str) -> Option<String> {
    match outcome {
        Outcome::Bound => None,
        Outcome::Failed(error) => Some(error),
        Outcome::Unclear(None) | Outcome::Refused(None) => Some("the pod is gone".to_owned()),
        Outcome::Unclear(Some(pod)) | Outcome::Refused(Some(pod)) => match &pod.node {
            Some(bound) if **bound == *node => None,
            Some(bound) => Some(format!("somebody else has bound it to {bound}")),
            None if pod.gated => Some("it has scheduling gates".to_owned()),
            None if pod.terminating => Some("it is being deleted".to_owned()),
            None => Some("the API server did not take the binding, and the pod still waits".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;

    #[test]
    fn a_pod_that_is_on_its_node_is_bound_whatever_the_answer_was() {
        let on = |node: &str| Outcome::Unclear(Some(Builder::default().pod(json!({"spec": {"nodeName": node}}))));
        assert_eq!(refusal(Outcome::Bound, "a"), None);
        assert_eq!(refusal(on("a"), "a"), None);
        assert_eq!(refusal(on("b"), "a").unwrap(), "somebody else has bound it to b");
        assert_eq!(refusal(Outcome::Unclear(None), "a").unwrap(), "the pod is gone");
    }
}
