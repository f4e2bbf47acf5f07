//! Events, and when a repeated one is sent again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::model::Pod;
use crate::wire::micro_time;

/// The longest note the API accepts, in bytes.
const MAX_NOTE: usize = 1024;
/// The minimal interval of a repeated event.
const REPEAT: SignedDuration = SignedDuration::from_secs(30);

/// An event about a pod.
pub(super) struct Event {
    pub(super) pod: Arc<Pod>,
    /// The `reportingController`.
    scheduler: Arc<str>,
    kind: &'static str,
    reason: &'static str,
    action: &'static str,
    note: String,
    /// The preemptor, for a preempted pod.
    related: Option<Arc<Pod>>,
    time: Timestamp,
}

impl Event {
    pub(super) fn scheduled(pod: &Arc<Pod>, node: &str) -> Event {
        let note = format!("Successfully assigned {pod} to {node}");
        Event::new(pod, "Normal", "Scheduled", "Binding", note)
    }

    pub(super) fn failed(pod: &Arc<Pod>, message: &str) -> Event {
        Event::new(pod, "Warning", "FailedScheduling", "Scheduling", message.to_owned())
    }

    pub(super) fn preempted(victim: &Arc<Pod>, by: &Arc<Pod>, node: &str) -> Event {
        let note = format!("Preempted by pod {} on node {node}", by.uid);
        let event = Event::new(victim, "Normal", "Preempted", "Preempting", note);
        Event { scheduler: by.shape.scheduler.clone(), related: Some(by.clone()), ..event }
    }

    fn new(pod: &Arc<Pod>, kind: &'static str, reason: &'static str, action: &'static str, mut note: String) -> Event {
        if note.len() > MAX_NOTE {
            let end = (0..=MAX_NOTE - 3).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
            note.truncate(end);
            note.push_str("...");
        }
        let scheduler = pod.shape.scheduler.clone();
        Event { pod: pod.clone(), scheduler, kind, reason, action, note, related: None, time: Timestamp::now() }
    }

    /// The event as an API object.
    pub(super) fn object(&self, name: &str, instance: &str) -> Value {
        let mut object = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": **self.pod.namespace()},
            "eventTime": micro_time(self.time),
            "type": self.kind,
            "reason": self.reason,
            "action": self.action,
            "note": self.note,
            "reportingController": *self.scheduler,
            "reportingInstance": instance,
            "regarding": reference(&self.pod),
        });
        if let Some(related) = &self.related {
            object["related"] = reference(related);
        }
        object
    }

    /// The patch that counts another occurrence.
    pub(super) fn series(&self, count: u32) -> Value {
        json!({"series": {"count": count, "lastObservedTime": micro_time(self.time)}})
    }
}

fn reference(pod: &Pod) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "namespace": **pod.namespace(), "name": pod.name, "uid": *pod.uid})
}

/// The last FailedScheduling event of each pod.
#[derive(Default)]
pub(super) struct Series(HashMap<Arc<str>, Last>);

struct Last {
    note: String,
    name: String,
    count: u32,
    sent: Timestamp,
}

/// How to send an event.
#[derive(Debug, PartialEq)]
pub(super) struct SendAs {
    pub(super) name: String,
    /// 1: as a new object; more: as a patch of the series.
    pub(super) count: u32,
}

impl Series {
    /// How to send an event; `None`: the same event was sent a moment ago.
    pub(super) fn next(&mut self, event: &Event, now: Timestamp) -> Option<SendAs> {
        let fresh = || format!("{}.{:016x}", event.pod.name, fastrand::u64(..));
        if event.reason != "FailedScheduling" {
            return Some(SendAs { name: fresh(), count: 1 });
        }
        let last = self.0.entry(event.pod.uid.clone()).or_insert_with(|| Last {
            note: String::new(),
            name: String::new(),
            count: 0,
            sent: now,
        });
        if last.count > 0 && last.note == event.note {
            last.count += 1;
            if now.duration_since(last.sent) < REPEAT {
                return None;
            }
        } else {
            *last = Last { note: event.note.clone(), name: fresh(), count: 1, sent: now };
        }
        last.sent = now;
        Some(SendAs { name: last.name.clone(), count: last.count })
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// Removes all other pods.
    pub(super) fn retain(&mut self, waits: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| waits(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::Builder;

    fn pod() -> Arc<Pod> {
        Builder::default().pod(json!({"spec": {"schedulerName": "human-scheduler"}}))
    }

    #[test]
    fn an_event_names_reason_action_controller_and_pod() {
        let object = Event::scheduled(&pod(), "a").object("new.1", "here");
        assert_eq!(object["note"], "Successfully assigned default/new to a");
        assert_eq!((&object["reason"], &object["action"]), (&json!("Scheduled"), &json!("Binding")));
        assert_eq!(object["reportingController"], "human-scheduler");
        assert_eq!(object["regarding"]["uid"], "new");
        assert_eq!(object["eventTime"].as_str().unwrap().len(), "2026-01-01T00:00:00.000000Z".len());
    }

    #[test]
    fn a_note_that_is_too_long_is_cut_between_characters() {
        let note = Event::failed(&pod(), &"é".repeat(1000)).note;
        assert!(note.len() <= MAX_NOTE && note.ends_with("é..."));
    }

    #[test]
    fn series_of_pods_no_longer_pending_are_removed() {
        let mut series = Series::default();
        series.next(&Event::failed(&pod(), "no node"), Timestamp::UNIX_EPOCH);
        series.retain(|uid| uid == "new");
        assert_eq!(series.0.len(), 1);
        series.retain(|_| false);
        assert!(series.0.is_empty());
    }

    #[test]
    fn repeated_events_become_a_series_sent_at_intervals() {
        let mut series = Series::default();
        let start = Timestamp::UNIX_EPOCH;
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        let event = Event::failed(&pod(), "no node");
        let first = series.next(&event, start).unwrap();
        assert_eq!(first.count, 1);
        assert_eq!(series.next(&event, after(1)), None);
        assert_eq!(series.next(&event, after(40)), Some(SendAs { name: first.name.clone(), count: 3 }));
        let other = series.next(&Event::failed(&pod(), "another reason"), after(41)).unwrap();
        assert!(other.count == 1 && other.name != first.name);
    }
}
