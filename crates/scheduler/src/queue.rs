//! Pods that wait for a node, and when each is to be tried next. Pure: the caller says what time it is.
//!
//! A pod is *active* until it is tried. One that fits nowhere becomes *unschedulable* until something happens that can
//! help it, or until it has waited for five minutes. What failed for another reason, or is helped too soon, waits in
//! *backoff*: 1 s, doubling to 10 s. Pods with scheduling gates are only remembered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::filter::Events;
use super::filter::FilterSet;
use super::model::Pod;

/// A point in time, counted from any fixed one.
pub type Moment = Duration;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// An unschedulable pod is tried again after this at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// So many turns that are none any more are not worth looking for.
const SPARE_TURNS: usize = 64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Arc<str>, Entry>,
    active: BinaryHeap<Turn>,
    tickets: u64,
    counts: Counts,
}

/// How many pods wait in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
    /// Those that were taken out to be tried, and are not done.
    pub tried: usize,
}

/// A pod to be tried.
#[derive(Debug)]
pub struct Attempt {
    pub pod: Arc<Pod>,
    /// How often it has been tried, with this time.
    pub number: u32,
    /// When it came.
    pub since: Moment,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    state: State,
    attempts: u32,
    since: Moment,
    failed: Moment,
    refused_by: FilterSet,
    /// Which turn of those in the heap is valid; also says who was first.
    ticket: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Backoff,
    Unschedulable,
    Gated,
    Tried,
}

/// A place in the order: by priority, and among equals by ticket.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    priority: i32,
    ticket: u64,
    uid: Arc<str>,
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> Ordering {
        self.priority.cmp(&other.priority).then_with(|| other.ticket.cmp(&self.ticket))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Entry {
    /// Whether this is still its turn.
    fn is_valid(&self, turn: &Turn) -> bool {
        self.state == State::Active && self.ticket == turn.ticket
    }

    /// When it may be tried again.
    fn ready(&self) -> Moment {
        let doublings = self.attempts.saturating_sub(1).min(10);
        self.failed + (FIRST_BACKOFF * 2_u32.pow(doublings)).min(LAST_BACKOFF)
    }

    /// When it is tried again though nothing has happened; `None`: it does not wait for a time.
    fn due(&self) -> Option<Moment> {
        match self.state {
            State::Backoff => Some(self.ready()),
            // Any backoff is over by then.
            State::Unschedulable => Some(self.failed + LONGEST_WAIT),
            State::Active | State::Gated | State::Tried => None,
        }
    }
}

impl Queue {
    /// Takes note of a pod that waits for a node: a new one, or one that somebody changed.
    pub fn put(&mut self, pod: Arc<Pod>, now: Moment) {
        let uid = pod.uid.clone();
        let state = if pod.gated { State::Gated } else { State::Active };
        let Some(entry) = self.entries.get_mut(&uid) else {
            let entry = Entry {
                pod,
                state,
                attempts: 0,
                since: now,
                failed: Moment::ZERO,
                refused_by: FilterSet::default(),
                ticket: 0,
            };
            *self.counts.of(state) += 1;
            self.entries.insert(uid.clone(), entry);
            self.enter(&uid, state);
            return;
        };
        let changed = !Arc::ptr_eq(&entry.pod.shape, &pod.shape);
        let not_kept = entry.pod.nominated.is_some() && pod.nominated.is_none();
        let before = entry.state;
        entry.pod = pod;
        match (before, state) {
            (State::Tried, _) => {}
            (_, State::Gated) => self.enter(&uid, State::Gated),
            (State::Gated, State::Active) => self.enter(&uid, State::Active),
            // What was changed may fit now, and what does not wait for its node any more may find another.
            (State::Unschedulable, State::Active) if changed || not_kept => self.help(&uid, now),
            (State::Active, State::Active) if changed => self.enter(&uid, State::Active),
            _ => {}
        }
    }

    /// Forgets a pod: it is gone, it has a node, or another scheduler is asked now.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(entry) = self.entries.remove(uid) else { return false };
        *self.counts.of(entry.state) -= 1;
        true
    }

    pub fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.entries.get(uid).map(|entry| &entry.pod)
    }

    /// Every pod that waits.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.entries.values().map(|entry| &entry.pod)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes out the pod whose turn it is. The caller says what became of it by [`Queue::remove`], [`Queue::unfit`] or
    /// [`Queue::failed`].
    pub fn next(&mut self, now: Moment) -> Option<Attempt> {
        while let Some(turn) = self.active.pop() {
            let Some(entry) = self.entries.get_mut(&turn.uid) else { continue };
            if !entry.is_valid(&turn) {
                continue;
            }
            entry.attempts += 1;
            entry.failed = now;
            let attempt = Attempt { pod: entry.pod.clone(), number: entry.attempts, since: entry.since };
            self.enter(&turn.uid, State::Tried);
            return Some(attempt);
        }
        None
    }

    /// The pod fits nowhere, says these filters. It waits for something that can help.
    pub fn unfit(&mut self, uid: &str, refused_by: FilterSet, now: Moment) {
        self.end(uid, State::Unschedulable, now, refused_by);
    }

    /// Something went wrong that has nothing to do with the pod. It is tried again soon.
    pub fn failed(&mut self, uid: &str, now: Moment) {
        self.end(uid, State::Backoff, now, FilterSet::default());
    }

    fn end(&mut self, uid: &str, state: State, now: Moment, refused_by: FilterSet) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.failed = now;
        entry.refused_by = refused_by;
        let state = if entry.pod.gated { State::Gated } else { state };
        let uid = entry.pod.uid.clone();
        self.enter(&uid, state);
    }

    /// Something happened: pods that it can help are to be tried again. Returns how many.
    pub fn wake(&mut self, events: Events, now: Moment) -> usize {
        if self.counts.unschedulable == 0 || events.is_none() {
            return 0;
        }
        let helped = |entry: &&Entry| entry.state == State::Unschedulable && entry.refused_by.is_woken_by(events);
        let uids: Vec<_> = self.entries.values().filter(helped).map(|entry| entry.pod.uid.clone()).collect();
        uids.iter().for_each(|uid| self.help(uid, now));
        uids.len()
    }

    /// Pods whose time has come are to be tried again. Returns when to ask next, if anybody waits for a time.
    pub fn tick(&mut self, now: Moment) -> Option<Moment> {
        if self.counts.backoff + self.counts.unschedulable == 0 {
            return None;
        }
        let (mut due, mut next) = (Vec::new(), None::<Moment>);
        for entry in self.entries.values() {
            match entry.due() {
                Some(time) if time <= now => due.push((entry.state == State::Backoff, entry.pod.uid.clone())),
                Some(time) => next = Some(next.map_or(time, |next| next.min(time))),
                None => {}
            }
        }
        // Those that have waited for the longest time first.
        due.sort_by_key(|(is_backoff, _)| *is_backoff);
        due.iter().for_each(|(_, uid)| self.enter(uid, State::Active));
        next
    }

    /// An unschedulable pod is to be tried again, though not before its backoff is over.
    fn help(&mut self, uid: &Arc<str>, now: Moment) {
        let early = self.entries.get(uid).is_some_and(|entry| entry.ready() > now);
        self.enter(uid, if early { State::Backoff } else { State::Active });
    }

    fn enter(&mut self, uid: &Arc<str>, state: State) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        *self.counts.of(entry.state) -= 1;
        *self.counts.of(state) += 1;
        entry.state = state;
        if state == State::Active {
            self.tickets += 1;
            entry.ticket = self.tickets;
            self.active.push(Turn { priority: entry.pod.shape.priority, ticket: entry.ticket, uid: uid.clone() });
            self.drop_stale_turns();
        }
    }

    /// Turns of pods that do not wait for one any more are passed over by who decides; where nobody does, because another
    /// replica works or a person, they have to go when they are the most.
    fn drop_stale_turns(&mut self) {
        if self.active.len() > 2 * self.counts.active + SPARE_TURNS {
            let entries = &self.entries;
            self.active.retain(|turn| entries.get(&turn.uid).is_some_and(|entry| entry.is_valid(turn)));
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
            State::Tried => &mut self.tried,
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

    const START: Moment = Duration::from_secs(1000);

    fn at(seconds: u64) -> Moment {
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

    fn next(queue: &mut Queue, now: Moment) -> Option<String> {
        queue.tick(now);
        queue.next(now).map(|attempt| attempt.pod.name.to_string())
    }

    fn refused_by(name: &str) -> FilterSet {
        let mut set = FilterSet::default();
        set.insert(FILTERS.iter().position(|filter| filter.name == name).unwrap());
        set
    }

    #[test]
    fn the_most_important_come_first_and_then_the_earliest() {
        let important = pod("important", json!({"spec": {"priority": 5}}));
        let mut queue = with(&[pod("first", json!({})), pod("second", json!({})), important]);
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, START)).collect();
        assert_eq!(order, ["important", "first", "second"]);
        assert_eq!(queue.counts(), Counts { tried: 3, ..Counts::default() });
    }

    #[test]
    fn backoff_doubles_from_one_second_to_ten() {
        let mut queue = with(&[pod("p", json!({}))]);
        let mut now = START;
        for wait in [1, 2, 4, 8, 10, 10] {
            assert!(next(&mut queue, now).is_some());
            queue.failed("p", now);
            let wait = Duration::from_secs(wait);
            assert_eq!(queue.tick(now), Some(now + wait));
            assert!(next(&mut queue, now + wait - Duration::from_millis(1)).is_none());
            now += wait;
        }
    }

    #[test]
    fn a_pod_that_fits_nowhere_waits_for_what_can_help() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.unfit("p", refused_by("TaintToleration"), START);
        assert_eq!(queue.wake(Events::POD_GONE, at(20)), 0);
        assert!(next(&mut queue, at(20)).is_none());
        assert_eq!(queue.wake(Events::NODE_TAINTS, at(20)), 1);
        assert!(next(&mut queue, at(20)).is_some());
    }

    #[test]
    fn a_pod_that_was_tried_without_nodes_waits_for_the_first() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.unfit("p", FilterSet::default(), START);
        assert_eq!(queue.wake(Events::POD_GONE, at(20)), 0);
        assert_eq!(queue.wake(Events::NODE_ADDED, at(20)), 1);
        assert!(next(&mut queue, at(20)).is_some());
    }

    #[test]
    fn help_that_comes_too_soon_waits_for_the_backoff() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.unfit("p", refused_by("NodeResourcesFit"), START);
        queue.wake(Events::POD_GONE, START);
        assert_eq!(queue.counts(), Counts { backoff: 1, ..Counts::default() });
        assert!(next(&mut queue, START).is_none());
        assert!(next(&mut queue, at(1)).is_some());
    }

    #[test]
    fn an_unschedulable_pod_is_tried_again_after_five_minutes() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.unfit("p", refused_by("NodeName"), START);
        assert_eq!(queue.tick(START), Some(at(300)));
        assert!(next(&mut queue, at(299)).is_none());
        assert!(next(&mut queue, at(300)).is_some());
    }

    #[test]
    fn gates_keep_a_pod_back_until_they_are_removed() {
        let gated = pod("p", json!({"spec": {"schedulingGates": [{"name": "g"}]}}));
        let mut queue = with(&[gated]);
        assert!(next(&mut queue, at(1000)).is_none());
        assert_eq!(queue.counts(), Counts { gated: 1, ..Counts::default() });
        queue.put(pod("p", json!({})), START);
        assert!(next(&mut queue, START).is_some());
    }

    #[test]
    fn a_change_of_the_pod_itself_helps() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.unfit("p", refused_by("NodeAffinity"), START);
        queue.put(pod("p", json!({"metadata": {"labels": {"new": "label"}}})), at(5));
        assert!(next(&mut queue, at(5)).is_some());
    }

    #[test]
    fn a_pod_that_has_lost_the_node_kept_for_it_is_tried_again() {
        let nominated = Pod { nominated: Some(Arc::from("a")), ..Pod::clone(&pod("p", json!({}))) };
        let mut queue = with(&[Arc::new(nominated.clone())]);
        next(&mut queue, START);
        queue.unfit("p", refused_by("NodeResourcesFit"), START);
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
    fn pods_that_come_and_go_leave_nothing_where_nobody_decides() {
        let mut queue = with(&[pod("stays", json!({}))]);
        let other = pod("p", json!({}));
        for _ in 0..1000 {
            queue.put(other.clone(), START);
            queue.remove("p");
        }
        assert!(queue.active.len() <= SPARE_TURNS + 4, "{}", queue.active.len());
        assert_eq!(next(&mut queue, START).as_deref(), Some("stays"));
    }

    #[test]
    fn a_pod_that_is_being_tried_is_not_tried_twice() {
        let mut queue = with(&[pod("p", json!({}))]);
        next(&mut queue, START);
        queue.put(pod("p", json!({"metadata": {"labels": {"a": "b"}}})), START);
        queue.wake(Events::POD_GONE, START);
        assert!(next(&mut queue, at(1000)).is_none());
    }
}
