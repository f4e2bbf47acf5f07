//! Decides what to do about one container of a Pod, from the containers that exist.

use crate::proto::Container;
use crate::proto::ContainerState;

/// What to do about one container of a Pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Create and start a new one, with this attempt.
    Start { attempt: u32 },
    /// Stop this one, whose state is unknown, then create and start a new one with this attempt.
    Replace { id: String, attempt: u32 },
    /// This one is running.
    Running { id: String, attempt: u32 },
    /// This one has exited; its exit code and the restartPolicy decide.
    Exited { id: String, attempt: u32 },
}

/// The existing containers of this name in this sandbox.
pub(super) fn in_sandbox<'a>(
    name: &'a str,
    sandbox: &'a str,
    existing: &'a [Container],
) -> impl Iterator<Item = &'a Container> {
    named(name, existing).filter(move |container| container.pod_sandbox_id == sandbox)
}

fn named<'a>(name: &'a str, existing: &'a [Container]) -> impl Iterator<Item = &'a Container> {
    existing.iter().filter(move |container| container.metadata.as_ref().is_some_and(|metadata| metadata.name == name))
}

fn container_attempt(container: &Container) -> u32 {
    container.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

/// What to do about the container of this name. No attempt is used twice for a name, not even in another sandbox: it is part
/// of the names of containers and logs. A container that was created and not started is left alone, as by the kubelet.
pub(super) fn decide(name: &str, sandbox: &str, existing: &[Container]) -> Decision {
    let latest = in_sandbox(name, sandbox, existing).max_by_key(|container| container_attempt(container));
    let next = named(name, existing).map(|container| container_attempt(container) + 1).max().unwrap_or(0);
    let Some(latest) = latest else { return Decision::Start { attempt: next } };
    let (id, attempt) = (latest.id.clone(), container_attempt(latest));
    match latest.state() {
        ContainerState::ContainerRunning => Decision::Running { id, attempt },
        ContainerState::ContainerExited => Decision::Exited { id, attempt },
        ContainerState::ContainerCreated => Decision::Start { attempt: next },
        ContainerState::ContainerUnknown => Decision::Replace { id, attempt: next },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ContainerMetadata;

    fn container(id: &str, sandbox: &str, attempt: u32, state: ContainerState) -> Container {
        Container {
            id: id.into(),
            pod_sandbox_id: sandbox.into(),
            metadata: Some(ContainerMetadata { name: "c".into(), attempt }),
            state: state.into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_latest_container_of_the_sandbox_decides() {
        use ContainerState::*;
        let start = |attempt| Decision::Start { attempt };
        for (existing, decision) in [
            (vec![], start(0)),
            (vec![container("1", "now", 0, ContainerRunning)], Decision::Running { id: "1".into(), attempt: 0 }),
            (vec![container("1", "now", 4, ContainerExited)], Decision::Exited { id: "1".into(), attempt: 4 }),
            (vec![container("1", "now", 0, ContainerCreated)], start(1)),
            (vec![container("1", "now", 0, ContainerUnknown)], Decision::Replace { id: "1".into(), attempt: 1 }),
            (vec![container("1", "old", 6, ContainerRunning)], start(7)),
            (
                vec![container("2", "now", 1, ContainerRunning), container("1", "now", 0, ContainerExited)],
                Decision::Running { id: "2".into(), attempt: 1 },
            ),
        ] {
            assert_eq!(decide("c", "now", &existing), decision);
        }
        assert_eq!(decide("other", "now", &[container("1", "now", 0, ContainerRunning)]), start(0));
    }
}
