//! Updates change the store and requeue pods.

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::cluster::testing;
use crate::filter::FilterSet;
use crate::model::GroupKind;
use crate::model::Intern;
use crate::model::OwnerKind;
use crate::queue::Counts;
use crate::read;

const NOW: MonotonicTime = MonotonicTime::from_secs(100);

struct Fixture {
    store: Store,
    intern: Intern,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { store: Store::new([Arc::from("human-scheduler")]), intern: Intern::default() }
    }

    fn pod(&self, name: &str, more: Value) -> Pod {
        let mut wire = testing::pod(name, json!({"spec": {"schedulerName": "human-scheduler"}, "status": {}}));
        for (section, fields) in more.as_object().unwrap() {
            wire[section].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }
        read::pod(&serde_json::from_value(wire).unwrap(), &self.intern).unwrap()
    }

    fn put(&mut self, name: &str, more: Value) {
        let pod = self.pod(name, more);
        self.store.apply(Update::Pod(Change::Applied(pod)), NOW);
    }

    fn node(&mut self, name: &str, more: Value) {
        let wire = serde_json::from_value(testing::node(name, more)).unwrap();
        let node = read::node(&wire, &self.intern).unwrap();
        self.store.apply(Update::Node(Change::Applied(node)), NOW);
    }

    /// Pops the next pod and rejects it with every filter.
    fn mark_unschedulable(&mut self, uid: &str) {
        let mut all = FilterSet::default();
        (1..13).for_each(|filter| all.insert(filter));
        assert_eq!(&*self.store.queue.pop(NOW).unwrap().pod.uid, uid);
        self.store.queue.mark_unschedulable(uid, all, MonotonicTime::ZERO);
    }

    /// One unschedulable pod, and another one with a nomination.
    fn nominated() -> Fixture {
        let mut fixture = Fixture::new();
        fixture.put("p", json!({}));
        fixture.mark_unschedulable("p");
        fixture.put("q", json!({}));
        let pod = fixture.store.queue.pop(NOW).unwrap().pod;
        fixture.store.nominate(&pod, &Arc::from("a"), NOW);
        fixture.store.queue.mark_unschedulable("q", FilterSet::default(), NOW);
        assert_eq!(fixture.counts().unschedulable, 2);
        fixture
    }

    fn nominated_count(&self) -> usize {
        self.store.cluster.nominations.below("a", i32::MAX).len()
    }

    fn counts(&self) -> Counts {
        self.store.queue.counts()
    }
}

#[test]
fn pods_naming_this_scheduler_are_queued_until_bound() {
    let mut fixture = Fixture::new();
    fixture.put("p", json!({}));
    fixture.put("q", json!({"spec": {"schedulerName": "default-scheduler"}}));
    assert_eq!(fixture.counts().active, 1);
    fixture.put("p", json!({"spec": {"nodeName": "a"}}));
    assert_eq!((fixture.counts().active, fixture.store.cluster.pod_counts()), (0, (1, 0)));
}

#[test]
fn a_terminating_pod_or_one_of_another_scheduler_leaves_the_queue() {
    let mut fixture = Fixture::new();
    fixture.put("p", json!({}));
    fixture.put("p", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert_eq!(fixture.counts(), Counts::default());
    fixture.put("q", json!({}));
    fixture.put("q", json!({"spec": {"schedulerName": "other"}}));
    assert_eq!(fixture.counts(), Counts::default());
}

#[test]
fn objects_missing_in_a_new_list_are_deleted() {
    let mut fixture = Fixture::new();
    fixture.node("a", json!({}));
    fixture.node("b", json!({}));
    fixture.put("runs", json!({"spec": {"nodeName": "a"}}));
    fixture.put("waits", json!({}));
    let assumed = Arc::new(fixture.pod("assumed", json!({})));
    let node = fixture.store.cluster.node_named("a").unwrap();
    fixture.store.cluster.assume(assumed, node);
    for change in [Change::ListStarted, Change::ListComplete] {
        fixture.store.apply(Update::Pod(change), NOW);
    }
    fixture.store.apply(Update::Node(Change::ListStarted), NOW);
    fixture.node("b", json!({}));
    fixture.store.apply(Update::Node(Change::ListComplete), NOW);
    assert_eq!(fixture.counts(), Counts::default());
    // An assumed pod is not in the API server's list yet.
    assert_eq!(fixture.store.cluster.pod_counts(), (1, 1));
    assert_eq!(fixture.store.cluster.node_count(), 1);
}

#[test]
fn the_store_is_synced_once_every_kind_was_listed() {
    let mut store = Store::new([]);
    let owners = [OwnerKind::ReplicationController, OwnerKind::ReplicaSet, OwnerKind::StatefulSet];
    for kind in owners.map(GroupKind::Controller).into_iter().chain([GroupKind::Service]) {
        store.apply(Update::Group(kind, Change::ListComplete), NOW);
    }
    store.apply(Update::Pod(Change::ListComplete), NOW);
    store.apply(Update::Node(Change::ListComplete), NOW);
    store.apply(Update::Namespace(Change::ListComplete), NOW);
    store.apply(Update::Claim(Change::ListComplete), NOW);
    store.apply(Update::Volume(Change::ListComplete), NOW);
    store.apply(Update::Class(Change::ListComplete), NOW);
    store.apply(Update::CsiNode(Change::ListComplete), NOW);
    store.apply(Update::CsiDriver(Change::ListComplete), NOW);
    store.apply(Update::Capacity(Change::ListComplete), NOW);
    store.apply(Update::Attachment(Change::ListComplete), NOW);
    assert!(!store.is_synced());
    store.apply(Update::Budget(Change::ListComplete), NOW);
    assert!(store.is_synced());
}

#[test]
fn a_node_heartbeat_requeues_no_pod_and_more_allocatable_does() {
    let mut fixture = Fixture::new();
    fixture.node("a", json!({}));
    fixture.put("p", json!({}));
    fixture.mark_unschedulable("p");
    fixture.node("a", json!({"metadata": {"annotations": {"beat": "2"}}}));
    assert_eq!(fixture.counts().unschedulable, 1);
    fixture.node("a", json!({"status": {"allocatable": {"cpu": "8"}}}));
    assert_eq!((fixture.counts().unschedulable, fixture.counts().active), (0, 1));
}

#[test]
fn a_deleted_pod_requeues_pods_that_need_its_room() {
    let mut fixture = Fixture::new();
    fixture.put("runs", json!({"spec": {"nodeName": "a"}}));
    fixture.put("p", json!({}));
    fixture.mark_unschedulable("p");
    let gone = fixture.pod("runs", json!({"spec": {"nodeName": "a"}}));
    fixture.store.apply(Update::Pod(Change::Deleted(gone)), NOW);
    assert_eq!(fixture.counts().active, 1);
}

#[test]
fn a_stale_version_of_a_bound_pod_is_ignored() {
    let mut fixture = Fixture::new();
    fixture.node("a", json!({}));
    fixture.put("p", json!({}));
    let pod = fixture.store.queue.pop(NOW).unwrap().pod;
    let node = fixture.store.cluster.node_named("a").unwrap();
    fixture.store.cluster.assume(pod, node);
    // A pod whose binding is in flight may have to be retried.
    fixture.put("p", json!({}));
    assert_eq!((fixture.counts().in_flight, fixture.store.cluster.pod_counts()), (1, (1, 1)));
    fixture.store.queue.remove("p");
    let late = json!({"metadata": {"annotations": {"seen": "late"}}});
    fixture.put("p", late.clone());
    assert_eq!((fixture.counts(), fixture.store.cluster.pod_counts()), (Counts::default(), (1, 1)));
    fixture.put("p", json!({"spec": {"nodeName": "a"}}));
    fixture.put("p", late);
    assert_eq!((fixture.counts(), fixture.store.cluster.pod_counts()), (Counts::default(), (1, 0)));
}

#[test]
fn a_nomination_stays_until_the_server_has_shown_and_removed_it() {
    let mut fixture = Fixture::nominated();
    let late = json!({"metadata": {"annotations": {"seen": "late"}}});
    fixture.put("q", late.clone());
    assert_eq!(fixture.nominated_count(), 1);
    assert_eq!(fixture.store.queue.get("q").unwrap().nominated.as_deref(), Some("a"));
    fixture.put("q", json!({"status": {"nominatedNodeName": "a"}}));
    assert_eq!((fixture.nominated_count(), fixture.counts().unschedulable), (1, 2));
    fixture.put("q", late);
    assert_eq!((fixture.nominated_count(), fixture.counts().unschedulable), (0, 0));
}

#[test]
fn a_cleared_nomination_requeues_other_pods() {
    let others_wait = |change: &dyn Fn(&mut Fixture)| {
        let mut fixture = Fixture::nominated();
        change(&mut fixture);
        fixture.counts().active == 0
    };
    assert!(!others_wait(&|fixture| {
        let gone = fixture.pod("q", json!({}));
        fixture.store.apply(Update::Pod(Change::Deleted(gone)), NOW);
    }));
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert!(!others_wait(&|fixture| fixture.put("q", leaving.clone())));
    assert!(!others_wait(&|fixture| fixture.put("q", json!({"status": {"nominatedNodeName": "b"}}))));
    assert!(!others_wait(&|fixture| {
        let pod = fixture.pod("q", json!({}));
        fixture.store.clear_nomination(&pod, NOW);
    }));
    assert!(others_wait(&|fixture| fixture.put("q", json!({"status": {"nominatedNodeName": "a"}}))));
}
