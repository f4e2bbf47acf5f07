//! Names and labels of Docker objects, exactly as cri-dockerd writes them, so that `docker ps --filter`, log shippers and
//! a switch between the two keep working.
//!
//! They are for users and tools. Dockside itself relies on its records.

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::proto::ContainerMetadata;
use crate::proto::PodSandboxMetadata;

/// The label with the kind of a Docker container: [`TYPE_SANDBOX`] or [`TYPE_CONTAINER`].
pub(crate) const TYPE: &str = "io.kubernetes.docker.type";
/// The kind of a pause container.
pub(crate) const TYPE_SANDBOX: &str = "podsandbox";
/// The kind of a workload container.
pub(crate) const TYPE_CONTAINER: &str = "container";
/// The prefix of the names of pause containers. No workload container has it, as none may be called `POD`.
pub(crate) const SANDBOX_PREFIX: &str = "k8s_POD_";
/// The container name of pause containers in labels and metrics, as in cAdvisor's.
pub(crate) const PAUSE_CONTAINER: &str = "POD";
/// The label of a workload container with its sandbox's id.
const SANDBOX_ID: &str = "io.kubernetes.sandbox.id";
/// The label of a workload container with the absolute path of its CRI log.
const LOG_PATH: &str = "io.kubernetes.container.logpath";
/// The label with the container's name; [`PAUSE_CONTAINER`] for a pause container.
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Each annotation becomes a label with this prefix, as Docker before API 1.43 has no annotations.
const ANNOTATION_PREFIX: &str = "annotation.";

/// The name of a pod's pause container.
pub(crate) fn sandbox(pod: &PodSandboxMetadata) -> String {
    format!("{SANDBOX_PREFIX}{}_{}_{}_{}", pod.name, pod.namespace, pod.uid, pod.attempt)
}

/// The name of a workload container.
pub(crate) fn container(container: &ContainerMetadata, pod: &PodSandboxMetadata) -> String {
    format!("k8s_{}_{}_{}_{}_{}", container.name, pod.name, pod.namespace, pod.uid, container.attempt)
}

/// The labels of a pause container.
pub(crate) fn sandbox_labels(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let mut all = merged(labels, annotations);
    all.insert(TYPE.to_owned(), TYPE_SANDBOX.to_owned());
    all.insert(CONTAINER_NAME.to_owned(), PAUSE_CONTAINER.to_owned());
    all
}

/// The labels of a workload container.
pub(crate) fn container_labels(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    sandbox_id: &str,
    log_path: &str,
) -> HashMap<String, String> {
    let mut all = merged(labels, annotations);
    all.insert(TYPE.to_owned(), TYPE_CONTAINER.to_owned());
    all.insert(SANDBOX_ID.to_owned(), sandbox_id.to_owned());
    all.insert(LOG_PATH.to_owned(), log_path.to_owned());
    all
}

fn merged(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> HashMap<String, String> {
    let mut all: HashMap<String, String> = labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    all.extend(annotations.iter().map(|(k, v)| (format!("{ANNOTATION_PREFIX}{k}"), v.clone())));
    all
}

/// Whether Docker accepts `part` inside a container's name.
pub(crate) fn is_valid_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_cri_dockerd_gives() {
        let pod = PodSandboxMetadata { name: "web".into(), uid: "u1".into(), namespace: "default".into(), attempt: 2 };
        assert_eq!(sandbox(&pod), "k8s_POD_web_default_u1_2");
        let meta = ContainerMetadata { name: "nginx".into(), attempt: 1 };
        assert_eq!(container(&meta, &pod), "k8s_nginx_web_default_u1_1");
    }

    #[test]
    fn annotations_become_prefixed_labels_and_dockside_labels_win() {
        let labels = BTreeMap::from([(TYPE.to_owned(), "forged".to_owned())]);
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let all = sandbox_labels(&labels, &annotations);
        assert_eq!(all["annotation.a"], "b");
        assert_eq!(all[TYPE], TYPE_SANDBOX);
        assert_eq!(all[CONTAINER_NAME], "POD");
    }
}
