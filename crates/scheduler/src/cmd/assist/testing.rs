//! Worlds for tests: complete, with these nodes and these pods that wait.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::cluster::testing;
use crate::model::GroupKind;
use crate::model::Intern;
use crate::model::OwnerKind;
use crate::model::Pod;
use crate::queue::Moment;
use crate::read;
use crate::update::Change;
use crate::update::Update;
use crate::world::World;

/// When all pods here were made, in seconds since 1970.
pub(super) const MADE: i64 = 1_000_000;

pub(super) struct Fixture {
    pub(super) world: World,
    intern: Intern,
}

impl Fixture {
    /// A world of which nothing is known.
    pub(super) fn unknown() -> Fixture {
        Fixture { world: World::new([Arc::from("human-scheduler")]), intern: Intern::default() }
    }

    /// A world in which these nodes are, and all is known.
    pub(super) fn with_nodes(names: &[&str]) -> Fixture {
        let mut fixture = Fixture::unknown();
        fixture.complete();
        names.iter().fold(fixture, |fixture, name| fixture.node(name, json!({})))
    }

    /// Says of every kind that all of it was listed.
    pub(super) fn complete(&mut self) {
        for update in complete() {
            self.world.apply(update, Moment::ZERO);
        }
    }

    pub(super) fn node(mut self, name: &str, more: Value) -> Fixture {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let node = testing::node(name, with(ready, more));
        let node = read::node(&serde_json::from_value(node).unwrap(), &self.intern).unwrap();
        self.world.apply(Update::Node(Change::Put(node)), Moment::ZERO);
        self
    }

    pub(super) fn waits(mut self, name: &str, more: Value) -> Fixture {
        self.put(name, more);
        self
    }

    /// Tells of a pod as it is now.
    pub(super) fn put(&mut self, name: &str, more: Value) {
        let pod = self.pod(name, more);
        self.world.apply(Update::Pod(Change::Put(pod)), Moment::ZERO);
    }

    pub(super) fn pod(&self, name: &str, more: Value) -> Pod {
        let ours = json!({
            "metadata": {"creationTimestamp": jiff::Timestamp::from_second(MADE).unwrap().to_string()},
            "spec": {"schedulerName": "human-scheduler"},
        });
        let pod = testing::pod(name, with(ours, more));
        read::pod(&serde_json::from_value(pod).unwrap(), &self.intern).unwrap()
    }

    /// Takes a pod away.
    pub(super) fn gone(&mut self, name: &str) {
        let pod = self.pod(name, json!({}));
        self.world.apply(Update::Pod(Change::Gone(pod)), Moment::ZERO);
    }
}

/// What is told when every list is empty.
pub(super) fn complete() -> Vec<Update> {
    let controllers = [OwnerKind::ReplicationController, OwnerKind::ReplicaSet, OwnerKind::StatefulSet];
    let mut groups = vec![GroupKind::Service];
    groups.extend(controllers.map(GroupKind::Controller));
    let mut updates = vec![
        Update::Node(Change::Complete),
        Update::Namespace(Change::Complete),
        Update::Claim(Change::Complete),
        Update::Volume(Change::Complete),
        Update::Class(Change::Complete),
        Update::CsiNode(Change::Complete),
        Update::CsiDriver(Change::Complete),
        Update::Capacity(Change::Complete),
        Update::Attachment(Change::Complete),
        Update::Budget(Change::Complete),
        Update::Pod(Change::Complete),
    ];
    updates.extend(groups.into_iter().map(|kind| Update::Group(kind, Change::Complete)));
    updates
}

/// `base` with the members of `more`, at all depths.
fn with(mut base: Value, more: Value) -> Value {
    match (&mut base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                let merged = with(base.remove(&key).unwrap_or(Value::Null), value);
                base.insert(key, merged);
            }
        }
        (base, more) => *base = more,
    }
    base
}
