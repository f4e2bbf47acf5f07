//! Which nodes fit a pod: each filter is a file in this directory and a line in [`FILTERS`].
//!
//! [`Filter::prepare`] first sees the pod and the cluster (kube-scheduler's PreFilter). It skips the pod, refuses it on
//! every node, or returns a [`Check`] for the single nodes (Filter). Names, order and messages are kube-scheduler's, so
//! that people and tools can rely on them.

mod events;
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

pub(crate) use self::events::ClusterEvents;
pub(crate) use self::inter_pod_affinity::matches;
pub(crate) use self::inter_pod_affinity::matches_incoming;
pub(crate) use self::pod_topology_spread::add_matching;
pub(crate) use self::refusal::Reasons;
pub(crate) use self::refusal::Refusal;
pub(crate) use self::volume_binding::plan as plan_volumes;
use super::cluster::Cluster;
use super::cluster::NodeId;
use super::cluster::NodeInfo;
use super::model::Pod;

/// Whether the pod fits one node; the refusal if not.
pub(crate) type Check<'a> = Box<dyn Fn(NodeId, &NodeInfo) -> Result<(), Refusal> + 'a>;

/// The result of [`Filter::prepare`]: skip (`None`), a check per node, or a refusal of every node.
pub(crate) type Prepared<'a> = Result<Option<Check<'a>>, Refusal>;

/// A rule that nodes must satisfy.
pub(crate) struct Filter {
    /// kube-scheduler's plugin name.
    pub(crate) name: &'static str,
    /// Sees the pod and the whole cluster, once per decision.
    pub(crate) prepare: for<'a> fn(&'a Pod, &'a Cluster) -> Prepared<'a>,
    /// Events that may make a node feasible which this filter rejected (kube-scheduler's EventsToRegister).
    pub(crate) events: ClusterEvents,
}

/// All filters in the order they run in. A new filter needs a file in `filter/` and a line here.
pub(crate) static FILTERS: [Filter; 13] = [
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

/// A set of filters, by their index in [`FILTERS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterSet(u16);

impl FilterSet {
    /// Adds the filter with this index.
    pub(crate) fn insert(&mut self, filter: usize) {
        self.0 |= 1 << filter;
    }

    /// The filters in the set.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'static Filter> {
        FILTERS.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, filter)| filter)
    }

    /// Whether one of these events may help a pod that these filters rejected. The empty set stands for a cluster
    /// without nodes.
    pub(crate) fn may_be_resolved_by(self, events: ClusterEvents) -> bool {
        if self == FilterSet::default() {
            return events.intersects(ClusterEvents::NODE_ADDED);
        }
        self.iter().any(|filter| filter.events.intersects(events))
    }
}

/// The checks of all filters that apply to a pod, with the index of each filter.
pub(crate) struct Checks<'a>(Vec<(usize, Check<'a>)>);

impl<'a> Checks<'a> {
    /// Runs [`Filter::prepare`] of every filter.
    ///
    /// # Errors
    /// The first refusal that applies to every node, with the index of its filter.
    pub(crate) fn prepare(pod: &'a Pod, cluster: &'a Cluster) -> Result<Checks<'a>, (usize, Refusal)> {
        let mut checks = Vec::with_capacity(FILTERS.len());
        for (at, filter) in FILTERS.iter().enumerate() {
            if let Some(check) = (filter.prepare)(pod, cluster).map_err(|refusal| (at, refusal))? {
                checks.push((at, check));
            }
        }
        Ok(Checks(checks))
    }

    /// Whether the pod fits a node.
    ///
    /// # Errors
    /// The first refusal, with the index of its filter.
    pub(crate) fn check(&self, id: NodeId, node: &NodeInfo) -> Result<(), (usize, Refusal)> {
        self.0.iter().try_for_each(|(at, check)| check(id, node).map_err(|refusal| (*at, refusal)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cluster::testing::Builder;

    /// The names of the nodes that fit a pod.
    pub(crate) fn fits(builder: &Builder, pod: Value) -> Vec<String> {
        let pod = builder.pod(pod);
        let Ok(checks) = Checks::prepare(&pod, &builder.cluster) else { return Vec::new() };
        let fitting = builder.cluster.nodes().filter(|(id, info)| checks.check(*id, info).is_ok());
        fitting.map(|(_, info)| info.node.name.to_string()).collect()
    }

    /// `<filter>: <reason>`, if the pod does not fit the node.
    pub(crate) fn verdict(builder: &Builder, pod: Value, node: &str) -> Option<String> {
        let pod = builder.pod(pod);
        let id = builder.cluster.node_named(node).unwrap();
        let checks = Checks::prepare(&pod, &builder.cluster);
        let refused = checks.and_then(|checks| checks.check(id, builder.cluster.node(id))).err()?;
        Some(format!("{}: {}", FILTERS[refused.0].name, refused.1))
    }
}
