//! Requests and limits -> what the kernel is told, by the kubelet's rules.

use kubernetes_quantity::Quantity;

use super::super::host::Host;
use super::super::manifest::Container;
use super::super::manifest::Pod;
use crate::proto::LinuxContainerResources;

/// Microseconds over which a processor limit counts; the kubelet's default.
const CPU_PERIOD: i64 = 100_000;
/// The least quota the kernel takes, in microseconds.
const MIN_QUOTA: i64 = 1_000;
/// The weight of one processor, and what the kernel takes.
const SHARES_PER_CPU: i64 = 1_024;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// How the kernel chooses whom to kill when memory runs out: the kubelet's values.
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1_000;

/// Quality of service class: how much of what a Pod uses it has reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// What a container asks for. A request that is not given is the same as the limit, as the API server fills it in.
#[derive(Clone, Copy, Default)]
struct Wanted {
    cpu_request: Option<Quantity>,
    cpu_limit: Option<Quantity>,
    memory_request: Option<Quantity>,
    memory_limit: Option<Quantity>,
}

impl Wanted {
    fn by(container: &Container) -> Wanted {
        let (requests, limits) = (&container.resources.requests, &container.resources.limits);
        let some = |quantity: Option<Quantity>| quantity.filter(|quantity| !quantity.is_zero());
        Wanted {
            cpu_request: some(requests.cpu.or(limits.cpu)),
            cpu_limit: some(limits.cpu),
            memory_request: some(requests.memory.or(limits.memory)),
            memory_limit: some(limits.memory),
        }
    }

    fn is_nothing(&self) -> bool {
        let any = self.cpu_request.or(self.cpu_limit).or(self.memory_request).or(self.memory_limit);
        any.is_none()
    }

    /// Both limited, and nothing less than the limit reserved.
    fn is_guaranteed(&self) -> bool {
        self.cpu_limit.is_some()
            && self.memory_limit.is_some()
            && self.cpu_request == self.cpu_limit
            && self.memory_request == self.memory_limit
    }
}

/// The class of a Pod, from all its containers.
pub(super) fn qos(pod: &Pod) -> Qos {
    let wanted: Vec<Wanted> = pod.spec.all_containers().map(Wanted::by).collect();
    if wanted.iter().all(Wanted::is_nothing) {
        Qos::BestEffort
    } else if wanted.iter().all(Wanted::is_guaranteed) {
        Qos::Guaranteed
    } else {
        Qos::Burstable
    }
}

/// The limits of one container.
pub(super) fn resources(pod: &Pod, container: &Container, host: &Host) -> LinuxContainerResources {
    let wanted = Wanted::by(container);
    let memory = wanted.memory_limit.map_or(0, Quantity::value);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: wanted.cpu_limit.map_or(0, |limit| quota(limit.milli())),
        cpu_shares: shares(wanted.cpu_request.map_or(0, Quantity::milli)),
        memory_limit_in_bytes: memory,
        // Equal to the limit means no swap; a kernel that does not count swap cannot be told.
        memory_swap_limit_in_bytes: if host.counts_swap { memory } else { 0 },
        oom_score_adj: oom_score_adj(qos(pod), wanted.memory_request.map_or(0, Quantity::value), host.memory),
        ..Default::default()
    }
}

fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA)
}

fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The more of the node's memory a container has reserved, the later it is killed; always before guaranteed
/// pods and after those that reserve nothing.
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
        Host { memory: 10 * GIB, counts_swap: true, ..Host::default() }
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
    fn memory_limits_leave_no_swap_where_swap_is_counted() {
        let limited = of("{limits: {memory: 64Mi}}");
        assert_eq!(limited.memory_limit_in_bytes, 64 << 20);
        assert_eq!(limited.memory_swap_limit_in_bytes, 64 << 20);
        let pod = with(&["{limits: {memory: 64Mi}}"]);
        let host = Host { counts_swap: false, ..host() };
        assert_eq!(resources(&pod, &pod.spec.containers[0], &host).memory_swap_limit_in_bytes, 0);
    }

    #[test]
    fn the_more_is_reserved_the_later_it_is_killed() {
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
