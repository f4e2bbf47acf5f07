//! A pod's resource requests by Kubernetes' formula, and a node's allocatable resources.

use kubernetes_quantity::Quantity;

use super::BadField;
use crate::model::Intern;
use crate::model::NonZeroRequests;
use crate::model::Resources;
use crate::wire;

/// CPU that a container without a CPU request counts in scores (kube-scheduler's DefaultMilliCPURequest).
const DEFAULT_CPU: Quantity = Quantity::thousandths(100);
/// Memory that a container without a memory request counts in scores (DefaultMemoryRequest).
const DEFAULT_MEMORY: Quantity = Quantity::whole(200 * 1024 * 1024);

const CPU: &str = "cpu";
const MEMORY: &str = "memory";
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
const PODS: &str = "pods";
const HUGE_PAGES: &str = "hugepages-";

/// A pod's requests, and what it counts in scores.
pub(super) struct Requests {
    pub(super) requests: Resources,
    pub(super) nonzero_incoming: NonZeroRequests,
    pub(super) nonzero_placed: NonZeroRequests,
}

/// Computes a pod's requests.
pub(super) fn requests(pod: &wire::Pod, intern: &Intern) -> Result<Requests, BadField> {
    let defaults = [(CPU, DEFAULT_CPU), (MEMORY, DEFAULT_MEMORY)];
    let exact = total(pod, &[])?;
    // kube-scheduler's LeastAllocated uses the containers' requests for the incoming pod, whatever the pod-level
    // request.
    let nonzero_incoming = with_overhead(pod, of_containers(pod, &defaults)?)?.nonzero();
    let of_pod = pod.spec.resources.as_ref().map(|resources| &resources.requests);
    let nonzero_placed = if of_pod.is_some_and(|requests| requests.keys().any(|name| is_pod_level(name))) {
        // A resource with a pod-level request gets no container defaults.
        let missing: Vec<_> = defaults.into_iter().filter(|(name, _)| exact.get(name).is_none()).collect();
        total(pod, &missing)?.nonzero()
    } else {
        nonzero_incoming
    };
    Ok(Requests { requests: exact.resources(intern), nonzero_incoming, nonzero_placed })
}

/// A node's allocatable resources, and the number of its pod slots.
pub(super) fn allocatable(node: &wire::Node, intern: &Intern) -> Result<(Resources, i64), BadField> {
    let (amounts, field) = match &node.status {
        status if status.allocatable.is_empty() => (&status.capacity, "status.capacity"),
        status => (&status.allocatable, "status.allocatable"),
    };
    let list = List::read(amounts, field)?;
    Ok((list.resources(intern), list.get(PODS).map_or(0, Quantity::value)))
}

/// Amounts by resource name.
#[derive(Clone, Default)]
struct List<'a>(Vec<(&'a str, Quantity)>);

impl<'a> List<'a> {
    fn read(amounts: &'a wire::Amounts, field: &str) -> Result<List<'a>, BadField> {
        let read = |(name, amount): (&'a String, &wire::Amount)| match Quantity::parse(&amount.0) {
            Ok(quantity) => Ok((name.as_str(), quantity)),
            Err(error) => Err(BadField::new(format!("{field}[{name}]"), error)),
        };
        amounts.iter().map(read).collect::<Result<_, _>>().map(List)
    }

    fn get(&self, name: &str) -> Option<Quantity> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, amount)| *amount)
    }

    fn merge(&mut self, other: &List<'a>, merge: impl Fn(Quantity, Quantity) -> Quantity) {
        for (name, amount) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = merge(*known, *amount),
                None => self.0.push((name, *amount)),
            }
        }
    }

    fn add(&mut self, other: &List<'a>) {
        self.merge(other, |a, b| a + b);
    }

    fn raise(&mut self, other: &List<'a>) {
        self.merge(other, Quantity::max);
    }

    fn replace(&mut self, other: &List<'a>) {
        self.merge(other, |_, new| new);
    }

    fn nonzero(&self) -> NonZeroRequests {
        let amount = |name| self.get(name).unwrap_or_default();
        NonZeroRequests { cpu: amount(CPU).milli(), memory: amount(MEMORY).value() }
    }

    fn resources(&self, intern: &Intern) -> Resources {
        let amount = |name| self.get(name).unwrap_or_default();
        let mut named: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _)| is_named(name))
            .map(|(name, amount)| (intern.str(name), amount.value()))
            .collect();
        named.sort();
        Resources {
            cpu: amount(CPU).milli(),
            memory: amount(MEMORY).value(),
            ephemeral_storage: amount(EPHEMERAL_STORAGE).value(),
            named,
        }
    }
}

/// Whether a resource is counted by name: extended resources, huge pages, attachable volumes.
fn is_named(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
        || name.starts_with("attachable-volumes-")
        || (name.contains('/') && !name.starts_with("requests."))
}

/// Whether a resource can have a pod-level request.
fn is_pod_level(name: &str) -> bool {
    name == CPU || name == MEMORY || name.starts_with(HUGE_PAGES)
}

/// The pod's total, where a container without a request for a resource in `defaults` counts with the default.
fn total<'a>(pod: &'a wire::Pod, defaults: &[(&'a str, Quantity)]) -> Result<List<'a>, BadField> {
    let mut sum = of_containers(pod, defaults)?;
    if let Some(resources) = &pod.spec.resources {
        let mut of_pod = List::read(&resources.requests, "spec.resources.requests")?;
        of_pod.0.retain(|(name, _)| is_pod_level(name));
        sum.replace(&of_pod);
    }
    with_overhead(pod, sum)
}

fn with_overhead<'a>(pod: &'a wire::Pod, mut sum: List<'a>) -> Result<List<'a>, BadField> {
    sum.add(&List::read(&pod.spec.overhead, "spec.overhead")?);
    Ok(sum)
}

/// The most that its containers need at the same time.
fn of_containers<'a>(pod: &'a wire::Pod, defaults: &[(&'a str, Quantity)]) -> Result<List<'a>, BadField> {
    let mut sum = List::default();
    for (at, container) in pod.spec.containers.iter().enumerate() {
        let field = format!("spec.containers[{at}]");
        sum.add(&one(pod, container, &pod.status.container_statuses, &field, defaults)?);
    }
    // A sidecar runs beside the init containers started after it, and beside the containers.
    let (mut sidecars, mut initially) = (List::default(), List::default());
    for (at, container) in pod.spec.init_containers.iter().enumerate() {
        let field = format!("spec.initContainers[{at}]");
        if is_sidecar(container) {
            let requests = one(pod, container, &pod.status.init_container_statuses, &field, defaults)?;
            sum.add(&requests);
            sidecars.add(&requests);
            initially.raise(&sidecars);
        } else {
            let mut together = one(pod, container, &[], &field, defaults)?;
            together.add(&sidecars);
            initially.raise(&together);
        }
    }
    sum.raise(&initially);
    Ok(sum)
}

/// Whether an init container keeps running with the pod (restartPolicy Always).
pub(super) fn is_sidecar(container: &wire::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The requests of one container. During a resize the larger of the current and the new request counts.
fn one<'a>(
    pod: &'a wire::Pod,
    container: &'a wire::Container,
    statuses: &'a [wire::ContainerStatus],
    field: &str,
    defaults: &[(&'a str, Quantity)],
) -> Result<List<'a>, BadField> {
    let field = format!("{field}.resources.requests");
    let mut requests = List::read(&container.resources.requests, &field)?;
    let status = statuses.iter().find(|status| status.name == container.name);
    if let Some((status, resources)) = status.and_then(|status| status.resources.as_ref().map(|has| (status, has))) {
        if resize_is_infeasible(pod) {
            requests = List::default();
        }
        requests.raise(&List::read(&resources.requests, "status.containerStatuses.resources.requests")?);
        requests.raise(&List::read(&status.allocated_resources, "status.containerStatuses.allocatedResources")?);
    }
    for (name, amount) in defaults {
        if requests.get(name).is_none() {
            requests.0.push((name, *amount));
        }
    }
    Ok(requests)
}

fn resize_is_infeasible(pod: &wire::Pod) -> bool {
    let pending = pod.status.conditions.iter().find(|condition| condition.kind == "PodResizePending");
    pending.is_some_and(|condition| condition.reason == "Infeasible")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn read(pod: Value) -> Requests {
        requests(&serde_json::from_value(pod).unwrap(), &Intern::default()).unwrap()
    }

    fn container(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(name: &str, cpu: &str, memory: &str) -> Value {
        let mut container = container(name, cpu, memory);
        container["restartPolicy"] = json!("Always");
        container
    }

    #[test]
    fn containers_add_up_and_init_containers_do_not() {
        let read = read(json!({"spec": {
            "containers": [container("a", "100m", "1Gi"), container("b", "200m", "1Gi")],
            "initContainers": [container("i", "500m", "1Gi"), container("j", "100m", "3Gi")],
            "overhead": {"cpu": "10m"},
        }}));
        assert_eq!((read.requests.cpu, read.requests.memory), (510, 3 << 30));
    }

    #[test]
    fn sidecars_count_beside_containers_started_after_them() {
        let read = read(json!({"spec": {
            "containers": [container("a", "100m", "1Gi")],
            "initContainers": [
                container("first", "900m", "1Gi"),
                sidecar("s", "300m", "1Gi"),
                container("last", "700m", "1Gi"),
            ],
        }}));
        assert_eq!((read.requests.cpu, read.requests.memory), (1000, 2 << 30));
    }

    #[test]
    fn pod_level_requests_replace_the_sum() {
        let read = read(json!({"spec": {
            "containers": [container("a", "100m", "1Gi")],
            "resources": {"requests": {"cpu": "2", "example.com/gpu": "1"}},
            "overhead": {"memory": "1Mi"},
        }}));
        assert_eq!((read.requests.cpu, read.requests.memory), (2000, (1 << 30) + (1 << 20)));
        assert_eq!(read.requests.get("example.com/gpu"), 0);
        assert_eq!((read.nonzero_incoming.cpu, read.nonzero_placed.cpu), (100, 2000));
    }

    #[test]
    fn a_container_without_requests_counts_for_scores_only() {
        let read = read(json!({"spec": {"containers": [{"name": "a"}, container("b", "50m", "1Gi")]}}));
        assert_eq!(read.requests.cpu, 50);
        assert_eq!(read.nonzero_incoming, NonZeroRequests { cpu: 150, memory: (1 << 30) + 200 * 1024 * 1024 });
        assert_eq!(read.nonzero_placed, read.nonzero_incoming);
    }

    #[test]
    fn a_resize_frees_nothing_before_it_completes() {
        let resized = |conditions: Value| {
            json!({
                "spec": {"containers": [container("a", "100m", "1Gi")]},
                "status": {"conditions": conditions, "containerStatuses": [{
                    "name": "a",
                    "resources": {"requests": {"cpu": "80m", "memory": "2Gi"}},
                    "allocatedResources": {"cpu": "90m"},
                }]},
            })
        };
        let read_one = read(resized(json!([])));
        assert_eq!((read_one.requests.cpu, read_one.requests.memory), (100, 2 << 30));
        let infeasible = read(resized(json!([{"type": "PodResizePending", "reason": "Infeasible"}])));
        assert_eq!(infeasible.requests.cpu, 90);
    }

    #[test]
    fn only_extended_and_known_resources_are_counted_by_name() {
        let read = read(json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {
            "example.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Ki", "storage": "5",
        }}}]}}));
        assert_eq!(read.requests.ephemeral_storage, 1024);
        let names: Vec<_> = read.requests.named.iter().map(|(name, amount)| (&**name, *amount)).collect();
        assert_eq!(names, [("example.com/gpu", 2), ("hugepages-2Mi", 4 << 20)]);
    }

    #[test]
    fn an_invalid_quantity_is_reported_with_its_field() {
        let pod = json!({"spec": {"containers": [container("a", "much", "1Gi")]}});
        let bad = requests(&serde_json::from_value(pod).unwrap(), &Intern::default()).err().unwrap();
        assert_eq!(bad.field, "spec.containers[0].resources.requests[cpu]");
        assert!(bad.reason.contains("\"much\" is not a quantity"), "{}", bad.reason);
    }
}
