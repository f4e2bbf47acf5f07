//! Reports to users of the cluster: pod conditions and events.
//!
//! Reports are sent in the background and never delay a decision or a binding. While bindings are in flight only a few
//! reports per second are sent, so that a busy API server serves bindings first. Conditions are sent before events; of
//! two conditions of one pod only the later is sent; when too many events are queued, the oldest are dropped. A
//! repeated event becomes a series.

mod event;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::event::Event;
use self::event::Series;
use super::api::Client;
use super::api::Error;
use super::api::Format;
use super::api::Pool;
use super::bind::path;
use super::model::Pod;
use super::wire;

/// The most queued events.
const MAX_EVENTS: usize = 10_000;
/// From this many queued events on they are sent without pause, even while bindings are in flight.
const MANY_EVENTS: usize = MAX_EVENTS / 2;
/// The interval of events while bindings are in flight: an event costs the API server as much as a binding.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// The interval of conditions, which other components act on: an autoscaler adds nodes for unschedulable pods.
const CONDITION_INTERVAL: Duration = Duration::from_millis(20);
/// The most reports in flight while no binding is.
const MAX_IN_FLIGHT: usize = 8;
/// How long to wait for queued reports at exit.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Queues reports and sends them. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<Inner>);

struct Inner {
    client: Client,
    /// The `reportingInstance` of events.
    instance: String,
    waiting: Mutex<Waiting>,
    series: Mutex<Series>,
    /// Something was queued.
    queued: Notify,
    /// The number of bindings in flight.
    bindings: AtomicUsize,
    /// It has become zero.
    idle: Notify,
}

#[derive(Default)]
struct Waiting {
    /// The latest unsent condition of each pod.
    conditions: HashMap<Arc<str>, Condition>,
    events: VecDeque<Event>,
    dropped: u64,
}

struct Condition {
    pod: Arc<Pod>,
    patch: Value,
}

/// The reason of a PodScheduled=False condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No node fits.
    Unschedulable,
    /// Anything else failed.
    SchedulerError,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Reason::Unschedulable => "Unschedulable",
            Reason::SchedulerError => "SchedulerError",
        }
    }
}

impl Reporter {
    /// Starts sending reports as `instance`.
    pub(crate) fn start(client: &Client, instance: &str) -> Reporter {
        let reporter = Reporter(Arc::new(Inner {
            client: client.clone(),
            instance: instance.to_owned(),
            waiting: Mutex::default(),
            series: Mutex::default(),
            queued: Notify::new(),
            bindings: AtomicUsize::new(0),
            idle: Notify::new(),
        }));
        tokio::spawn(reporter.clone().send_all());
        reporter
    }

    /// Sets the number of bindings in flight, which take precedence over reports.
    pub(crate) fn set_bindings(&self, number: usize) {
        self.0.bindings.store(number, Ordering::Relaxed);
        if number == 0 {
            self.0.idle.notify_one();
        }
    }

    fn is_idle(&self) -> bool {
        self.0.bindings.load(Ordering::Relaxed) == 0
    }

    /// Reports that the pod was bound, and drops an unsent condition that it was not.
    pub(crate) fn scheduled(&self, pod: &Arc<Pod>, node: &str) {
        self.forget(&pod.uid);
        self.event(Event::scheduled(pod, node));
    }

    /// Reports that the pod was not scheduled. `nominated`: the node now nominated for it, if that changed; empty:
    /// none.
    pub(crate) fn failed(&self, pod: &Arc<Pod>, reason: Reason, message: &str, nominated: Option<&str>) {
        self.event(Event::failed(pod, message));
        if pod.unscheduled.as_deref() == Some(message) && nominated.is_none() {
            return;
        }
        let mut condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": reason.as_str(),
            "message": message,
        });
        if pod.unscheduled.is_none() {
            condition["lastTransitionTime"] = json!(wire::time(Timestamp::now()));
        }
        let mut status = json!({"conditions": [condition]});
        if let Some(node) = nominated {
            status["nominatedNodeName"] = json!(node);
        }
        let mut condition = Condition { pod: pod.clone(), patch: json!({"status": status}) };
        let mut waiting = self.0.waiting.lock();
        if let Some(earlier) = waiting.conditions.get(&pod.uid) {
            // A nomination not sent yet, and still valid.
            let unsent = &earlier.patch["status"]["nominatedNodeName"];
            if nominated.is_none() && !unsent.is_null() {
                condition.patch["status"]["nominatedNodeName"] = unsent.clone();
            }
        }
        waiting.conditions.insert(pod.uid.clone(), condition);
        drop(waiting);
        self.0.queued.notify_one();
    }

    /// Reports that no node is nominated for the pod any more.
    pub(crate) fn clear_nomination(&self, pod: &Arc<Pod>) {
        let mut waiting = self.0.waiting.lock();
        let condition = Condition { pod: pod.clone(), patch: json!({"status": {}}) };
        let condition = waiting.conditions.entry(pod.uid.clone()).or_insert(condition);
        condition.patch["status"]["nominatedNodeName"] = json!("");
        drop(waiting);
        self.0.queued.notify_one();
    }

    /// Reports that a pod was preempted by another.
    pub(crate) fn preempted(&self, victim: &Arc<Pod>, by: &Arc<Pod>, node: &str) {
        self.event(Event::preempted(victim, by, node));
    }

    /// Drops what is queued or remembered about a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.waiting.lock().conditions.remove(uid);
        self.0.series.lock().forget(uid);
    }

    /// Drops the event series of all other pods.
    pub(crate) fn retain(&self, waits: impl Fn(&str) -> bool) {
        self.0.series.lock().retain(waits);
    }

    fn event(&self, event: Event) {
        let mut waiting = self.0.waiting.lock();
        if waiting.events.len() >= MAX_EVENTS {
            waiting.events.pop_front();
            waiting.dropped += 1;
            if waiting.dropped.is_power_of_two() {
                tracing::warn!(dropped = waiting.dropped, "dropped events: more are queued than can be sent");
            }
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.0.queued.notify_one();
    }

    /// Waits until the queue is empty, up to a timeout.
    pub(crate) async fn finish(&self) {
        self.set_bindings(0);
        let empty = async {
            while !self.0.waiting.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Reports not sent by now are lost.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, empty).await;
    }

    async fn send_all(self) {
        let mut in_flight = JoinSet::new();
        let mut last = Instant::now();
        loop {
            while in_flight.try_join_next().is_some() {}
            let limit = if self.is_idle() { MAX_IN_FLIGHT } else { 1 };
            if in_flight.len() >= limit {
                in_flight.join_next().await;
                continue;
            }
            let interval = self.interval();
            if last.elapsed() < interval {
                let _ = tokio::time::timeout_at(last + interval, self.0.idle.notified()).await;
                continue;
            }
            last = Instant::now();
            let (condition, event) = self.0.waiting.lock().next();
            match (condition, event) {
                (Some(condition), _) => {
                    in_flight.spawn(self.clone().send_condition(condition));
                }
                (None, Some(event)) => {
                    in_flight.spawn(self.clone().send_event(event));
                }
                (None, None) => self.0.queued.notified().await,
            }
        }
    }

    /// The minimal interval between the last report and the next.
    fn interval(&self) -> Duration {
        let waiting = self.0.waiting.lock();
        if self.is_idle() || waiting.events.len() >= MANY_EVENTS {
            Duration::ZERO
        } else if waiting.conditions.is_empty() {
            EVENT_INTERVAL
        } else {
            CONDITION_INTERVAL
        }
    }

    async fn send_condition(self, condition: Condition) {
        let path = format!("{}/status", path(&condition.pod));
        let sent = self.0.client.patch(Pool::Report, &path, Format::StrategicMergePatch, &condition.patch).await;
        log_result(&condition.pod, "condition", sent);
    }

    async fn send_event(self, event: Event) {
        let send_as = self.0.series.lock().next(&event, Timestamp::now());
        let Some(send_as) = send_as else { return };
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", event.pod.namespace());
        if send_as.count > 1 {
            let patch = event.series(send_as.count);
            let path = format!("{collection}/{}", send_as.name);
            let sent = self.0.client.patch(Pool::Report, &path, Format::MergePatch, &patch).await;
            if sent.as_ref().err().and_then(Error::code) != Some(404) {
                return log_result(&event.pod, "event", sent);
            }
        }
        let sent = self.0.client.post(Pool::Report, &collection, &event.object(&send_as.name, &self.0.instance)).await;
        log_result(&event.pod, "event", sent);
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.events.is_empty()
    }

    /// The next report: a condition if there is one.
    fn next(&mut self) -> (Option<Condition>, Option<Event>) {
        let uid = self.conditions.keys().next().cloned();
        match uid.and_then(|uid| self.conditions.remove(&uid)) {
            Some(condition) => (Some(condition), None),
            None => (None, self.events.pop_front()),
        }
    }
}

/// Logs a report that could not be sent. A pod that no longer exists is expected.
fn log_result(pod: &Pod, what: &str, sent: Result<(), Error>) {
    match sent {
        Ok(()) => {}
        Err(error) if matches!(error.code(), Some(404 | 409)) => {
            tracing::debug!(pod = %pod, what, %error, "the report came too late");
        }
        Err(error) => tracing::warn!(pod = %pod, what, %error, "could not send a report"),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::api::fake::FakeApi;
    use crate::cluster::testing::Builder;

    #[tokio::test]
    async fn an_unsent_condition_is_dropped_when_the_pod_is_bound() {
        let api = FakeApi::start(|_| (200, "{}".to_owned())).await;
        let reporter = Reporter::start(&api.client, "here");
        reporter.set_bindings(1);
        let pod = Builder::default().pod(json!({}));
        reporter.failed(&pod, Reason::Unschedulable, "no node", None);
        reporter.scheduled(&pod, "a");
        reporter.finish().await;
        while api.requests().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Events are POSTed; a condition would have been PATCHed before them.
        assert!(api.requests().iter().all(|request| request.method == Method::POST));
    }
}
