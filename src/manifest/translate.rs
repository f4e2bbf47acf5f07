//! Translates a Pod to the CRI's configurations of its sandbox and containers, as the kubelet fills them.
//!
//! There is no I/O here: everything from outside the manifest is an argument ([`Host`], [`Image`], mounts).

mod expand;
mod resources;
mod security;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::host::Host;
use super::types::Container;
use super::types::DnsPolicy;
use super::types::Pod;
use super::types::Port;
use super::types::Protocol;
use super::types::PullPolicy;
use crate::proto;
use crate::proto::ContainerConfig;
use crate::proto::ContainerMetadata;
use crate::proto::DnsConfig;
use crate::proto::ImageSpec;
use crate::proto::KeyValue;
use crate::proto::LinuxContainerConfig;
use crate::proto::LinuxPodSandboxConfig;
use crate::proto::Mount;
use crate::proto::PodSandboxConfig;
use crate::proto::PodSandboxMetadata;
use crate::proto::PortMapping;

/// The kubelet's labels on every sandbox and container.
pub(super) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(super) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(super) const POD_UID: &str = "io.kubernetes.pod.uid";
/// The kubelet's label on every container.
pub(super) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// The kubelet's annotations on every container.
pub(super) const HASH: &str = "io.kubernetes.container.hash";
pub(super) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(super) const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(super) const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub(super) const PORTS: &str = "io.kubernetes.container.ports";
/// The grace period in seconds, on every container: it lets `pod down` work without a manifest.
pub(super) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Dockside's own annotation on init containers: ListContainers shows no other difference.
pub(super) const INIT: &str = "dockside.io/init-container";

/// The longest hostname, in bytes: that of a DNS label; Linux allows 64 (HOST_NAME_MAX).
const HOSTNAME_MAX: usize = 63;

/// An image on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    /// Its id.
    pub(super) id: String,
    /// The user its processes run as, if the image names it by number.
    pub(super) uid: Option<i64>,
    /// The user its processes run as, if the image names it by name.
    pub(super) username: String,
}

/// The sandbox of a Pod. `attempt` is the number of sandboxes it had before.
pub(super) fn sandbox(pod: &Pod, attempt: u32, log_directory: &Path, host: &Host) -> PodSandboxConfig {
    let metadata = &pod.metadata;
    let mut labels = metadata.labels.clone();
    labels.extend(pod_labels(pod));
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            namespace: metadata.namespace.clone(),
            attempt,
        }),
        hostname: if pod.spec.host_network { String::new() } else { hostname(pod) },
        log_directory: log_directory.display().to_string(),
        dns_config: Some(dns(pod, host)),
        port_mappings: port_mappings(pod),
        labels,
        annotations: metadata.annotations.clone(),
        linux: Some(LinuxPodSandboxConfig { security_context: Some(security::sandbox(pod)), ..Default::default() }),
        windows: None,
    }
}

/// The hostname inside a Pod.
pub(super) fn hostname(pod: &Pod) -> String {
    if !pod.spec.hostname.is_empty() {
        return pod.spec.hostname.clone();
    }
    // Names of Pods are ASCII.
    let name: String = pod.metadata.name.chars().take(HOSTNAME_MAX).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

fn pod_labels(pod: &Pod) -> BTreeMap<String, String> {
    let metadata = &pod.metadata;
    [(POD_NAME, &metadata.name), (POD_NAMESPACE, &metadata.namespace), (POD_UID, &metadata.uid)]
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .into()
}

/// The node's resolver, unless the Pod replaces it, and the Pod's additions.
fn dns(pod: &Pod, host: &Host) -> DnsConfig {
    let own = &pod.spec.dns_config;
    let mut dns = match pod.spec.dns_policy {
        Some(DnsPolicy::None) => DnsConfig::default(),
        _ => host.dns(pod.spec.host_network).clone(),
    };
    add_missing(&mut dns.servers, &own.nameservers);
    add_missing(&mut dns.searches, &own.searches);
    for option in &own.options {
        let name = |text: &str| text.split(':').next() == Some(option.name.as_str());
        dns.options.retain(|other| !name(other));
        dns.options.push(match option.value.as_deref() {
            None | Some("") => option.name.clone(),
            Some(value) => format!("{}:{value}", option.name),
        });
    }
    dns
}

fn add_missing(list: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// The ports of the containers, without init containers; each once.
fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let mut mappings: Vec<PortMapping> = Vec::new();
    for port in pod.spec.containers.iter().flat_map(|container| &container.ports) {
        let mapping = PortMapping {
            protocol: match port.protocol {
                Protocol::Tcp => proto::Protocol::Tcp,
                Protocol::Udp => proto::Protocol::Udp,
                Protocol::Sctp => proto::Protocol::Sctp,
            }
            .into(),
            container_port: port.container_port.into(),
            host_port: port.host_port.into(),
            host_ip: port.host_ip.clone(),
        };
        if !mappings.contains(&mapping) {
            mappings.push(mapping);
        }
    }
    mappings
}

/// A container of a Pod. `attempt` is the number of containers of that name before it.
///
/// # Errors
/// The rule that forbids the container to run with this image.
pub(super) fn container(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    image: &Image,
    mounts: Vec<Mount>,
    host: &Host,
) -> Result<ContainerConfig, String> {
    let envs = environment(container);
    let value_of = |name: &str| lookup(&envs, name);
    let expanded = |words: &[String]| words.iter().map(|word| expand::expand(word, value_of)).collect();
    let mut labels = pod_labels(pod);
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt }),
        image: Some(ImageSpec { image: image.id.clone(), ..image_spec(pod, container) }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone(),
        envs: envs
            .iter()
            .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone().into_bytes() })
            .collect(),
        mounts,
        labels,
        annotations: annotations(pod, container, attempt),
        log_path: log_path(container, attempt),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::resources(pod, container, host)),
            security_context: Some(security::container(pod, container, image)?),
        }),
        ..Default::default()
    })
}

/// The log of a container, below the Pod's log directory.
pub(super) fn log_path(container: &Container, attempt: u32) -> String {
    format!("{}/{attempt}.log", container.name)
}

/// The image of a container, for ImageStatus and PullImage.
pub(super) fn image_spec(pod: &Pod, container: &Container) -> ImageSpec {
    ImageSpec {
        image: with_tag(&container.image),
        annotations: pod.metadata.annotations.clone(),
        user_specified_image: container.image.clone(),
        runtime_handler: pod.spec.runtime_class_name.clone(),
        ..Default::default()
    }
}

/// When to pull: by default always for the tag latest, which may move, and if missing for any other tag.
pub(super) fn pull_policy(container: &Container) -> PullPolicy {
    container.image_pull_policy.unwrap_or_else(|| {
        if with_tag(&container.image).ends_with(":latest") { PullPolicy::Always } else { PullPolicy::IfNotPresent }
    })
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The variables in the manifest's order; each value may refer to earlier ones.
fn environment(container: &Container) -> Vec<(String, String)> {
    let mut envs: Vec<(String, String)> = Vec::new();
    for variable in &container.env {
        let value = expand::expand(&variable.value, |name| lookup(&envs, name));
        envs.push((variable.name.clone(), value));
    }
    envs
}

/// The last variable of that name.
fn lookup<'a>(envs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    envs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn annotations(pod: &Pod, container: &Container, attempt: u32) -> BTreeMap<String, String> {
    let mut annotations: BTreeMap<String, String> = [
        (HASH, container.hash.clone()),
        (RESTART_COUNT, attempt.to_string()),
        (TERMINATION_PATH, container.termination_message_path.clone()),
        (TERMINATION_POLICY, container.termination_message_policy.as_str().to_owned()),
        (GRACE, pod.spec.termination_grace_period_seconds.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if !container.ports.is_empty() {
        annotations.insert(PORTS.into(), ports_json(&container.ports));
    }
    if pod.spec.init_containers.iter().any(|init| init.name == container.name) {
        annotations.insert(INIT.into(), "true".into());
    }
    annotations
}

/// The ports as JSON with the API's field names, without empty fields.
fn ports_json(ports: &[Port]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Annotated<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        host_port: Option<u16>,
        container_port: u16,
        protocol: &'a str,
        #[serde(rename = "hostIP", skip_serializing_if = "str::is_empty")]
        host_ip: &'a str,
    }
    let annotated: Vec<Annotated<'_>> = ports
        .iter()
        .map(|port| Annotated {
            name: &port.name,
            host_port: Some(port.host_port).filter(|port| *port != 0),
            container_port: port.container_port,
            protocol: match port.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
                Protocol::Sctp => "SCTP",
            },
            host_ip: &port.host_ip,
        })
        .collect();
    // Serializing numbers and strings cannot fail.
    serde_json::to_string(&annotated).unwrap_or_default()
}
