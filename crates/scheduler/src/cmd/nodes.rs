//! `nodes`: lists nodes with their free resources.

use super::table::bytes;
use super::table::cpu;
use super::table::table;
use crate::cluster::Cluster;
use crate::cluster::NodeInfo;

pub(super) fn show(cluster: &Cluster) -> String {
    let mut nodes: Vec<_> = cluster.nodes().map(|(_, info)| info).collect();
    nodes.sort_by_key(|info| info.node.name.clone());
    let rows: Vec<_> = nodes.into_iter().map(row).collect();
    table(&["NAME", "STATE", "PODS", "FREE CPU", "FREE MEMORY", "OTHERS FREE", "TAINTS"], &rows)
}

fn row(info: &NodeInfo) -> Vec<String> {
    let (node, used) = (&info.node, &info.requested);
    let has = &node.allocatable;
    let others = has.named.iter().map(|(name, amount)| format!("{name}: {}", amount - used.get(name)));
    let state = match (node.ready, node.unschedulable) {
        (true, false) => "Ready",
        (true, true) => "Ready, cordoned",
        (false, false) => "NotReady",
        (false, true) => "NotReady, cordoned",
    };
    vec![
        node.name.to_string(),
        state.to_owned(),
        format!("{}/{}", info.pods.len(), node.max_pods),
        format!("{} of {}", cpu(has.cpu - used.cpu.get()), cpu(has.cpu)),
        format!("{} of {}", bytes(has.memory - used.memory.get()), bytes(has.memory)),
        others.collect::<Vec<_>>().join(", "),
        node.taints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    ]
}
