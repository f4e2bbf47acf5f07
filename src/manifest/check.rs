//! The API server's validation rules, as far as breaking them would do harm here: names become file names and parts of
//! Docker's container names, numbers are passed to the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Component;
use std::path::Path;

use super::types::*;

/// A field that breaks a rule.
pub(super) struct Violation {
    /// The field, such as `spec.containers[0].image`.
    pub(super) path: String,
    /// The rule.
    pub(super) reason: String,
}

type Checked = Result<(), Violation>;

fn refuse<T>(path: impl Into<String>, reason: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { path: path.into(), reason: reason.into() })
}

/// Checks the whole Pod and returns the first violation.
pub(super) fn check(pod: &Pod) -> Checked {
    metadata(&pod.metadata)?;
    let spec = &pod.spec;
    if !spec.hostname.is_empty() && !is_label(&spec.hostname) {
        return refuse("spec.hostname", NOT_A_LABEL);
    }
    if spec.host_pid && spec.share_process_namespace {
        return refuse("spec.shareProcessNamespace", "it cannot be combined with hostPID");
    }
    if spec.termination_grace_period_seconds < 0 {
        return refuse("spec.terminationGracePeriodSeconds", "it cannot be negative");
    }
    dns(spec)?;
    pod_security(&spec.security_context)?;
    let volumes = volumes(spec)?;
    let mut names = BTreeSet::new();
    for (list, containers) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        for (number, container) in containers.iter().enumerate() {
            let path = format!("spec.{list}[{number}]");
            if !names.insert(&container.name) {
                return refuse(format!("{path}.name"), format!("there is another container `{}`", container.name));
            }
            check_container(&path, container, spec, &volumes)?;
        }
    }
    if spec.containers.is_empty() {
        return refuse("spec.containers", "there has to be at least one");
    }
    Ok(())
}

const NOT_A_LABEL: &str =
    "it has to consist of at most 63 lowercase letters, digits and dashes, with no dash at either end";

/// A label of RFC 1123.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether this can be a namespace's name.
pub(super) fn is_namespace(text: &str) -> bool {
    is_label(text)
}

/// Whether this can be a pod's name: labels of any length, joined by dots, at most 253 bytes in all.
pub(super) fn is_pod_name(text: &str) -> bool {
    let fits = |part: &str| {
        part.split('-').all(|piece| piece.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
    };
    let edges = |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
    text.len() <= 253 && text.split('.').all(|part| fits(part) && edges(part))
}

/// Whether this can be a UID, which becomes part of paths and of container names. Kubernetes' UIDs are UUIDs; those of
/// static pods are plain hashes.
pub(super) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn metadata(metadata: &Metadata) -> Checked {
    if !is_pod_name(&metadata.name) {
        return refuse("metadata.name", "it has to consist of at most 253 lowercase letters, digits, dashes and dots");
    }
    if !is_namespace(&metadata.namespace) {
        return refuse("metadata.namespace", NOT_A_LABEL);
    }
    if !is_uid(&metadata.uid) {
        return refuse("metadata.uid", "it has to consist of at most 64 letters, digits and dashes");
    }
    Ok(())
}

fn dns(spec: &Spec) -> Checked {
    if spec.dns_policy == Some(DnsPolicy::None) && spec.dns_config.nameservers.is_empty() {
        return refuse("spec.dnsConfig.nameservers", "dnsPolicy None needs at least one");
    }
    for (number, server) in spec.dns_config.nameservers.iter().enumerate() {
        if server.parse::<IpAddr>().is_err() {
            return refuse(format!("spec.dnsConfig.nameservers[{number}]"), format!("`{server}` is not an address"));
        }
    }
    Ok(())
}

fn pod_security(security: &PodSecurityContext) -> Checked {
    let path = "spec.securityContext";
    for (number, group) in security.supplemental_groups.iter().enumerate() {
        id(format!("{path}.supplementalGroups[{number}]"), Some(*group))?;
    }
    id(format!("{path}.runAsUser"), security.run_as_user)?;
    id(format!("{path}.runAsGroup"), security.run_as_group)?;
    id(format!("{path}.fsGroup"), security.fs_group)?;
    profile(&format!("{path}.seccompProfile"), security.seccomp_profile.as_ref(), true)?;
    profile(&format!("{path}.appArmorProfile"), security.app_armor_profile.as_ref(), false)
}

fn id(path: String, id: Option<i64>) -> Checked {
    match id {
        Some(id) if i32::try_from(id).is_err() || id < 0 => refuse(path, format!("{id} is not a user or group")),
        _ => Ok(()),
    }
}

fn profile(path: &str, profile: Option<&Profile>, is_file: bool) -> Checked {
    let Some(profile) = profile else { return Ok(()) };
    let path = format!("{path}.localhostProfile");
    let is_local = profile.kind == ProfileKind::Localhost;
    if profile.localhost_profile.is_empty() == is_local {
        return refuse(path, "it is needed with type Localhost, and only then");
    }
    if is_local && is_file && !stays_below(Path::new(&profile.localhost_profile)) {
        return refuse(path, "it has to be a path below the directory of profiles");
    }
    Ok(())
}

/// Whether a relative path stays below the directory it is joined to, symbolic links aside.
fn stays_below(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

fn volumes(spec: &Spec) -> Result<BTreeSet<&str>, Violation> {
    let mut names = BTreeSet::new();
    for (number, volume) in spec.volumes.iter().enumerate() {
        let path = format!("spec.volumes[{number}]");
        if !is_label(&volume.name) {
            return refuse(format!("{path}.name"), NOT_A_LABEL);
        }
        if !names.insert(volume.name.as_str()) {
            return refuse(format!("{path}.name"), format!("there is another volume `{}`", volume.name));
        }
        if volume.host_path.is_some() && volume.empty_dir.is_some() {
            return refuse(path, "a volume has one source");
        }
        if let Some(host) = &volume.host_path {
            let climbs = host.path.components().any(|component| component == Component::ParentDir);
            if !host.path.is_absolute() || climbs {
                return refuse(format!("{path}.hostPath.path"), "it has to be an absolute path without `..`");
            }
        }
    }
    Ok(names)
}

fn check_container(path: &str, container: &Container, spec: &Spec, volumes: &BTreeSet<&str>) -> Checked {
    if !is_label(&container.name) {
        return refuse(format!("{path}.name"), NOT_A_LABEL);
    }
    if container.image.trim().is_empty() || container.image.contains(char::is_whitespace) {
        return refuse(format!("{path}.image"), "it has to be the name of an image");
    }
    if !container.termination_message_path.starts_with('/') {
        return refuse(format!("{path}.terminationMessagePath"), "it has to be an absolute path");
    }
    for (number, variable) in container.env.iter().enumerate() {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            return refuse(format!("{path}.env[{number}].name"), "it cannot be empty or contain `=`");
        }
    }
    ports(path, container, spec)?;
    resources(path, &container.resources)?;
    mounts(path, container, volumes)?;
    security(path, &container.security_context, &spec.security_context)
}

fn ports(path: &str, container: &Container, spec: &Spec) -> Checked {
    for (number, port) in container.ports.iter().enumerate() {
        let path = format!("{path}.ports[{number}]");
        if port.container_port == 0 {
            return refuse(format!("{path}.containerPort"), "it has to be between 1 and 65535");
        }
        if spec.host_network && port.host_port != 0 && port.host_port != port.container_port {
            return refuse(format!("{path}.hostPort"), "with hostNetwork it has to equal containerPort or be absent");
        }
        if !port.host_ip.is_empty() && port.host_ip.parse::<IpAddr>().is_err() {
            return refuse(format!("{path}.hostIP"), format!("`{}` is not an address", port.host_ip));
        }
    }
    Ok(())
}

fn resources(path: &str, resources: &Resources) -> Checked {
    let (requests, limits) = (&resources.requests, &resources.limits);
    for (name, request, limit) in [("cpu", requests.cpu, limits.cpu), ("memory", requests.memory, limits.memory)] {
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            return refuse(format!("{path}.resources.requests.{name}"), "it is more than the limit");
        }
    }
    Ok(())
}

fn mounts(path: &str, container: &Container, volumes: &BTreeSet<&str>) -> Checked {
    let mut paths = BTreeSet::new();
    for (number, mount) in container.volume_mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{number}]");
        if !volumes.contains(mount.name.as_str()) {
            return refuse(format!("{path}.name"), format!("there is no volume `{}`", mount.name));
        }
        if mount.mount_path.is_empty() || mount.mount_path.contains(':') {
            return refuse(format!("{path}.mountPath"), "it has to be a path without colons");
        }
        if !paths.insert(mount.mount_path.as_str()) {
            return refuse(format!("{path}.mountPath"), "another volume is mounted there");
        }
        if !stays_below(&mount.sub_path) {
            return refuse(format!("{path}.subPath"), "it has to be a path inside the volume");
        }
        if mount.mount_propagation == Propagation::Bidirectional && !container.security_context.privileged {
            return refuse(format!("{path}.mountPropagation"), "Bidirectional is for privileged containers only");
        }
    }
    Ok(())
}

fn security(path: &str, security: &SecurityContext, pod: &PodSecurityContext) -> Checked {
    let path = format!("{path}.securityContext");
    id(format!("{path}.runAsUser"), security.run_as_user)?;
    id(format!("{path}.runAsGroup"), security.run_as_group)?;
    profile(&format!("{path}.seccompProfile"), security.seccomp_profile.as_ref(), true)?;
    profile(&format!("{path}.appArmorProfile"), security.app_armor_profile.as_ref(), false)?;
    let non_root = security.run_as_non_root.or(pod.run_as_non_root) == Some(true);
    if non_root && security.run_as_user.or(pod.run_as_user) == Some(0) {
        return refuse(format!("{path}.runAsNonRoot"), "the user is 0, which is root");
    }
    let gains = security.privileged
        || security.capabilities.add.iter().any(|name| matches!(name.as_str(), "SYS_ADMIN" | "CAP_SYS_ADMIN"));
    if security.allow_privilege_escalation == Some(false) && gains {
        let reason = "it cannot be false for a container that is privileged or has SYS_ADMIN";
        return refuse(format!("{path}.allowPrivilegeEscalation"), reason);
    }
    Ok(())
}
