//! Translates requests and limits to cgroup settings and OOM scores, by the kubelet's rules.

use kubernetes_quantity::Quantity;

use super::super::host::Host;
use super::super::types::Container;
use super::super::types::Pod;
use crate::proto::LinuxContainerResources;

/// The period of a processor limit, in microseconds: the kubelet's default.
const CPU_PERIOD: i64 = 100_000;
/// The smallest quota that the kernel accepts, in microseconds.
const MIN_QUOTA: i64 = 1_000;
/// The weight of one processor, and the range that the kernel accepts.
const SHARES_PER_CPU: i64 = 1_024;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// `oom_score_adj`, by which the kernel chooses the victim of an OOM kill: the kubelet's values.
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1_000;

/// The quality of service class of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Requests and limits of a container; zero is the same as none. An absent request equals the limit, as the API server
/// defaults it.
#[derive(Clone, Copy, Default)]
struct Effective {
    cpu_request: Option<Quantity>,
    cpu_limit: Option<Quantity>,
    memory_request: Option<Quantity>,
    memory_limit: Option<Quantity>,
}

impl Effective {
    fn of(container: &Container) -> Effective {
        let (requests, limits) = (&container.resources.requests, &container.resources.limits);
        let nonzero = |quantity: Option<Quantity>| quantity.filter(|quantity| !quantity.is_zero());
        Effective {
            cpu_request: nonzero(requests.cpu.or(limits.cpu)),
            cpu_limit: nonzero(limits.cpu),
            memory_request: nonzero(requests.memory.or(limits.memory)),
            memory_limit: nonzero(limits.memory),
        }
    }

    fn is_empty(&self) -> bool {
        let any = self.cpu_request.or(self.cpu_limit).or(self.memory_request).or(self.memory_limit);
        any.is_none()
    }

    /// Both resources are limited, and the requests equal the limits.
    fn is_guaranteed(&self) -> bool {
        self.cpu_limit.is_some()
            && self.memory_limit.is_some()
            && self.cpu_request == self.cpu_limit
            && self.memory_request == self.memory_limit
    }
}

/// The class of a Pod, from all its containers.
pub(super) fn qos(pod: &Pod) -> Qos {
    let containers: Vec<Effective> = pod.spec.all_containers().map(Effective::of).collect();
    if containers.iter().all(Effective::is_empty) {
        Qos::BestEffort
    } else if containers.iter().all(Effective::is_guaranteed) {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

/// The limits of one container.
pub(super) fn resources(pod: &Pod, container: &Container, host: &Host) -> LinuxContainerResources {
    let effective = Effective::of(container);
    let memory = effective.memory_limit.map_or(0, Quantity::value);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: effective.cpu_limit.map_or(0, |limit| quota(limit.milli())),
        cpu_shares: shares(effective.cpu_request.map_or(0, Quantity::milli)),
        memory_limit_in_bytes: memory,
        // Equal to the memory limit means no swap. A kernel without swap accounting rejects the setting.
        memory_swap_limit_in_bytes: if host.swap_accounting { memory } else { 0 },
        oom_score_adj: oom_score_adj(qos(pod), effective.memory_request.map_or(0, Quantity::value), host.memory),
        ..Default::default()
    }
}

fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA)
}

fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The larger a container's share of the node's memory in requests, the later it is killed; always before guaranteed pods and
/// after best-effort ones.
fn oom_score_adj(qos: Qos, request: i64, capacity: i64) -> i64 {
    match qos {
        Qos::Guaranteed => OOM_GUARANTEED,
        Qos::BestEffort => OOM_BEST_EFFORT,
        Qos::Burstable => {
            let reserved = request.saturating_mul(1000) / capacity.max(1);
            (1000 - reserved).clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;

    const GIB: i64 = 1 << 30;

    /// A Pod with these `resources`, one for each container.
    fn with(resources: &[&str]) -> Pod {
        let container = |(number, resources): (usize, &&str)| {
            format!("  - {{name: c{number}, image: x, resources: {resources}}}\n")
        };
        pod(&format!("containers:\n{}", resources.iter().enumerate().map(container).collect::<String>()))
    }

    fn host() -> Host {
        Host { memory: 10 * GIB, swap_accounting: true, ..Host::default() }
    }

    fn of(resource: &str) -> LinuxContainerResources {
        let pod = with(&[resource]);
        resources(&pod, &pod.spec.containers[0], &host())
    }

    #[test]
    fn the_class_depends_on_all_containers() {
        for (resources, class) in [
            (&["{}"][..], Qos::BestEffort),
            (&["{limits: {cpu: 0, memory: 0}}"], Qos::BestEffort),
            (&["{limits: {cpu: 1, memory: 1Gi}}"], Qos::Guaranteed),
            (&["{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m, memory: 1024Mi}}"], Qos::Guaranteed),
            (&["{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}"], Qos::Burstable),
            (&["{limits: {memory: 1Gi}}"], Qos::Burstable),
            (&["{requests: {cpu: 1}}"], Qos::Burstable),
            (&["{limits: {cpu: 1, memory: 1Gi}}", "{}"], Qos::Burstable),
            (&["{limits: {cpu: 1, memory: 1Gi}}", "{limits: {cpu: 2, memory: 1Gi}}"], Qos::Guaranteed),
        ] {
            assert_eq!(qos(&with(resources)), class, "{resources:?}");
        }
    }

    #[test]
    fn init_containers_count_for_the_class() {
        let pod = pod(
            "initContainers: [{name: i, image: x}]\ncontainers: [{name: c, image: x, resources: {limits: {cpu: 1, memory: 1Gi}}}]",
        );
        assert_eq!(qos(&pod), Qos::Burstable);
    }

    #[test]
    fn processors_become_weight_and_quota() {
        for (given, shares, quota) in [
            ("{}", 2, 0),
            ("{requests: {cpu: 500m}}", 512, 0),
            ("{limits: {cpu: 500m}}", 512, 50_000),
            ("{requests: {cpu: 250m}, limits: {cpu: 2}}", 256, 200_000),
            ("{limits: {cpu: 1m}}", 2, 1_000),
            ("{requests: {cpu: 1000}}", 262_144, 0),
        ] {
            let resources = of(given);
            assert_eq!(
                (resources.cpu_shares, resources.cpu_quota, resources.cpu_period),
                (shares, quota, 100_000),
                "{given}"
            );
        }
    }

    #[test]
    fn memory_limits_leave_no_swap_where_swap_is_accounted() {
        let limited = of("{limits: {memory: 64Mi}}");
        assert_eq!(limited.memory_limit_in_bytes, 64 << 20);
        assert_eq!(limited.memory_swap_limit_in_bytes, 64 << 20);
        let pod = with(&["{limits: {memory: 64Mi}}"]);
        let host = Host { swap_accounting: false, ..host() };
        assert_eq!(resources(&pod, &pod.spec.containers[0], &host).memory_swap_limit_in_bytes, 0);
    }

    #[test]
    fn larger_memory_requests_are_killed_later() {
        for (given, score) in [
            ("{}", 1000),
            ("{limits: {cpu: 1, memory: 1Gi}}", -997),
            ("{requests: {cpu: 1}}", 999),
            ("{requests: {memory: 1Mi}}", 999),
            ("{requests: {memory: 1Gi}}", 900),
            ("{requests: {memory: 5Gi}}", 500),
            ("{requests: {memory: 20Gi}}", 3),
        ] {
            assert_eq!(of(given).oom_score_adj, score, "{given}");
        }
    }
}
