//! A Pod -> the CRI's configurations of its sandbox and containers, as a kubelet fills them.
//!
//! Nothing here looks at the machine or changes it: what it needs to know comes in as [`Host`], [`Image`] and mounts.

mod expand;
mod resources;
mod security;
#[cfg(test)]
pub mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::host::Host;
use super::manifest::Container;
use super::manifest::DnsPolicy;
use super::manifest::Pod;
use super::manifest::Port;
use super::manifest::Protocol;
use super::manifest::PullPolicy;
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

/// The kubelet's labels: on every sandbox and container.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The kubelet's label: on every container.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// The kubelet's annotations: on every container.
pub const HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const PORTS: &str = "io.kubernetes.container.ports";
/// Seconds, on every container: `pod down` needs no manifest thanks to it.
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Ours: on init containers, which nothing else tells from others in a list.
pub const INIT: &str = "dockside.io/init-container";

/// A hostname's longest length, in bytes (Linux: HOST_NAME_MAX is 64, DNS labels have 63).
const HOSTNAME_MAX: usize = 63;

/// What is known of an image that is on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// The user its processes run as, if it is given as a number.
    pub uid: Option<i64>,
    /// The same, if it is given as a name.
    pub username: String,
}

/// The sandbox of a Pod. `attempt` counts the sandboxes it had before.
pub fn sandbox(pod: &Pod, attempt: u32, log_directory: &Path, host: &Host) -> PodSandboxConfig {
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

/// The name a Pod has for itself.
pub fn hostname(pod: &Pod) -> String {
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

/// The node's resolver, unless the Pod has one of its own, and what the Pod adds to it.
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

/// Those of the containers, not of init containers; each only once.
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

/// A container of a Pod. `attempt` counts the containers of that name before it.
///
/// # Errors
/// Why the container may not run with this image.
pub fn container(
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
pub fn log_path(container: &Container, attempt: u32) -> String {
    format!("{}/{attempt}.log", container.name)
}

/// The image of a container as it is asked for and pulled.
pub fn image_spec(pod: &Pod, container: &Container) -> ImageSpec {
    ImageSpec {
        image: with_tag(&container.image),
        annotations: pod.metadata.annotations.clone(),
        user_specified_image: container.image.clone(),
        runtime_handler: pod.spec.runtime_class_name.clone(),
        ..Default::default()
    }
}

/// When to pull; an image without a tag, or called latest, may be another one tomorrow.
pub fn pull_policy(container: &Container) -> PullPolicy {
    container.image_pull_policy.unwrap_or_else(|| {
        if with_tag(&container.image).ends_with(":latest") { PullPolicy::Always } else { PullPolicy::IfNotPresent }
    })
}

fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// In the manifest's order; each value may refer to those before it.
fn environment(container: &Container) -> Vec<(String, String)> {
    let mut envs: Vec<(String, String)> = Vec::new();
    for variable in &container.env {
        let value = expand::expand(&variable.value, |name| lookup(&envs, name));
        envs.push((variable.name.clone(), value));
    }
    envs
}

/// A later variable of the same name wins.
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

/// The ports as the API has them, without what is empty.
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
    // Numbers and strings always have a JSON form.
    serde_json::to_string(&annotated).unwrap_or_default()
}
