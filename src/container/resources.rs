//! Translates the CRI's container resources into Docker's.

use std::sync::Once;

use crate::cgroup::check_unified;
use crate::docker::EngineInfo;
use crate::docker::request::HostConfig;
use crate::docker::request::Resources;
use crate::error::Error;
use crate::proto::LinuxContainerResources;

/// The kernel's bounds of `oom_score_adj` (proc(5)).
const OOM_SCORE: std::ops::RangeInclusive<i64> = -1000..=1000;

/// Checks values that Docker would accept and misinterpret.
pub(super) fn check(object: &str, resources: &LinuxContainerResources, info: &EngineInfo) -> Result<(), Error> {
    if !OOM_SCORE.contains(&resources.oom_score_adj) {
        let reason = format!("{} is not between -1000 and 1000", resources.oom_score_adj);
        return Err(Error::invalid(object, "linux.resources.oom_score_adj", reason));
    }
    for (field, value) in [
        ("linux.resources.memory_limit_in_bytes", resources.memory_limit_in_bytes),
        ("linux.resources.cpu_shares", resources.cpu_shares),
        ("linux.resources.cpu_period", resources.cpu_period),
    ] {
        if value < 0 {
            return Err(Error::invalid(object, field, format!("{value} is negative")));
        }
    }
    check_unified(object, &resources.unified, info)
}

/// Sets the resources of a new container. Docker has no hugepage limits: the kubelet sets them on
/// the pod's cgroup, which limits the container too.
pub(super) fn apply(resources: &LinuxContainerResources, host: &mut HostConfig, info: &EngineInfo) {
    static WARNED: Once = Once::new();
    if resources.hugepage_limits.iter().any(|limit| limit.limit > 0) {
        WARNED.call_once(|| {
            tracing::warn!("Docker has no hugepage limits for a container; those of the pod's cgroup apply")
        });
    }
    host.resources = update(resources);
    host.oom_score_adj = Some(info.clamp_oom_score(resources.oom_score_adj));
}

/// The update of an existing container. What the client left at zero or empty is absent.
pub(super) fn update(resources: &LinuxContainerResources) -> Resources {
    Resources {
        cpu_period: positive(resources.cpu_period),
        cpu_quota: nonzero(resources.cpu_quota),
        cpu_shares: positive(resources.cpu_shares),
        cpuset_cpus: text(&resources.cpuset_cpus),
        cpuset_mems: text(&resources.cpuset_mems),
        memory: positive(resources.memory_limit_in_bytes),
        memory_swap: memory_and_swap(resources),
    }
}

/// `known` with every value that `change` sets: an update keeps what it does not set.
pub(super) fn merge(known: &LinuxContainerResources, change: &LinuxContainerResources) -> LinuxContainerResources {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let list = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let mut unified = known.unified.clone();
    unified.extend(change.unified.clone());
    LinuxContainerResources {
        cpu_period: number(change.cpu_period, known.cpu_period),
        cpu_quota: number(change.cpu_quota, known.cpu_quota),
        cpu_shares: number(change.cpu_shares, known.cpu_shares),
        memory_limit_in_bytes: number(change.memory_limit_in_bytes, known.memory_limit_in_bytes),
        // Docker cannot change these two of an existing container.
        oom_score_adj: known.oom_score_adj,
        hugepage_limits: known.hugepage_limits.clone(),
        cpuset_cpus: list(&change.cpuset_cpus, &known.cpuset_cpus),
        cpuset_mems: list(&change.cpuset_mems, &known.cpuset_mems),
        unified,
        memory_swap_limit_in_bytes: memory_and_swap(change).unwrap_or(known.memory_swap_limit_in_bytes),
    }
}

/// Docker's limit on memory and swap together. By default Docker allows as much swap as memory; a kubelet that sets no
/// swap limit expects none.
fn memory_and_swap(resources: &LinuxContainerResources) -> Option<i64> {
    match (resources.memory_swap_limit_in_bytes, resources.memory_limit_in_bytes) {
        (0, 0) => None,
        (0, memory) => Some(memory),
        (both, _) => Some(both),
    }
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

/// A negative quota means no limit and is passed on.
fn nonzero(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;

    #[test]
    fn a_memory_limit_without_a_swap_limit_allows_no_swap() {
        let resources = LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() };
        let mut host = HostConfig::default();
        apply(&resources, &mut host, &engine_info(41));
        assert_eq!((host.resources.memory, host.resources.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(host.resources.cpu_quota, None);
    }

    #[test]
    fn a_score_below_the_hosts_minimum_is_raised_to_it() {
        let resources = LinuxContainerResources { oom_score_adj: -997, ..Default::default() };
        let mut host = HostConfig::default();
        apply(&resources, &mut host, &EngineInfo { oom_score_floor: Some(0), ..engine_info(41) });
        assert_eq!(host.oom_score_adj, Some(0));
        apply(&resources, &mut host, &engine_info(41));
        assert_eq!(host.oom_score_adj, Some(-997));
    }

    #[test]
    fn an_update_keeps_what_it_does_not_set() {
        let known = LinuxContainerResources { cpu_shares: 512, memory_limit_in_bytes: 10, ..Default::default() };
        let change = LinuxContainerResources { memory_limit_in_bytes: 20, ..Default::default() };
        let merged = merge(&known, &change);
        assert_eq!((merged.cpu_shares, merged.memory_limit_in_bytes), (512, 20));
        // Without a swap limit in the update, the limit on both follows the one on memory.
        assert_eq!(merged.memory_swap_limit_in_bytes, 20);
    }

    #[test]
    fn values_out_of_range_are_refused_by_their_field() {
        let resources = LinuxContainerResources { oom_score_adj: 1001, ..Default::default() };
        assert!(check("c", &resources, &engine_info(41)).unwrap_err().to_string().contains("oom_score_adj"));
    }
}
