//! Translates the security contexts of Pod and container to the CRI's, by the kubelet's rules.

use std::path::Path;

use super::Image;
use crate::proto::Capability;
use crate::proto::Int64Value;
use crate::proto::LinuxContainerSecurityContext;
use crate::proto::LinuxSandboxSecurityContext;
use crate::proto::NamespaceMode;
use crate::proto::NamespaceOption;
use crate::proto::SecurityProfile;
use crate::proto::SupplementalGroupsPolicy;
use crate::proto::security_profile::ProfileType;

use super::super::types::Container;
use super::super::types::GroupsPolicy;
use super::super::types::Pod;
use super::super::types::Profile;
use super::super::types::ProfileKind;
use super::super::types::Spec;

/// The directory of seccomp's `Localhost` profiles: the kubelet's, so that a manifest means the same here.
const SECCOMP_ROOT: &str = "/var/lib/kubelet/seccomp";

/// Paths that `procMount: Default` hides: files of the kernel that show or change the machine outside the container.
const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The security context of the sandbox.
pub(super) fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let security = &pod.spec.security_context;
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(&pod.spec)),
        run_as_user: security.run_as_user.map(int),
        // The CRI has no group without a user.
        run_as_group: security.run_as_user.and(security.run_as_group).map(int),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        privileged: pod.spec.all_containers().any(|container| container.security_context.privileged),
        seccomp: Some(SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), ..Default::default() }),
        ..Default::default()
    }
}

/// The security context of a container. The error is the rule that forbids its user.
pub(super) fn container(
    pod: &Pod,
    container: &Container,
    image: &Image,
) -> Result<LinuxContainerSecurityContext, String> {
    let (of_pod, own) = (&pod.spec.security_context, &container.security_context);
    let user = own.run_as_user.or(of_pod.run_as_user);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) && user.is_none() {
        must_not_be_root(image)?;
    }
    // The kubelet always names a user; an image without one runs as root.
    let (user, username) = match user {
        Some(user) => (Some(user), String::new()),
        None if image.username.is_empty() => (Some(image.uid.unwrap_or(0)), String::new()),
        None => (None, image.username.clone()),
    };
    Ok(LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: own.capabilities.add.clone(),
            drop_capabilities: own.capabilities.drop.clone(),
            ..Default::default()
        }),
        privileged: own.privileged,
        namespace_options: Some(namespaces(&pod.spec)),
        run_as_user: user.map(int),
        run_as_username: username,
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int),
        readonly_rootfs: own.read_only_root_filesystem,
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: MASKED_PATHS.iter().map(|path| (*path).to_owned()).collect(),
        readonly_paths: READONLY_PATHS.iter().map(|path| (*path).to_owned()).collect(),
        seccomp: Some(seccomp(own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()))),
        apparmor: own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref()).map(apparmor),
        ..Default::default()
    })
}

fn int(value: i64) -> Int64Value {
    Int64Value { value }
}

/// `runAsNonRoot` needs a numeric user: a user name may map to uid 0.
fn must_not_be_root(image: &Image) -> Result<(), String> {
    if !image.username.is_empty() {
        return Err(format!(
            "runAsNonRoot: the image's user is `{}`, which may be root; set runAsUser to a number",
            image.username
        ));
    }
    match image.uid {
        Some(uid) if uid != 0 => Ok(()),
        _ => Err("runAsNonRoot: the image's user is root; set runAsUser".into()),
    }
}

/// For processes fsGroup is one more supplementary group; volumes get it as their group when they are created.
fn groups(pod: &Pod) -> Vec<i64> {
    let security = &pod.spec.security_context;
    security.fs_group.into_iter().chain(security.supplemental_groups.iter().copied()).collect()
}

fn groups_policy(pod: &Pod) -> i32 {
    match pod.spec.security_context.supplemental_groups_policy {
        GroupsPolicy::Merge => SupplementalGroupsPolicy::Merge,
        GroupsPolicy::Strict => SupplementalGroupsPolicy::Strict,
    }
    .into()
}

fn namespaces(spec: &Spec) -> NamespaceOption {
    let node_or = |node: bool, other: NamespaceMode| if node { NamespaceMode::Node } else { other };
    let pid = if spec.share_process_namespace { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod).into(),
        pid: node_or(spec.host_pid, pid).into(),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod).into(),
        ..Default::default()
    }
}

/// Without a profile a container is unconfined: Kubernetes' default, unless the kubelet has `seccompDefault`.
fn seccomp(profile: Option<&Profile>) -> SecurityProfile {
    let Some(profile) = profile else {
        return SecurityProfile { profile_type: ProfileType::Unconfined.into(), ..Default::default() };
    };
    let localhost_ref = match profile.kind {
        ProfileKind::Localhost => Path::new(SECCOMP_ROOT).join(&profile.localhost_profile).display().to_string(),
        _ => String::new(),
    };
    SecurityProfile { profile_type: profile_type(profile.kind).into(), localhost_ref }
}

fn apparmor(profile: &Profile) -> SecurityProfile {
    SecurityProfile {
        profile_type: profile_type(profile.kind).into(),
        localhost_ref: profile.localhost_profile.clone(),
    }
}

fn profile_type(kind: ProfileKind) -> ProfileType {
    match kind {
        ProfileKind::RuntimeDefault => ProfileType::RuntimeDefault,
        ProfileKind::Unconfined => ProfileType::Unconfined,
        ProfileKind::Localhost => ProfileType::Localhost,
    }
}
