//! `pods`: lists pending pods.

use super::table::bytes;
use super::table::cpu;
use super::table::table;
use crate::model::PendingState;
use crate::model::Pod;
use crate::store::Store;

pub(super) fn show(store: &Store) -> String {
    let mut pods: Vec<_> = store.queue.pods().collect();
    pods.sort_by_key(|pod| (-i64::from(pod.shape.priority), pod.to_string()));
    let row = |pod: &&std::sync::Arc<Pod>| {
        let requests = &pod.shape.requests;
        vec![
            pod.namespace().to_string(),
            pod.name.to_string(),
            pod.shape.priority.to_string(),
            cpu(requests.cpu),
            bytes(requests.memory),
            state(pod),
        ]
    };
    let rows: Vec<_> = pods.iter().map(row).collect();
    table(&["NAMESPACE", "NAME", "PRIORITY", "CPU", "MEMORY", "STATE"], &rows)
}

fn state(pod: &Pod) -> String {
    match pod.pending_state() {
        PendingState::Gated => "gated".to_owned(),
        PendingState::Nominated(node) => format!("waiting for victims on {node}"),
        PendingState::Unschedulable(message) => message.to_owned(),
        PendingState::New => "new".to_owned(),
    }
}
