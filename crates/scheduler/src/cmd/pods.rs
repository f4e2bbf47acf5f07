//! `pods`: the pods that wait.

use super::table::bytes;
use super::table::cpu;
use super::table::table;
use crate::model::Pod;
use crate::model::Standing;
use crate::world::World;

pub(super) fn show(world: &World) -> String {
    let mut pods: Vec<_> = world.queue.pods().collect();
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
    match pod.standing() {
        Standing::Gated => "gated".to_owned(),
        Standing::Nominated(node) => format!("waits for others to leave {node}"),
        Standing::Refused(message) => message.to_owned(),
        Standing::New => "new".to_owned(),
    }
}
