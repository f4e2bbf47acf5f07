//! Where a pod can go: each filter is a file here, and a line in [`FILTERS`].
//!
//! A filter first looks at the pod and the cluster as a whole ([`Filter::prepare`]). It may have nothing to say about
//! this pod, refuse it everywhere, or return a [`Check`] to be asked about each node. Names, order and words are
//! kube-scheduler's, so that a message means to people and tools what it always meant.

mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod pod_topology_spread;
mod refusal;
mod taint_toleration;
mod unsupported;
mod volume_binding;
mod volume_limits;
mod volume_restrictions;
mod volume_zone;
mod wake;

pub(crate) use self::inter_pod_affinity::matches;
pub(crate) use self::inter_pod_affinity::matches_incoming;
pub(crate) use self::pod_topology_spread::add_matching;
pub use self::refusal::Reasons;
pub use self::refusal::Refusal;
pub use self::volume_binding::plan as plan_volumes;
pub use self::wake::Events;
use super::cluster::Cluster;
use super::cluster::NodeId;
use super::cluster::NodeInfo;
use super::model::Pod;

/// Asks one filter about one node.
pub type Check<'a> = Box<dyn Fn(NodeId, &NodeInfo) -> Result<(), Refusal> + 'a>;

/// What a filter says before it sees a node: nothing, a check, or no.
pub type Prepared<'a> = Result<Option<Check<'a>>, Refusal>;

/// A rule that a node has to keep.
pub struct Filter {
    /// kube-scheduler's name of it.
    pub name: &'static str,
    pub prepare: for<'a> fn(&'a Pod, &'a Cluster) -> Prepared<'a>,
    /// What can make a node fit that this filter refused.
    pub woken_by: Events,
}

/// All filters, in the order in which they are asked.
pub static FILTERS: [Filter; 13] = [
    unsupported::FILTER,
    node_unschedulable::FILTER,
    node_name::FILTER,
    taint_toleration::FILTER,
    node_affinity::FILTER,
    node_ports::FILTER,
    node_resources::FILTER,
    volume_restrictions::FILTER,
    volume_limits::FILTER,
    volume_binding::FILTER,
    volume_zone::FILTER,
    pod_topology_spread::FILTER,
    inter_pod_affinity::FILTER,
];

/// Some of the filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterSet(u16);

impl FilterSet {
    pub fn insert(&mut self, filter: usize) {
        self.0 |= 1 << filter;
    }

    pub fn iter(self) -> impl Iterator<Item = &'static Filter> {
        FILTERS.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, filter)| filter)
    }

    /// Whether one of these events can make a node fit that one of these filters refused. Where none of them did, there
    /// were no nodes.
    pub fn is_woken_by(self, events: Events) -> bool {
        if self == FilterSet::default() {
            return events.intersects(Events::NODE_ADDED);
        }
        self.iter().any(|filter| filter.woken_by.intersects(events))
    }
}

/// The checks of all filters that have something to say about a pod.
pub struct Checks<'a>(Vec<(usize, Check<'a>)>);

impl<'a> Checks<'a> {
    /// Asks every filter what it has to say.
    ///
    /// # Errors
    /// The first refusal that holds for every node, with the number of the filter.
    pub fn prepare(pod: &'a Pod, cluster: &'a Cluster) -> Result<Checks<'a>, (usize, Refusal)> {
        let mut checks = Vec::with_capacity(FILTERS.len());
        for (at, filter) in FILTERS.iter().enumerate() {
            if let Some(check) = (filter.prepare)(pod, cluster).map_err(|refusal| (at, refusal))? {
                checks.push((at, check));
            }
        }
        Ok(Checks(checks))
    }

    /// Whether the pod can go to a node.
    ///
    /// # Errors
    /// The first refusal, with the number of the filter.
    pub fn check(&self, id: NodeId, node: &NodeInfo) -> Result<(), (usize, Refusal)> {
        self.0.iter().try_for_each(|(at, check)| check(id, node).map_err(|refusal| (*at, refusal)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cluster::testing::Builder;

    /// The names of the nodes that a pod can go to.
    pub(crate) fn fits(builder: &Builder, pod: Value) -> Vec<String> {
        let pod = builder.pod(pod);
        let Ok(checks) = Checks::prepare(&pod, &builder.cluster) else { return Vec::new() };
        let fitting = builder.cluster.nodes().filter(|(id, info)| checks.check(*id, info).is_ok());
        fitting.map(|(_, info)| info.node.name.to_string()).collect()
    }

    /// `<filter>: <reason>`, when a pod cannot go to a node.
    pub(crate) fn verdict(builder: &Builder, pod: Value, node: &str) -> Option<String> {
        let pod = builder.pod(pod);
        let id = builder.cluster.node_named(node).unwrap();
        let checks = Checks::prepare(&pod, &builder.cluster);
        let refused = checks.and_then(|checks| checks.check(id, builder.cluster.node(id))).err()?;
        Some(format!("{}: {}", FILTERS[refused.0].name, refused.1))
    }
}
