//! Pods without a node, and when each is tried next (kube-scheduler's scheduling queue). Pure: the caller passes the
//! time.
//!
//! A pod is *active* until it is popped. One that fits no node becomes *unschedulable* until an event occurs that may
//! help, or five minutes have passed. After any other failure, or when the event comes early, it waits in *backoff*: 1
//! s, doubling up to 10 s. Pods with scheduling gates are *gated* and never popped.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::filter::ClusterEvents;
use super::filter::FilterSet;
use super::model::Pod;

/// A point in time, as the time since an arbitrary fixed start.
pub(crate) type MonotonicTime = Duration;

const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// An unschedulable pod is retried after this time at the latest (kube-scheduler's podMaxInUnschedulablePodsDuration).
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);
/// The heap is compacted above this many stale entries.
const MAX_STALE_ENTRIES: usize = 64;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<Arc<str>, Entry>,
    /// Active pods in order. Entries of removed or requeued pods stay until they are popped or compacted.
    active: BinaryHeap<HeapEntry>,
    /// The last sequence number given to an entry of the heap.
    last_sequence: u64,
    counts: Counts,
}

/// The number of pods in each part of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// To be tried as soon as possible.
    pub(crate) active: usize,
    /// Waiting for the end of their backoff.
    pub(crate) backoff: usize,
    /// Waiting for an event that may help.
    pub(crate) unschedulable: usize,
    /// With scheduling gates.
    pub(crate) gated: usize,
    /// Popped, and neither removed nor returned yet.
    pub(crate) in_flight: usize,
}

/// A popped pod.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The pod to schedule.
    pub(crate) pod: Arc<Pod>,
    /// The number of attempts, this one included.
    pub(crate) number: u32,
    /// When the pod was queued first.
    pub(crate) since: MonotonicTime,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    state: State,
    attempts: u32,
    since: MonotonicTime,
    /// When the last attempt began or failed.
    last_attempt: MonotonicTime,
    /// The filters that rejected it in the last attempt.
    refused_by: FilterSet,
    /// Its valid entry in the heap; also the order among pods of equal priority.
    sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Backoff,
    Unschedulable,
    Gated,
    InFlight,
}

/// A heap entry: the highest priority first, then the lowest sequence number.
#[derive(Debug, PartialEq, Eq)]
struct HeapEntry {
    priority: i32,
    sequence: u64,
    uid: Arc<str>,
}

impl Ord for HeapEntry {
    fn cmp(&self, other: &HeapEntry) -> Ordering {
        self.priority.cmp(&other.priority).then_with(|| other.sequence.cmp(&self.sequence))
    }
}

impl PartialOrd for HeapEntry {
    fn partial_cmp(&self, other: &HeapEntry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Entry {
    /// Whether this heap entry is current.
    fn is_valid(&self, heap_entry: &HeapEntry) -> bool {
        self.state == State::Active && self.sequence == heap_entry.sequence
    }

    /// When its backoff ends.
    fn backoff_end(&self) -> MonotonicTime {
        let doublings = self.attempts.saturating_sub(1).min(10);
        self.last_attempt + (INITIAL_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF)
    }

    /// When it is retried without an event; `None`: not because of time.
    fn due(&self) -> Option<MonotonicTime> {
        match self.state {
            State::Backoff => Some(self.backoff_end()),
            // Longer than any backoff.
            State::Unschedulable => Some(self.last_attempt + MAX_UNSCHEDULABLE),
            State::Active | State::Gated | State::InFlight => None,
        }
    }
}

impl Queue {
    /// Adds a pending pod, or updates it.
    pub(crate) fn put(&mut self, pod: Arc<Pod>, now: MonotonicTime) {
        let uid = pod.uid.clone();
        let state = if pod.gated { State::Gated } else { State::Active };
        let Some(entry) = self.entries.get_mut(&uid) else {
            let entry = Entry {
                pod,
                state,
                attempts: 0,
                since: now,
                last_attempt: MonotonicTime::ZERO,
                refused_by: FilterSet::default(),
                sequence: 0,
            };
            *self.counts.of(state) += 1;
            self.entries.insert(uid.clone(), entry);
            self.set_state(&uid, state);
            return;
        };
        let changed = !Arc::ptr_eq(&entry.pod.shape, &pod.shape);
        let lost_nomination = entry.pod.nominated.is_some() && pod.nominated.is_none();
        let before = entry.state;
        entry.pod = pod;
        match (before, state) {
            (State::InFlight, _) => {}
            (_, State::Gated) => self.set_state(&uid, State::Gated),
            (State::Gated, State::Active) => self.set_state(&uid, State::Active),
            // The changed pod may fit now; a pod without its nomination may find another node.
            (State::Unschedulable, State::Active) if changed || lost_nomination => self.requeue_pod(&uid, now),
            (State::Active, State::Active) if changed => self.set_state(&uid, State::Active),
            _ => {}
        }
    }

    /// Removes a pod: it was deleted or bound, or names another scheduler. Returns whether it was queued.
    pub(crate) fn remove(&mut self, uid: &str) -> bool {
        let Some(entry) = self.entries.remove(uid) else { return false };
        *self.counts.of(entry.state) -= 1;
        true
    }

    /// The queued pod with this uid.
    pub(crate) fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.entries.get(uid).map(|entry| &entry.pod)
    }

    /// Every queued pod, in no particular order.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.entries.values().map(|entry| &entry.pod)
    }

    /// How many pods are in each part of the queue.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Pops the first active pod. The caller ends the attempt with [`Queue::remove`], [`Queue::mark_unschedulable`] or
    /// [`Queue::back_off`].
    pub(crate) fn pop(&mut self, now: MonotonicTime) -> Option<Attempt> {
        while let Some(heap_entry) = self.active.pop() {
            let Some(entry) = self.entries.get_mut(&heap_entry.uid) else { continue };
            if !entry.is_valid(&heap_entry) {
                continue;
            }
            entry.attempts += 1;
            entry.last_attempt = now;
            let attempt = Attempt { pod: entry.pod.clone(), number: entry.attempts, since: entry.since };
            self.set_state(&heap_entry.uid, State::InFlight);
            return Some(attempt);
        }
        None
    }

    /// Ends an attempt: no node fits, because of these filters. The pod waits for an event that may help.
    pub(crate) fn mark_unschedulable(&mut self, uid: &str, refused_by: FilterSet, now: MonotonicTime) {
        self.end_attempt(uid, State::Unschedulable, now, refused_by);
    }

    /// Ends an attempt that failed for a reason other than the filters. The pod is retried after its backoff.
    pub(crate) fn back_off(&mut self, uid: &str, now: MonotonicTime) {
        self.end_attempt(uid, State::Backoff, now, FilterSet::default());
    }

    fn end_attempt(&mut self, uid: &str, state: State, now: MonotonicTime, refused_by: FilterSet) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.last_attempt = now;
        entry.refused_by = refused_by;
        let state = if entry.pod.gated { State::Gated } else { state };
        let uid = entry.pod.uid.clone();
        self.set_state(&uid, state);
    }

    /// Requeues the unschedulable pods that these events may help. Returns their number.
    pub(crate) fn requeue(&mut self, events: ClusterEvents, now: MonotonicTime) -> usize {
        if self.counts.unschedulable == 0 || events.is_none() {
            return 0;
        }
        let may_help =
            |entry: &&Entry| entry.state == State::Unschedulable && entry.refused_by.may_be_resolved_by(events);
        let uids: Vec<_> = self.entries.values().filter(may_help).map(|entry| entry.pod.uid.clone()).collect();
        uids.iter().for_each(|uid| self.requeue_pod(uid, now));
        uids.len()
    }

    /// Activates pods whose backoff or maximal wait has ended. Returns when to call again, if any pod waits for a time.
    pub(crate) fn flush(&mut self, now: MonotonicTime) -> Option<MonotonicTime> {
        if self.counts.backoff + self.counts.unschedulable == 0 {
            return None;
        }
        let (mut due, mut next) = (Vec::new(), None::<MonotonicTime>);
        for entry in self.entries.values() {
            match entry.due() {
                Some(time) if time <= now => due.push((entry.state == State::Backoff, entry.pod.uid.clone())),
                Some(time) => next = Some(next.map_or(time, |next| next.min(time))),
                None => {}
            }
        }
        // Unschedulable pods have waited longest.
        due.sort_by_key(|(is_backoff, _)| *is_backoff);
        due.iter().for_each(|(_, uid)| self.set_state(uid, State::Active));
        next
    }

    /// Activates an unschedulable pod, or moves it to backoff if that has not ended.
    fn requeue_pod(&mut self, uid: &Arc<str>, now: MonotonicTime) {
        let early = self.entries.get(uid).is_some_and(|entry| entry.backoff_end() > now);
        self.set_state(uid, if early { State::Backoff } else { State::Active });
    }

    fn set_state(&mut self, uid: &Arc<str>, state: State) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        *self.counts.of(entry.state) -= 1;
        *self.counts.of(state) += 1;
        entry.state = state;
        if state == State::Active {
            self.last_sequence += 1;
            entry.sequence = self.last_sequence;
            self.active.push(HeapEntry {
                priority: entry.pod.shape.priority,
                sequence: entry.sequence,
                uid: uid.clone(),
            });
            self.compact_heap();
        }
    }

    /// Stale entries are skipped when they are popped. A process that pops none (a standby replica, or `assist`) has to
    /// compact the heap once most of it is stale.
    fn compact_heap(&mut self) {
        if self.active.len() > 2 * self.counts.active + MAX_STALE_ENTRIES {
            let entries = &self.entries;
            self.active
                .retain(|heap_entry| entries.get(&heap_entry.uid).is_some_and(|entry| entry.is_valid(heap_entry)));
        }
    }
}

impl Counts {
    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Active => &mut self.active,
            State::Backoff => &mut self.backoff,
            State::Unschedulable => &mut self.unschedulable,
            State::Gated => &mut self.gated,
            State::InFlight => &mut self.in_flight,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::Builder;
    use crate::filter::FILTERS;

    const START: MonotonicTime = Duration::from_secs(1000);

    fn at(seconds: u64) -> MonotonicTime {
        START + Duration::from_secs(seconds)
    }

    fn pod(name: &str, more: Value) -> Arc<Pod> {
        let builder = Builder::default();
        Arc::new(Pod { uid: Arc::from(name), name: name.into(), ..Pod::clone(&builder.pod(more)) })
    }

    fn with(pods: &[Arc<Pod>]) -> Queue {
        let mut queue = Queue::default();
        pods.iter().for_each(|pod| queue.put(pod.clone(), START));
        queue
    }

    fn next(queue: &mut Queue, now: MonotonicTime) -> Option<String> {
        queue.flush(now);
        queue.pop(now).map(|attempt| attempt.pod.name.to_string())
    }

    fn refused_by(name: &str) -> FilterSet {
        let mut set = FilterSet::default();
        set.insert(FILTERS.iter().position(|filter| filter.name == name).unwrap());
        set
    }

    #[test]
    fn pods_are_ordered_by_priority_then_arrival() {
        let important = pod("important", json!({"spec": {"priority": 5}}));
        let mut queue = with(&[pod("first", json!({})), pod("second", json!({})), important]);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, START)).collect();
        assert_eq!(order, ["important", "first", "second"]);
        assert_eq!(queue.counts(), Counts { in_flight: 3, ..Counts::default() });
    }

    #[test]
    fn backoff_doubles_from_one_second_to_ten() {
        let mut queue = with(&[pod("p", json!({}))]);
        let mut now = START;
        for wait in [1, 2, 4, 8, 10, 10] {
            assert!(next(&mut queue, now).is_some());
            queue.back_off("p", now);
            let wait = Duration::from_secs(wait);
            assert_eq!(queue.flush(now), Some(now + wait));
            assert!(next(&mut queue, now + wait - Duration::from_millis(1)).is_none());
            now += wait;
        }
    }

    #[test]
    fn an_unschedulable_pod_waits_for_an_event_that_may_help() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.mark_unschedulable("p", refused_by("TaintToleration"), START);
        assert_eq!(queue.requeue(ClusterEvents::POD_REMOVED, at(20)), 0);
        assert!(next(&mut queue, at(20)).is_none());
        assert_eq!(queue.requeue(ClusterEvents::NODE_TAINTS, at(20)), 1);
        assert!(next(&mut queue, at(20)).is_some());
    }

    #[test]
    fn a_pod_tried_without_nodes_waits_for_the_first_node() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.mark_unschedulable("p", FilterSet::default(), START);
        assert_eq!(queue.requeue(ClusterEvents::POD_REMOVED, at(20)), 0);
        assert_eq!(queue.requeue(ClusterEvents::NODE_ADDED, at(20)), 1);
        assert!(next(&mut queue, at(20)).is_some());
    }

    #[test]
    fn an_early_event_moves_the_pod_to_backoff() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.mark_unschedulable("p", refused_by("NodeResourcesFit"), START);
        queue.requeue(ClusterEvents::POD_REMOVED, START);
        assert_eq!(queue.counts(), Counts { backoff: 1, ..Counts::default() });
        assert!(next(&mut queue, START).is_none());
        assert!(next(&mut queue, at(1)).is_some());
    }

    #[test]
    fn an_unschedulable_pod_is_retried_after_five_minutes() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.mark_unschedulable("p", refused_by("NodeName"), START);
        assert_eq!(queue.flush(START), Some(at(300)));
        assert!(next(&mut queue, at(299)).is_none());
        assert!(next(&mut queue, at(300)).is_some());
    }

    #[test]
    fn a_gated_pod_waits_until_its_gates_are_removed() {
        let gated = pod("p", json!({"spec": {"schedulingGates": [{"name": "g"}]}}));
        let mut queue = with(&[gated]);
        assert!(next(&mut queue, at(1000)).is_none());
        assert_eq!(queue.counts(), Counts { gated: 1, ..Counts::default() });
        queue.put(pod("p", json!({})), START);
        assert!(next(&mut queue, START).is_some());
    }

    #[test]
    fn an_update_of_the_pod_itself_requeues_it() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.mark_unschedulable("p", refused_by("NodeAffinity"), START);
        queue.put(pod("p", json!({"metadata": {"labels": {"new": "label"}}})), at(5));
        assert!(next(&mut queue, at(5)).is_some());
    }

    #[test]
    fn a_pod_that_lost_its_nomination_is_retried() {
        let nominated = Pod { nominated: Some(Arc::from("a")), ..Pod::clone(&pod("p", json!({}))) };
        let mut queue = with(&[Arc::new(nominated.clone())]);
        next(&mut queue, START);
        queue.mark_unschedulable("p", refused_by("NodeResourcesFit"), START);
        queue.put(Arc::new(nominated.clone()), at(5));
        assert!(next(&mut queue, at(5)).is_none());
        queue.put(Arc::new(Pod { nominated: None, ..nominated }), at(5));
        assert!(next(&mut queue, at(5)).is_some());
    }

    #[test]
    fn a_removed_pod_is_not_tried() {
        let mut queue = with(&[pod("p", json!({})), pod("q", json!({}))]);
        assert!(queue.remove("p"));
        assert!(!queue.remove("p"));
        assert_eq!(next(&mut queue, START).as_deref(), Some("q"));
        assert!(next(&mut queue, START).is_none());
    }

    #[test]
    fn the_heap_stays_small_when_nothing_is_popped() {
        let mut queue = with(&[pod("stays", json!({}))]);
        let other = pod("p", json!({}));
        for _ in 0..1000 {
            queue.put(other.clone(), START);
            queue.remove("p");
        }
        assert!(queue.active.len() <= MAX_STALE_ENTRIES + 4, "{}", queue.active.len());
        assert_eq!(next(&mut queue, START).as_deref(), Some("stays"));
    }

    #[test]
    fn a_pod_in_flight_is_not_popped_again() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.put(pod("p", json!({"metadata": {"labels": {"a": "b"}}})), START);
        queue.requeue(ClusterEvents::POD_REMOVED, START);
        assert!(next(&mut queue, at(1000)).is_none());
    }
}
