//! What others are told: conditions of pods, and events.
//!
//! Reports are sent in the background and never hold up a decision or a binding: while bindings are under way a few
//! reports a second are sent, so that a busy API server is busy with bindings. Conditions go before events, of two
//! conditions of one pod only the later is sent, and when far too many events wait the oldest are dropped. An event
//! that is repeated becomes a series.

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
use super::api::Lane;
use super::bind::path;
use super::model::Pod;
use super::wire;

/// More events are not kept waiting.
const MOST_EVENTS: usize = 10_000;
/// From so many waiting events on, they are sent one after the other, bindings or not.
const MANY_EVENTS: usize = MOST_EVENTS / 2;
/// Between two events while bindings are under way: an event takes the API server as long as a binding.
const EVENT_PACE: Duration = Duration::from_millis(100);
/// And before a condition, which others act on: an autoscaler makes nodes for pods that do not fit.
const CONDITION_PACE: Duration = Duration::from_millis(20);
/// How many reports are sent at once when nothing else is to be done.
const AT_ONCE: usize = 8;
/// So long the last reports may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Takes reports and sends them. Clones are the same.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    client: Client,
    /// Which process this is, for those who read events.
    instance: String,
    waiting: Mutex<Waiting>,
    series: Mutex<Series>,
    news: Notify,
    /// How many bindings are under way.
    bindings: AtomicUsize,
    /// None are any more.
    calm: Notify,
}

#[derive(Default)]
struct Waiting {
    /// The last condition to be sent for each pod.
    conditions: HashMap<Arc<str>, Condition>,
    events: VecDeque<Event>,
    dropped: u64,
}

struct Condition {
    pod: Arc<Pod>,
    patch: Value,
}

/// Why a pod was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No node fits.
    Unschedulable,
    /// Anything else.
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
    /// Starts to send reports in the name of `instance`.
    pub fn start(client: &Client, instance: &str) -> Reporter {
        let reporter = Reporter(Arc::new(Inner {
            client: client.clone(),
            instance: instance.to_owned(),
            waiting: Mutex::default(),
            series: Mutex::default(),
            news: Notify::new(),
            bindings: AtomicUsize::new(0),
            calm: Notify::new(),
        }));
        tokio::spawn(reporter.clone().send_all());
        reporter
    }

    /// Bindings under way take precedence.
    pub fn set_bindings(&self, number: usize) {
        self.0.bindings.store(number, Ordering::Relaxed);
        if number == 0 {
            self.0.calm.notify_one();
        }
    }

    fn is_calm(&self) -> bool {
        self.0.bindings.load(Ordering::Relaxed) == 0
    }

    /// The pod was bound: that it was not is no news any more.
    pub fn scheduled(&self, pod: &Arc<Pod>, node: &str) {
        self.forget(&pod.uid);
        self.event(Event::scheduled(pod, node));
    }

    /// The pod was not placed. `nominated`: the node that is kept for it from now on, if that changes; empty: none.
    pub fn failed(&self, pod: &Arc<Pod>, reason: Reason, message: &str, nominated: Option<&str>) {
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
            // Not told yet, and still so.
            let kept = &earlier.patch["status"]["nominatedNodeName"];
            if nominated.is_none() && !kept.is_null() {
                condition.patch["status"]["nominatedNodeName"] = kept.clone();
            }
        }
        waiting.conditions.insert(pod.uid.clone(), condition);
        drop(waiting);
        self.0.news.notify_one();
    }

    /// No node is kept for the pod any more.
    pub fn denominate(&self, pod: &Arc<Pod>) {
        let mut waiting = self.0.waiting.lock();
        let condition = Condition { pod: pod.clone(), patch: json!({"status": {}}) };
        let condition = waiting.conditions.entry(pod.uid.clone()).or_insert(condition);
        condition.patch["status"]["nominatedNodeName"] = json!("");
        drop(waiting);
        self.0.news.notify_one();
    }

    /// A pod had to go for another.
    pub fn preempted(&self, victim: &Arc<Pod>, by: &Arc<Pod>, node: &str) {
        self.event(Event::preempted(victim, by, node));
    }

    /// Nothing more will be said about a pod.
    pub fn forget(&self, uid: &str) {
        self.0.waiting.lock().conditions.remove(uid);
        self.0.series.lock().forget(uid);
    }

    /// Nothing more will be said about any pods but these.
    pub fn keep(&self, waits: impl Fn(&str) -> bool) {
        self.0.series.lock().keep(waits);
    }

    fn event(&self, event: Event) {
        let mut waiting = self.0.waiting.lock();
        if waiting.events.len() >= MOST_EVENTS {
            waiting.events.pop_front();
            waiting.dropped += 1;
            if waiting.dropped.is_power_of_two() {
                tracing::warn!(dropped = waiting.dropped, "there are more events than can be sent");
            }
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.0.news.notify_one();
    }

    /// Waits until everything was sent, but not forever.
    pub async fn finish(&self) {
        self.set_bindings(0);
        let empty = async {
            while !self.0.waiting.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // What could not be sent by now is lost.
        let _ = tokio::time::timeout(LAST_WORDS, empty).await;
    }

    async fn send_all(self) {
        let mut under_way = JoinSet::new();
        let mut last = Instant::now();
        loop {
            while under_way.try_join_next().is_some() {}
            let limit = if self.is_calm() { AT_ONCE } else { 1 };
            if under_way.len() >= limit {
                under_way.join_next().await;
                continue;
            }
            let pace = self.pace();
            if last.elapsed() < pace {
                let _ = tokio::time::timeout_at(last + pace, self.0.calm.notified()).await;
                continue;
            }
            last = Instant::now();
            let (condition, event) = self.0.waiting.lock().next();
            match (condition, event) {
                (Some(condition), _) => {
                    under_way.spawn(self.clone().send_condition(condition));
                }
                (None, Some(event)) => {
                    under_way.spawn(self.clone().send_event(event));
                }
                (None, None) => self.0.news.notified().await,
            }
        }
    }

    /// How long the next report waits after the last.
    fn pace(&self) -> Duration {
        let waiting = self.0.waiting.lock();
        if self.is_calm() || waiting.events.len() >= MANY_EVENTS {
            Duration::ZERO
        } else if waiting.conditions.is_empty() {
            EVENT_PACE
        } else {
            CONDITION_PACE
        }
    }

    async fn send_condition(self, condition: Condition) {
        let path = format!("{}/status", path(&condition.pod));
        let sent = self.0.client.patch(Lane::Report, &path, Format::StrategicMergePatch, &condition.patch).await;
        tell(&condition.pod, "condition", sent);
    }

    async fn send_event(self, event: Event) {
        let step = self.0.series.lock().next(&event, Timestamp::now());
        let Some(step) = step else { return };
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", event.pod.namespace());
        if step.count > 1 {
            let patch = event.series(step.count);
            let path = format!("{collection}/{}", step.name);
            let sent = self.0.client.patch(Lane::Report, &path, Format::MergePatch, &patch).await;
            if sent.as_ref().err().and_then(Error::code) != Some(404) {
                return tell(&event.pod, "event", sent);
            }
        }
        let sent = self.0.client.post(Lane::Report, &collection, &event.object(&step.name, &self.0.instance)).await;
        tell(&event.pod, "event", sent);
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

/// A report that cannot be sent is no reason to stop; a pod that is gone is no reason to tell.
fn tell(pod: &Pod, what: &str, sent: Result<(), Error>) {
    match sent {
        Ok(()) => {}
        Err(error) if matches!(error.code(), Some(404 | 409)) => {
            tracing::debug!(pod = %pod, what, %error, "a report came too late");
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
    async fn a_condition_that_waits_is_dropped_when_the_pod_is_bound() {
        let api = FakeApi::start(|_| (200, "{}".to_owned())).await;
        let reporter = Reporter::start(&api.client, "here");
        reporter.set_bindings(1);
        let pod = Builder::default().pod(json!({}));
        reporter.failed(&pod, Reason::Unschedulable, "no node", None);
        reporter.scheduled(&pod, "a");
        reporter.finish().await;
        while api.asked().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Events are made, and a condition would have been sent before them.
        assert!(api.asked().iter().all(|asked| asked.method == Method::POST));
    }
}
