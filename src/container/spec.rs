//! Translates a container's configuration into a Docker create request.

use crate::cgroup::docker_parent;
use crate::docker::EngineInfo;
use crate::docker::request::ContainerRequest;
use crate::docker::request::HealthConfig;
use crate::docker::request::HostConfig;
use crate::docker::request::LogConfig;
use crate::docker::request::RestartPolicy;
use crate::error::Error;
use crate::naming;
use crate::proto::ContainerConfig;
use crate::proto::ContainerMetadata;
use crate::proto::LinuxContainerSecurityContext;
use crate::proto::NamespaceMode;
use crate::proto::PodSandboxMetadata;
use crate::proto::Signal;
use crate::state::SandboxRecord;

use super::describe;
use super::log::DockerLog;
use super::mounts;
use super::resources;
use super::security;

/// The option of Docker's log drivers for blocking or non-blocking writes.
const LOG_MODE: &str = "mode";

/// Checks what can be checked without Docker, and returns the container's metadata.
pub(super) fn check(config: &ContainerConfig) -> Result<&ContainerMetadata, Error> {
    let Some(meta) = &config.metadata else {
        return Err(Error::invalid("container", "config.metadata", "is missing"));
    };
    let object = describe(config);
    if !naming::is_valid_part(&meta.name) {
        let reason = format!("{:?} must be letters, digits, '-', '_' and '.', and not empty", meta.name);
        return Err(Error::invalid("container", "metadata.name", reason));
    }
    if naming::container(meta, &PodSandboxMetadata::default()).starts_with(naming::SANDBOX_PREFIX) {
        return Err(Error::invalid("container", "metadata.name", "POD is the name of pause containers"));
    }
    if config.image.as_ref().is_none_or(|image| image.image.is_empty()) {
        return Err(Error::invalid(&object, "image.image", "is missing"));
    }
    if config.log_path.starts_with('/') || config.log_path.split('/').any(|part| part == "..") {
        let reason = format!("{:?} must be a path inside the pod's log_directory", config.log_path);
        return Err(Error::invalid(&object, "log_path", reason));
    }
    Ok(meta)
}

/// What the request depends on, besides the container's own configuration.
pub(super) struct Context<'a> {
    /// The sandbox to join.
    pub sandbox: &'a SandboxRecord,
    /// What this Docker can do.
    pub info: &'a EngineInfo,
    /// The absolute path of the CRI log, for the label; empty for none.
    pub log_path: &'a str,
    /// The limits of the Docker log.
    pub docker_log: &'a DockerLog,
    /// The Docker id of the container whose process namespace to join, for mode TARGET.
    pub pid_target: Option<String>,
}

/// The request for a configuration that passed [`check`].
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Unsupported`] name the field.
pub(super) fn container(config: &ContainerConfig, context: &Context<'_>) -> Result<ContainerRequest, Error> {
    let object = describe(config);
    let security = security_context(config);
    check_security(&object, &security, context)?;
    Ok(ContainerRequest {
        image: config.image.as_ref().map(|image| image.image.clone()),
        entrypoint: (!config.command.is_empty()).then(|| config.command.clone()),
        cmd: (!config.args.is_empty()).then(|| config.args.clone()),
        working_dir: (!config.working_dir.is_empty()).then(|| config.working_dir.clone()),
        env: Some(environment(&object, config)?),
        user: user(&object, &security)?,
        open_stdin: Some(config.stdin),
        stdin_once: Some(config.stdin_once),
        tty: Some(config.tty),
        stop_signal: stop_signal(config.stop_signal()),
        labels: Some(naming::container_labels(
            &config.labels,
            &config.annotations,
            &context.sandbox.id,
            context.log_path,
        )),
        // The kubelet probes; the image's health check is disabled.
        healthcheck: Some(HealthConfig::NONE),
        host_config: Some(host_config(&object, config, &security, context)?),
        ..Default::default()
    })
}

fn host_config(
    object: &str,
    config: &ContainerConfig,
    security: &LinuxContainerSecurityContext,
    context: &Context<'_>,
) -> Result<HostConfig, Error> {
    let sandbox = context.sandbox;
    let linux = sandbox.config.linux.clone().unwrap_or_default();
    let join = format!("container:{}", sandbox.id);
    let modes = security.namespace_options.clone().unwrap_or_default();
    let capabilities = security.capabilities.clone().unwrap_or_default();
    let mut host = HostConfig {
        network_mode: Some(join.clone()),
        ipc_mode: Some(if modes.ipc() == NamespaceMode::Node { "host".to_owned() } else { join.clone() }),
        uts_mode: sandbox.config.is_host_network().then(|| "host".to_owned()),
        pid_mode: match modes.pid() {
            NamespaceMode::Pod => Some(join),
            NamespaceMode::Node => Some("host".to_owned()),
            NamespaceMode::Target => context.pid_target.as_ref().map(|id| format!("container:{id}")),
            NamespaceMode::Container => None,
        },
        cgroup_parent: docker_parent(object, &linux.cgroup_parent, context.info)?,
        privileged: Some(security.privileged),
        cap_add: capability_names(&capabilities.add_capabilities),
        cap_drop: capability_names(&capabilities.drop_capabilities),
        readonly_rootfs: Some(security.readonly_rootfs),
        masked_paths: Some(unless_privileged(security, &security.masked_paths)),
        readonly_paths: Some(unless_privileged(security, &security.readonly_paths)),
        group_add: security::groups(object, &security.supplemental_groups)?,
        security_opt: Some(security::container_options(object, security, context.info)?),
        restart_policy: Some(RestartPolicy::NO),
        // The container's own process is pid 1, even if the daemon's setting starts docker-init.
        init: Some(false),
        log_config: Some(log_config(context.docker_log)),
        runtime: (!sandbox.runtime_handler.is_empty()).then(|| sandbox.runtime_handler.clone()),
        ..Default::default()
    };
    if let Some(requested) = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        resources::check(object, requested, context.info)?;
        resources::apply(requested, &mut host, context.info);
    }
    mounts::apply(config, &mut host, context.info)?;
    Ok(host)
}

/// Masked or read-only paths for Docker. An empty list means none; a missing one would mean Docker's default. The kubelet
/// sends both lists for privileged containers too, and Docker would apply them, but these have to see all of /proc.
fn unless_privileged(security: &LinuxContainerSecurityContext, paths: &[String]) -> Vec<String> {
    if security.privileged { Vec::new() } else { paths.to_vec() }
}

/// The container's security context; absent means that every field has its zero value.
pub(super) fn security_context(config: &ContainerConfig) -> LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

fn check_security(object: &str, security: &LinuxContainerSecurityContext, context: &Context<'_>) -> Result<(), Error> {
    let pod_security = context.sandbox.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    if security.privileged && !pod_security.is_some_and(|pod| pod.privileged) {
        let reason = "the sandbox was made for containers without privileges";
        return Err(Error::invalid(object, "linux.security_context.privileged", reason));
    }
    let capabilities = security.capabilities.clone().unwrap_or_default();
    if !capabilities.add_ambient_capabilities.is_empty() {
        return Err(Error::unsupported(
            object,
            "linux.security_context.capabilities.add_ambient_capabilities",
            "Docker sets no ambient capabilities",
        ));
    }
    let modes = security.namespace_options.clone().unwrap_or_default();
    if modes.userns_options.as_ref().is_some_and(|userns| userns.mode() != NamespaceMode::Node) {
        return Err(Error::unsupported(
            object,
            "linux.security_context.namespace_options.userns_options",
            "Docker has user namespaces for the whole daemon only, not for one pod",
        ));
    }
    // POD is also the zero value, and means the sandbox's network, even if that is the host's.
    let possible = match modes.network() {
        NamespaceMode::Pod => true,
        NamespaceMode::Node => context.sandbox.config.is_host_network(),
        NamespaceMode::Container | NamespaceMode::Target => false,
    };
    if !possible {
        let reason = "differs from the sandbox's, whose network every container shares";
        return Err(Error::invalid(object, "linux.security_context.namespace_options.network", reason));
    }
    Ok(())
}

/// Docker's `User`: an id or name; a group needs a user.
pub(super) fn user(object: &str, security: &LinuxContainerSecurityContext) -> Result<Option<String>, Error> {
    const USER: &str = "linux.security_context.run_as_user";
    const NAME: &str = "linux.security_context.run_as_username";
    const GROUP: &str = "linux.security_context.run_as_group";
    let user = match (&security.run_as_user, security.run_as_username.as_str()) {
        (Some(_), name) if !name.is_empty() => {
            return Err(Error::invalid(object, NAME, "cannot go with run_as_user"));
        }
        (Some(uid), _) => Some(security::id(object, USER, uid.value)?.to_string()),
        (None, "") => None,
        (None, name) if name.contains([':', '\n', '\0']) => {
            return Err(Error::invalid(object, NAME, format!("{name:?} is not a user name")));
        }
        (None, name) => Some(name.to_owned()),
    };
    match (user, &security.run_as_group) {
        (None, Some(_)) => Err(Error::invalid(object, GROUP, "needs run_as_user or run_as_username")),
        (user, None) => Ok(user),
        (Some(user), Some(gid)) => Ok(Some(format!("{user}:{}", security::id(object, GROUP, gid.value)?))),
    }
}

/// Whether a mount of the container covers the image's `/etc/passwd` or `/etc/group`.
pub(super) fn hides_accounts(config: &ContainerConfig) -> bool {
    let over = |path: &str| matches!(path.trim_end_matches('/'), "" | "/etc" | "/etc/passwd" | "/etc/group");
    config.mounts.iter().any(|mount| over(&mount.container_path))
}

/// `NAME=value` for each variable. Docker's API is JSON, so a value has to be UTF-8.
fn environment(object: &str, config: &ContainerConfig) -> Result<Vec<String>, Error> {
    config
        .envs
        .iter()
        .map(|env| match std::str::from_utf8(&env.value) {
            Ok(value) if !env.key.is_empty() && !env.key.contains('=') => Ok(format!("{}={value}", env.key)),
            Ok(_) => Err(Error::invalid(object, "envs.key", format!("{:?} is not a name", env.key))),
            Err(_) => {
                let reason = format!("the value of {} is not UTF-8, and Docker takes nothing else", env.key);
                Err(Error::unsupported(object, "envs.value", reason))
            }
        })
        .collect()
}

/// Capability names; clients send them with or without `CAP_`, and Docker accepts both.
fn capability_names(names: &[String]) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.iter().map(|name| name.to_uppercase()).collect())
}

/// The Docker log, for `docker logs` and [`crate::logs`]. Every option that matters is set, as the daemon's settings apply
/// to the others; [`crate::logs`] does not read compressed files.
fn log_config(limits: &DockerLog) -> LogConfig {
    let options = [
        ("max-size", limits.max_size.clone()),
        ("max-file", limits.max_files.to_string()),
        ("compress", "false".to_owned()),
        // In non-blocking mode, Docker drops lines when its buffer is full.
        (LOG_MODE, "blocking".to_owned()),
    ];
    let config = options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    LogConfig { driver: "json-file".to_owned(), config }
}

/// Leaves the log mode to the daemon's settings.
pub(super) fn leave_log_mode(body: &mut ContainerRequest) {
    if let Some(log) = body.host_config.as_mut().and_then(|host| host.log_config.as_mut()) {
        log.config.remove(LOG_MODE);
    }
}

/// Docker's name of a signal; none for the image's, else SIGTERM.
fn stop_signal(signal: Signal) -> Option<String> {
    match signal {
        Signal::RuntimeDefault => None,
        // `SIGNAL_SIGRTMINPLUS1` is SIGRTMIN+1, and the like.
        other => {
            let name = other.as_str_name().trim_start_matches("SIGNAL_");
            Some(name.replace("PLUS", "+").replace("MINUS", "-"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;
    use crate::proto::Capability;
    use crate::proto::ImageSpec;
    use crate::proto::Int64Value;
    use crate::proto::KeyValue;
    use crate::proto::LinuxContainerConfig;
    use crate::proto::NamespaceOption;
    use crate::state::Phase;
    use crate::state::Record;

    fn sandbox() -> SandboxRecord {
        let record = SandboxRecord::creating("k8s_POD_web_default_u1_0".into(), 1, Default::default());
        SandboxRecord { id: "pause1".into(), phase: Phase::Live, ..record }
    }

    fn config(security: LinuxContainerSecurityContext) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "nginx".into(), attempt: 0 }),
            image: Some(ImageSpec { image: "nginx:1.14".into(), ..Default::default() }),
            linux: Some(LinuxContainerConfig { security_context: Some(security), resources: None }),
            ..Default::default()
        }
    }

    fn build(config: &ContainerConfig) -> Result<ContainerRequest, Error> {
        build_in(&sandbox(), config)
    }

    fn build_in(sandbox: &SandboxRecord, config: &ContainerConfig) -> Result<ContainerRequest, Error> {
        let info = engine_info(41);
        let docker_log = &DockerLog { max_size: "1m".into(), max_files: 2 };
        let context = Context { sandbox, info: &info, log_path: "/l", docker_log, pid_target: None };
        container(config, &context)
    }

    fn refused(security: LinuxContainerSecurityContext) -> String {
        build(&config(security)).unwrap_err().to_string()
    }

    #[test]
    fn a_container_joins_the_sandboxs_network_ipc_and_by_default_its_pid_namespace() {
        let host = build(&config(Default::default())).unwrap().host_config.unwrap();
        for mode in [&host.network_mode, &host.ipc_mode, &host.pid_mode] {
            assert_eq!(mode.as_deref(), Some("container:pause1"));
        }
        let own = NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() };
        let own = LinuxContainerSecurityContext { namespace_options: Some(own), ..Default::default() };
        assert_eq!(build(&config(own)).unwrap().host_config.unwrap().pid_mode, None);
    }

    #[test]
    fn the_default_network_is_the_sandboxs_and_another_one_is_refused() {
        use NamespaceMode::*;
        let with = |network: NamespaceMode| LinuxContainerSecurityContext {
            namespace_options: Some(NamespaceOption { network: network.into(), ..Default::default() }),
            ..Default::default()
        };
        let mut on_the_node = sandbox();
        let linux = on_the_node.config.linux.get_or_insert_default().security_context.get_or_insert_default();
        linux.namespace_options = with(Node).namespace_options;
        for (sandbox, security, accepted) in [
            (sandbox(), Default::default(), true),
            (sandbox(), with(Pod), true),
            (sandbox(), with(Node), false),
            (sandbox(), with(Container), false),
            (on_the_node.clone(), Default::default(), true),
            (on_the_node.clone(), with(Pod), true),
            (on_the_node, with(Node), true),
        ] {
            match build_in(&sandbox, &config(security)) {
                Ok(_) => assert!(accepted),
                Err(error) => assert!(!accepted && error.to_string().contains("namespace_options.network"), "{error}"),
            }
        }
    }

    #[test]
    fn empty_path_lists_are_sent_as_empty_lists() {
        let host = build(&config(Default::default())).unwrap().host_config.unwrap();
        let json = serde_json::to_value(host).unwrap();
        assert_eq!(json["MaskedPaths"], serde_json::json!([]));
        assert_eq!(json["ReadonlyPaths"], serde_json::json!([]));
    }

    #[test]
    fn nothing_is_masked_or_read_only_in_a_privileged_container() {
        let paths = || vec!["/proc/sys".to_owned()];
        for (privileged, expected) in [(true, Vec::new()), (false, paths())] {
            let security = LinuxContainerSecurityContext {
                privileged,
                masked_paths: paths(),
                readonly_paths: paths(),
                ..Default::default()
            };
            assert_eq!(unless_privileged(&security, &security.masked_paths), expected);
            assert_eq!(unless_privileged(&security, &security.readonly_paths), expected);
        }
    }

    #[test]
    fn users_and_groups_are_joined_and_a_group_alone_is_refused() {
        let id = |value| Some(Int64Value { value });
        let both =
            LinuxContainerSecurityContext { run_as_user: id(1001), run_as_group: id(1002), ..Default::default() };
        assert_eq!(build(&config(both)).unwrap().user.as_deref(), Some("1001:1002"));
        let named = LinuxContainerSecurityContext { run_as_username: "nobody".into(), ..Default::default() };
        assert_eq!(build(&config(named)).unwrap().user.as_deref(), Some("nobody"));
        let alone = LinuxContainerSecurityContext { run_as_group: id(1), ..Default::default() };
        assert!(refused(alone).contains("run_as_group"));
    }

    #[test]
    fn a_privileged_container_needs_a_sandbox_that_allows_it() {
        let privileged = LinuxContainerSecurityContext { privileged: true, ..Default::default() };
        assert!(refused(privileged).contains("linux.security_context.privileged"));
    }

    #[test]
    fn security_settings_that_docker_does_not_have_are_refused_by_their_field() {
        let ambient = Capability { add_ambient_capabilities: vec!["NET_BIND_SERVICE".into()], ..Default::default() };
        let ambient = LinuxContainerSecurityContext { capabilities: Some(ambient), ..Default::default() };
        assert!(refused(ambient).contains("add_ambient_capabilities"));
    }

    #[test]
    fn an_environment_value_that_is_not_utf_8_is_refused_by_its_name() {
        let mut config = config(Default::default());
        config.envs = vec![KeyValue { key: "BIN".into(), value: vec![0xff] }];
        assert!(build(&config).unwrap_err().to_string().contains("BIN"));
        config.envs = vec![KeyValue { key: "A".into(), value: b"b=c".to_vec() }];
        assert_eq!(build(&config).unwrap().env.unwrap(), ["A=b=c"]);
    }

    #[test]
    fn a_log_path_cannot_leave_the_pods_directory() {
        let mut config = config(Default::default());
        for path in ["../../etc/passwd", "/etc/passwd", "a/../../b"] {
            config.log_path = path.into();
            assert!(check(&config).unwrap_err().to_string().contains("log_path"));
        }
    }

    #[test]
    fn signals_have_the_names_docker_knows() {
        assert_eq!(stop_signal(Signal::RuntimeDefault), None);
        assert_eq!(stop_signal(Signal::Sigquit).as_deref(), Some("SIGQUIT"));
        assert_eq!(stop_signal(Signal::Sigrtminplus1).as_deref(), Some("SIGRTMIN+1"));
        assert_eq!(stop_signal(Signal::Sigrtmaxminus1).as_deref(), Some("SIGRTMAX-1"));
    }
}
