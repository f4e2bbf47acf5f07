//! Stores for tests: synced, with these nodes and pending pods.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::cluster::testing;
use crate::model::GroupKind;
use crate::model::Intern;
use crate::model::OwnerKind;
use crate::model::Pod;
use crate::queue::MonotonicTime;
use crate::read;
use crate::store::Store;
use crate::update::Change;
use crate::update::Update;

/// The creation time of all pods, in seconds since 1970.
pub(super) const CREATED: i64 = 1_000_000;

pub(super) struct Fixture {
    pub(super) store: Store,
    intern: Intern,
}

impl Fixture {
    /// A store before its first list.
    pub(super) fn unsynced() -> Fixture {
        Fixture { store: Store::new([Arc::from("human-scheduler")]), intern: Intern::default() }
    }

    /// A synced store with these nodes.
    pub(super) fn with_nodes(names: &[&str]) -> Fixture {
        let mut fixture = Fixture::unsynced();
        fixture.complete();
        names.iter().fold(fixture, |fixture, name| fixture.node(name, json!({})))
    }

    /// Completes the list of every kind.
    pub(super) fn complete(&mut self) {
        for update in complete() {
            self.store.apply(update, MonotonicTime::ZERO);
        }
    }

    pub(super) fn node(mut self, name: &str, more: Value) -> Fixture {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let node = testing::node(name, with(ready, more));
        let node = read::node(&serde_json::from_value(node).unwrap(), &self.intern).unwrap();
        self.store.apply(Update::Node(Change::Applied(node)), MonotonicTime::ZERO);
        self
    }

    pub(super) fn pending(mut self, name: &str, more: Value) -> Fixture {
        self.put(name, more);
        self
    }

    /// Applies a version of a pod.
    pub(super) fn put(&mut self, name: &str, more: Value) {
        let pod = self.pod(name, more);
        self.store.apply(Update::Pod(Change::Applied(pod)), MonotonicTime::ZERO);
    }

    pub(super) fn pod(&self, name: &str, more: Value) -> Pod {
        let ours = json!({
            "metadata": {"creationTimestamp": jiff::Timestamp::from_second(CREATED).unwrap().to_string()},
            "spec": {"schedulerName": "human-scheduler"},
        });
        let pod = testing::pod(name, with(ours, more));
        read::pod(&serde_json::from_value(pod).unwrap(), &self.intern).unwrap()
    }

    /// Deletes a pod.
    pub(super) fn delete(&mut self, name: &str) {
        let pod = self.pod(name, json!({}));
        self.store.apply(Update::Pod(Change::Deleted(pod)), MonotonicTime::ZERO);
    }
}

/// The updates of empty lists.
pub(super) fn complete() -> Vec<Update> {
    let controllers = [OwnerKind::ReplicationController, OwnerKind::ReplicaSet, OwnerKind::StatefulSet];
    let mut groups = vec![GroupKind::Service];
    groups.extend(controllers.map(GroupKind::Controller));
    let mut updates = vec![
        Update::Node(Change::ListComplete),
        Update::Namespace(Change::ListComplete),
        Update::Claim(Change::ListComplete),
        Update::Volume(Change::ListComplete),
        Update::Class(Change::ListComplete),
        Update::CsiNode(Change::ListComplete),
        Update::CsiDriver(Change::ListComplete),
        Update::Capacity(Change::ListComplete),
        Update::Attachment(Change::ListComplete),
        Update::Budget(Change::ListComplete),
        Update::Pod(Change::ListComplete),
    ];
    updates.extend(groups.into_iter().map(|kind| Update::Group(kind, Change::ListComplete)));
    updates
}

/// Deep-merges `more` into `base`.
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
