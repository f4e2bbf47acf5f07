//! News change the world as they should.

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::cluster::testing;
use crate::filter::FilterSet;
use crate::model::Intern;
use crate::model::OwnerKind;
use crate::queue::Counts;
use crate::read;

const NOW: Moment = Moment::from_secs(100);

struct Fixture {
    world: World,
    intern: Intern,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { world: World::new([Arc::from("human-scheduler")]), intern: Intern::default() }
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
        self.world.apply(Update::Pod(Change::Put(pod)), NOW);
    }

    fn node(&mut self, name: &str, more: Value) {
        let wire = serde_json::from_value(testing::node(name, more)).unwrap();
        let node = read::node(&wire, &self.intern).unwrap();
        self.world.apply(Update::Node(Change::Put(node)), NOW);
    }

    /// Takes the next pod and says that every filter refused it.
    fn unfit(&mut self, uid: &str) {
        let mut all = FilterSet::default();
        (1..13).for_each(|filter| all.insert(filter));
        assert_eq!(&*self.world.queue.next(NOW).unwrap().pod.uid, uid);
        self.world.queue.unfit(uid, all, Moment::ZERO);
    }

    /// A pod waits for something, and another has a node kept for it.
    fn nominated() -> Fixture {
        let mut fixture = Fixture::new();
        fixture.put("p", json!({}));
        fixture.unfit("p");
        fixture.put("q", json!({}));
        let pod = fixture.world.queue.next(NOW).unwrap().pod;
        fixture.world.nominate(&pod, &Arc::from("a"), NOW);
        fixture.world.queue.unfit("q", FilterSet::default(), NOW);
        assert_eq!(fixture.counts().unschedulable, 2);
        fixture
    }

    fn kept(&self) -> usize {
        self.world.cluster.nominations.below("a", i32::MAX).len()
    }

    fn counts(&self) -> Counts {
        self.world.queue.counts()
    }
}

#[test]
fn pods_that_ask_for_us_wait_until_they_have_a_node() {
    let mut fixture = Fixture::new();
    fixture.put("p", json!({}));
    fixture.put("q", json!({"spec": {"schedulerName": "default-scheduler"}}));
    assert_eq!(fixture.counts().active, 1);
    fixture.put("p", json!({"spec": {"nodeName": "a"}}));
    assert_eq!((fixture.counts().active, fixture.world.cluster.pod_counts()), (0, (1, 0)));
}

#[test]
fn a_pod_that_is_deleted_or_asks_for_another_scheduler_waits_no_more() {
    let mut fixture = Fixture::new();
    fixture.put("p", json!({}));
    fixture.put("p", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert_eq!(fixture.counts(), Counts::default());
    fixture.put("q", json!({}));
    fixture.put("q", json!({"spec": {"schedulerName": "other"}}));
    assert_eq!(fixture.counts(), Counts::default());
}

#[test]
fn what_a_new_list_does_not_have_is_gone() {
    let mut fixture = Fixture::new();
    fixture.node("a", json!({}));
    fixture.node("b", json!({}));
    fixture.put("runs", json!({"spec": {"nodeName": "a"}}));
    fixture.put("waits", json!({}));
    let assumed = Arc::new(fixture.pod("assumed", json!({})));
    let node = fixture.world.cluster.node_named("a").unwrap();
    fixture.world.cluster.assume(assumed, node);
    for change in [Change::Begin, Change::Complete] {
        fixture.world.apply(Update::Pod(change), NOW);
    }
    fixture.world.apply(Update::Node(Change::Begin), NOW);
    fixture.node("b", json!({}));
    fixture.world.apply(Update::Node(Change::Complete), NOW);
    assert_eq!(fixture.counts(), Counts::default());
    // What is only assumed is not known to the server yet.
    assert_eq!(fixture.world.cluster.pod_counts(), (1, 1));
    assert_eq!(fixture.world.cluster.node_count(), 1);
}

#[test]
fn decisions_wait_until_every_kind_was_listed() {
    let mut world = World::new([]);
    let owners = [OwnerKind::ReplicationController, OwnerKind::ReplicaSet, OwnerKind::StatefulSet];
    for kind in owners.map(GroupKind::Controller).into_iter().chain([GroupKind::Service]) {
        world.apply(Update::Group(kind, Change::Complete), NOW);
    }
    world.apply(Update::Pod(Change::Complete), NOW);
    world.apply(Update::Node(Change::Complete), NOW);
    world.apply(Update::Namespace(Change::Complete), NOW);
    world.apply(Update::Claim(Change::Complete), NOW);
    world.apply(Update::Volume(Change::Complete), NOW);
    world.apply(Update::Class(Change::Complete), NOW);
    world.apply(Update::CsiNode(Change::Complete), NOW);
    world.apply(Update::CsiDriver(Change::Complete), NOW);
    world.apply(Update::Capacity(Change::Complete), NOW);
    world.apply(Update::Attachment(Change::Complete), NOW);
    assert!(!world.is_complete());
    world.apply(Update::Budget(Change::Complete), NOW);
    assert!(world.is_complete());
}

#[test]
fn a_heartbeat_of_a_node_wakes_nobody_and_more_room_does() {
    let mut fixture = Fixture::new();
    fixture.node("a", json!({}));
    fixture.put("p", json!({}));
    fixture.unfit("p");
    fixture.node("a", json!({"metadata": {"annotations": {"beat": "2"}}}));
    assert_eq!(fixture.counts().unschedulable, 1);
    fixture.node("a", json!({"status": {"allocatable": {"cpu": "8"}}}));
    assert_eq!((fixture.counts().unschedulable, fixture.counts().active), (0, 1));
}

#[test]
fn a_pod_that_goes_wakes_those_that_need_its_room() {
    let mut fixture = Fixture::new();
    fixture.put("runs", json!({"spec": {"nodeName": "a"}}));
    fixture.put("p", json!({}));
    fixture.unfit("p");
    let gone = fixture.pod("runs", json!({"spec": {"nodeName": "a"}}));
    fixture.world.apply(Update::Pod(Change::Gone(gone)), NOW);
    assert_eq!(fixture.counts().active, 1);
}

#[test]
fn a_version_of_a_pod_from_before_it_was_bound_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.node("a", json!({}));
    fixture.put("p", json!({}));
    let pod = fixture.world.queue.next(NOW).unwrap().pod;
    let node = fixture.world.cluster.node_named("a").unwrap();
    fixture.world.cluster.assume(pod, node);
    // While it is being bound it may still have to be tried again.
    fixture.put("p", json!({}));
    assert_eq!((fixture.counts().tried, fixture.world.cluster.pod_counts()), (1, (1, 1)));
    fixture.world.queue.remove("p");
    let late = json!({"metadata": {"annotations": {"seen": "late"}}});
    fixture.put("p", late.clone());
    assert_eq!((fixture.counts(), fixture.world.cluster.pod_counts()), (Counts::default(), (1, 1)));
    fixture.put("p", json!({"spec": {"nodeName": "a"}}));
    fixture.put("p", late);
    assert_eq!((fixture.counts(), fixture.world.cluster.pod_counts()), (Counts::default(), (1, 0)));
}

#[test]
fn a_node_stays_kept_until_the_server_has_told_of_it_and_does_so_no_more() {
    let mut fixture = Fixture::nominated();
    let late = json!({"metadata": {"annotations": {"seen": "late"}}});
    fixture.put("q", late.clone());
    assert_eq!(fixture.kept(), 1);
    assert_eq!(fixture.world.queue.get("q").unwrap().nominated.as_deref(), Some("a"));
    fixture.put("q", json!({"status": {"nominatedNodeName": "a"}}));
    assert_eq!((fixture.kept(), fixture.counts().unschedulable), (1, 2));
    fixture.put("q", late);
    assert_eq!((fixture.kept(), fixture.counts().unschedulable), (0, 0));
}

#[test]
fn a_node_that_is_not_kept_any_more_is_room_for_others() {
    let others_wait = |change: &dyn Fn(&mut Fixture)| {
        let mut fixture = Fixture::nominated();
        change(&mut fixture);
        fixture.counts().active == 0
    };
    assert!(!others_wait(&|fixture| {
        let gone = fixture.pod("q", json!({}));
        fixture.world.apply(Update::Pod(Change::Gone(gone)), NOW);
    }));
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert!(!others_wait(&|fixture| fixture.put("q", leaving.clone())));
    assert!(!others_wait(&|fixture| fixture.put("q", json!({"status": {"nominatedNodeName": "b"}}))));
    assert!(!others_wait(&|fixture| {
        let pod = fixture.pod("q", json!({}));
        fixture.world.denominate(&pod, NOW);
    }));
    assert!(others_wait(&|fixture| fixture.put("q", json!({"status": {"nominatedNodeName": "a"}}))));
}
