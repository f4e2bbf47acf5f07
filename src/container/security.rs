//! Translates security contexts of workload and pause containers into Docker's `SecurityOpt`, `GroupAdd` and user ids.
//! What this Docker cannot enforce is refused by its field, never dropped. The exception is SELinux labels on a kernel
//! without SELinux, where the same pod specs are expected to run.

use std::path::Path;

use crate::docker::EngineInfo;
use crate::error::Error;
use crate::proto::LinuxContainerSecurityContext;
use crate::proto::LinuxSandboxSecurityContext;
use crate::proto::SeLinuxOption;
use crate::proto::SecurityProfile;
use crate::proto::security_profile::ProfileType;

/// The loaded AppArmor profiles, `name (mode)` on each line.
const APPARMOR_PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Exists if SELinux is enabled in the kernel, whether Docker uses it or not.
const SELINUX: &str = "/sys/fs/selinux/enforce";
/// The prefix of profiles in the CRI's deprecated string fields.
const LOCALHOST_PREFIX: &str = "localhost/";
/// The highest user and group id that Docker accepts.
const HIGHEST_ID: i64 = i32::MAX as i64;

/// Checks a user or group id: one beyond Docker's range must not wrap around to root.
pub(crate) fn id(object: &str, field: &'static str, value: i64) -> Result<i64, Error> {
    if (0..=HIGHEST_ID).contains(&value) {
        Ok(value)
    } else {
        Err(Error::invalid(object, field, format!("{value} is not between 0 and {HIGHEST_ID}")))
    }
}

/// Docker's `GroupAdd` for supplemental groups.
pub(crate) fn groups(object: &str, groups: &[i64]) -> Result<Option<Vec<String>>, Error> {
    const FIELD: &str = "linux.security_context.supplemental_groups";
    let all: Vec<String> =
        groups.iter().map(|gid| Ok(id(object, FIELD, *gid)?.to_string())).collect::<Result<_, Error>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// Docker's `SecurityOpt` for a container.
pub(super) fn container_options(
    object: &str,
    security: &LinuxContainerSecurityContext,
    info: &EngineInfo,
) -> Result<Vec<String>, Error> {
    let mut options = Vec::new();
    if security.no_new_privs {
        options.push("no-new-privileges".to_owned());
    }
    // A privileged container has no profiles (CRI: `privileged`).
    if security.privileged {
        options.push("seccomp=unconfined".to_owned());
    } else {
        #[allow(deprecated)]
        let old_seccomp = security.seccomp_profile_path.as_str();
        #[allow(deprecated)]
        let old_apparmor = security.apparmor_profile.as_str();
        let unset = old_profile(old_seccomp)
            .unwrap_or(SecurityProfile { profile_type: ProfileType::Unconfined.into(), ..Default::default() });
        options.extend(seccomp(object, security.seccomp.as_ref().unwrap_or(&unset))?);
        let apparmor_profile = security.apparmor.clone().or_else(|| old_profile(old_apparmor));
        options.extend(apparmor(object, apparmor_profile.as_ref(), info)?);
    }
    options.extend(selinux(object, security.selinux_options.as_ref(), info, || Path::new(SELINUX).exists())?);
    Ok(options)
}

/// Docker's `SecurityOpt` for a pause container. If the pod sets no seccomp profile, Docker's default profile applies,
/// which suffices for a process that only sleeps. Its root is read-only whatever `readonly_rootfs` says.
pub(crate) fn sandbox_options(
    object: &str,
    security: &LinuxSandboxSecurityContext,
    info: &EngineInfo,
) -> Result<Vec<String>, Error> {
    let mut options = vec!["no-new-privileges".to_owned()];
    #[allow(deprecated)]
    let old_seccomp = old_profile(&security.seccomp_profile_path);
    if let Some(profile) = security.seccomp.as_ref().or(old_seccomp.as_ref()) {
        options.extend(seccomp(object, profile)?);
    }
    options.extend(apparmor(object, security.apparmor.as_ref(), info)?);
    options.extend(selinux(object, security.selinux_options.as_ref(), info, || Path::new(SELINUX).exists())?);
    Ok(options)
}

/// Parses a deprecated profile field: empty for none, `runtime/default`, `unconfined`, or `localhost/` with a file or
/// profile name.
fn old_profile(text: &str) -> Option<SecurityProfile> {
    let (kind, reference) = match text {
        "" => return None,
        "runtime/default" | "docker/default" => (ProfileType::RuntimeDefault, ""),
        "unconfined" => (ProfileType::Unconfined, ""),
        other => (ProfileType::Localhost, other),
    };
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: reference.to_owned() })
}

fn seccomp(object: &str, profile: &SecurityProfile) -> Result<Option<String>, Error> {
    const FIELD: &str = "linux.security_context.seccomp";
    match profile.profile_type() {
        ProfileType::RuntimeDefault => Ok(None),
        ProfileType::Unconfined => Ok(Some("seccomp=unconfined".to_owned())),
        ProfileType::Localhost => {
            let path = profile.localhost_ref.strip_prefix(LOCALHOST_PREFIX).unwrap_or(&profile.localhost_ref);
            if !Path::new(path).is_absolute() {
                return Err(Error::invalid(object, FIELD, format!("localhost_ref {path:?} must be an absolute path")));
            }
            // Docker's API takes the content of the profile, not a path.
            let text = std::fs::read(path)
                .map_err(|source| Error::invalid(object, FIELD, format!("could not read {path}: {source}")))?;
            let json: serde_json::Value = serde_json::from_slice(&text)
                .map_err(|source| Error::invalid(object, FIELD, format!("{path} is not JSON: {source}")))?;
            Ok(Some(format!("seccomp={json}")))
        }
    }
}

fn apparmor(object: &str, profile: Option<&SecurityProfile>, info: &EngineInfo) -> Result<Option<String>, Error> {
    const FIELD: &str = "linux.security_context.apparmor";
    let Some(profile) = profile else { return Ok(None) };
    match profile.profile_type() {
        ProfileType::RuntimeDefault => Ok(None),
        ProfileType::Unconfined => Ok(info.apparmor.then(|| "apparmor=unconfined".to_owned())),
        ProfileType::Localhost => {
            let name = profile.localhost_ref.strip_prefix(LOCALHOST_PREFIX).unwrap_or(&profile.localhost_ref);
            if !info.apparmor {
                return Err(Error::unsupported(
                    object,
                    FIELD,
                    format!("profile {name:?}: Docker has no AppArmor on this host"),
                ));
            }
            let loaded = std::fs::read_to_string(APPARMOR_PROFILES).unwrap_or_default();
            if !loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name)) {
                return Err(Error::invalid(object, FIELD, format!("profile {name:?} is not loaded")));
            }
            Ok(Some(format!("apparmor={name}")))
        }
    }
}

/// Docker's options for SELinux labels. Refuses them if SELinux is enabled in the kernel and not in Docker, which would
/// ignore them.
fn selinux(
    object: &str,
    options: Option<&SeLinuxOption>,
    info: &EngineInfo,
    enabled_in_kernel: impl FnOnce() -> bool,
) -> Result<Vec<String>, Error> {
    let Some(options) = options else { return Ok(Vec::new()) };
    let parts =
        [("user", &options.user), ("role", &options.role), ("type", &options.r#type), ("level", &options.level)];
    let labels: Vec<String> =
        parts.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("label={k}:{v}")).collect();
    if labels.is_empty() || info.selinux {
        return Ok(labels);
    }
    if enabled_in_kernel() {
        return Err(Error::unsupported(
            object,
            "linux.security_context.selinux_options",
            "Docker has SELinux off on this host (its setting selinux-enabled)",
        ));
    }
    tracing::info!(object, labels = labels.join(" "), "ignoring SELinux labels: this host has no SELinux");
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;

    fn profile(kind: ProfileType, reference: &str) -> Option<SecurityProfile> {
        Some(SecurityProfile { profile_type: kind.into(), localhost_ref: reference.into() })
    }

    fn options(security: &LinuxContainerSecurityContext) -> Vec<String> {
        container_options("c", security, &engine_info(41)).unwrap()
    }

    #[test]
    fn a_container_without_a_profile_is_unconfined() {
        assert_eq!(options(&Default::default()), ["seccomp=unconfined"]);
    }

    #[test]
    fn the_runtimes_default_is_dockers_own_profile() {
        let security =
            LinuxContainerSecurityContext { seccomp: profile(ProfileType::RuntimeDefault, ""), ..Default::default() };
        assert!(options(&security).is_empty());
    }

    #[test]
    fn the_content_of_a_localhost_seccomp_profile_is_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{ "defaultAction": "SCMP_ACT_LOG" }"#).unwrap();
        let path = file.path().to_str().unwrap();
        let security =
            LinuxContainerSecurityContext { seccomp: profile(ProfileType::Localhost, path), ..Default::default() };
        assert_eq!(options(&security), [r#"seccomp={"defaultAction":"SCMP_ACT_LOG"}"#]);
    }

    #[test]
    fn a_profile_that_is_missing_or_relative_is_refused_by_its_field() {
        for path in ["/does/not/exist", "relative.json"] {
            let security =
                LinuxContainerSecurityContext { seccomp: profile(ProfileType::Localhost, path), ..Default::default() };
            let error = container_options("c", &security, &engine_info(41)).unwrap_err().to_string();
            assert!(error.contains("linux.security_context.seccomp"), "{error}");
        }
    }

    #[test]
    fn a_privileged_container_ignores_its_profile() {
        let security = LinuxContainerSecurityContext {
            privileged: true,
            seccomp: profile(ProfileType::Localhost, "/does/not/exist"),
            ..Default::default()
        };
        assert_eq!(options(&security), ["seccomp=unconfined"]);
    }

    #[test]
    fn what_the_host_cannot_enforce_is_refused_not_dropped() {
        let apparmor =
            LinuxContainerSecurityContext { apparmor: profile(ProfileType::Localhost, "mine"), ..Default::default() };
        assert!(container_options("c", &apparmor, &engine_info(41)).is_err());
        let label = SeLinuxOption { level: "s0:c1,c2".into(), ..Default::default() };
        assert!(selinux("c", Some(&label), &engine_info(41), || true).is_err());
        let on = EngineInfo { selinux: true, ..engine_info(41) };
        assert_eq!(selinux("c", Some(&label), &on, || true).unwrap(), ["label=level:s0:c1,c2"]);
    }

    #[test]
    fn labels_are_ignored_if_the_kernel_has_no_selinux() {
        let label = SeLinuxOption { level: "s0".into(), ..Default::default() };
        assert_eq!(selinux("c", Some(&label), &engine_info(41), || false).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_id_cannot_wrap_around_to_root() {
        assert!(id("c", "f", 1 << 32).is_err());
        assert!(id("c", "f", -1).is_err());
        assert_eq!(id("c", "f", 1000).unwrap(), 1000);
    }
}
