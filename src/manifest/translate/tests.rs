use serde_json::Value;
use serde_json::json;

use super::super::host::Host;
use super::super::load;
use super::*;
use crate::proto::SupplementalGroupsPolicy;

/// The Pod default/web, UID uid-1, with this spec.
pub(in crate::manifest) fn pod(spec: &str) -> Pod {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, uid: uid-1, labels: {{app: shop}}, annotations: {{note: hello}}}}\nspec:\n{spec}"
    );
    let manifests = load::parse("test", &text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    manifests.into_iter().next().unwrap().pod
}

/// A machine with 10 GiB of memory and a resolver.
fn host() -> Host {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/meminfo", "MemTotal: 10485760 kB\n");
    write("etc/resolv.conf", "nameserver 192.0.2.53\nsearch node.example\noptions ndots:2 timeout:1\n");
    Host::read(root.path()).unwrap()
}

fn sandbox_of(spec: &str) -> PodSandboxConfig {
    sandbox(&pod(spec), 0, Path::new("/var/log/pods/default_web_uid-1"), &host())
}

/// The first container of a Pod with this spec, on an image that names no user.
fn container_of(spec: &str) -> ContainerConfig {
    container_on(spec, &Image { id: "sha256:1".into(), ..Image::default() }).unwrap()
}

fn container_on(spec: &str, image: &Image) -> Result<ContainerConfig, String> {
    let pod = pod(spec);
    container(&pod, &pod.spec.containers[0], 0, image, Vec::new(), &host())
}

/// As JSON without empty fields, so that expectations stay readable.
fn shown(value: impl serde::Serialize) -> Value {
    fn strip(value: Value) -> Option<Value> {
        let kept = match value {
            Value::Object(fields) => {
                Value::Object(fields.into_iter().filter_map(|(key, field)| Some((key, strip(field)?))).collect())
            }
            Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| strip(item).unwrap_or(json!({}))).collect())
            }
            other => other,
        };
        let is_empty =
            kept.is_null() || kept == json!("") || kept == json!(false) || kept == json!([]) || kept == json!({});
        (!is_empty).then_some(kept)
    }
    strip(serde_json::to_value(value).unwrap()).unwrap_or_default()
}

#[test]
fn a_plain_pod_becomes_the_sandbox_of_a_kubelet() {
    let config = sandbox_of("containers: [{name: nginx, image: nginx:1.14, ports: [{containerPort: 80}]}]");
    let expected = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "uid-1", "attempt": 0},
        "hostname": "web",
        "log_directory": "/var/log/pods/default_web_uid-1",
        "dns_config": {
            "servers": ["192.0.2.53"], "searches": ["node.example"], "options": ["ndots:2", "timeout:1"],
        },
        "port_mappings": [{"protocol": 0, "container_port": 80, "host_port": 0}],
        "labels": {
            "app": "shop",
            "io.kubernetes.pod.name": "web",
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": "uid-1",
        },
        "annotations": {"note": "hello"},
        "linux": {"security_context": {
            "namespace_options": {"network": 0, "pid": 1, "ipc": 0},
            "seccomp": {"profile_type": 0},
            "supplemental_groups_policy": 0,
        }},
    });
    assert_eq!(shown(config), expected);
}

#[test]
fn a_plain_container_becomes_the_one_of_a_kubelet() {
    let mut config = container_of(
        "restartPolicy: Never\nterminationGracePeriodSeconds: 5\n\
         containers: [{name: nginx, image: nginx:1.14, command: [run, $(A)], args: [$(B), $(C)], workingDir: /srv,\n\
           env: [{name: A, value: '1'}, {name: B, value: $(A)2}],\n\
           ports: [{containerPort: 80, name: http, hostPort: 8080, hostIP: 127.0.0.1}]}]",
    );
    let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    assert!(security.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert!(security.readonly_paths.contains(&"/proc/sys".to_owned()));
    security.masked_paths.clear();
    security.readonly_paths.clear();
    let hash = config.annotations.remove(HASH).unwrap();
    assert!(u32::from_str_radix(&hash, 16).is_ok(), "{hash}");
    let expected = json!({
        "metadata": {"name": "nginx", "attempt": 0},
        "image": {"image": "sha256:1", "annotations": {"note": "hello"}, "user_specified_image": "nginx:1.14"},
        "command": ["run", "1"],
        "args": ["12", "$(C)"],
        "working_dir": "/srv",
        "envs": [{"key": "A", "value": "1"}, {"key": "B", "value": "12"}],
        "labels": {
            "io.kubernetes.container.name": "nginx",
            "io.kubernetes.pod.name": "web",
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": "uid-1",
        },
        "annotations": {
            "io.kubernetes.container.ports":
                r#"[{"name":"http","hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"127.0.0.1"}]"#,
            "io.kubernetes.container.restartCount": "0",
            "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
            "io.kubernetes.container.terminationMessagePolicy": "File",
            "io.kubernetes.pod.terminationGracePeriod": "5",
        },
        "log_path": "nginx/0.log",
        "stop_signal": 0,
        "linux": {
            "resources": {
                "cpu_period": 100_000, "cpu_quota": 0, "cpu_shares": 2, "memory_limit_in_bytes": 0,
                "memory_swap_limit_in_bytes": 0, "oom_score_adj": 1000,
            },
            "security_context": {
                "namespace_options": {"network": 0, "pid": 1, "ipc": 0},
                "run_as_user": {"value": 0},
                "seccomp": {"profile_type": 1},
                "supplemental_groups_policy": 0,
            },
        },
    });
    assert_eq!(shown(config), expected);
}

#[test]
fn a_later_attempt_shows_in_name_log_and_annotation() {
    let pod = pod("containers: [{name: c, image: x}]");
    let config = container(&pod, &pod.spec.containers[0], 3, &Image::default(), Vec::new(), &host()).unwrap();
    assert_eq!(config.metadata.unwrap().attempt, 3);
    assert_eq!(config.log_path, "c/3.log");
    assert_eq!(config.annotations[RESTART_COUNT], "3");
    assert_eq!(sandbox(&pod, 2, Path::new("/l"), &host()).metadata.unwrap().attempt, 2);
}

#[test]
fn init_containers_are_marked_and_their_ports_stay_inside() {
    let pod =
        pod("initContainers: [{name: i, image: x, ports: [{containerPort: 1}]}]\ncontainers: [{name: c, image: x}]");
    let of =
        |container: &Container| super::container(&pod, container, 0, &Image::default(), Vec::new(), &host()).unwrap();
    assert_eq!(of(&pod.spec.init_containers[0]).annotations[INIT], "true");
    assert!(!of(&pod.spec.containers[0]).annotations.contains_key(INIT));
    assert_eq!(sandbox(&pod, 0, Path::new("/l"), &host()).port_mappings, []);
}

#[test]
fn the_kubelets_labels_win_over_the_pods() {
    let mut pod = pod("containers: [{name: c, image: x}]");
    pod.metadata.labels.insert(POD_NAME.into(), "somebody-else".into());
    assert_eq!(sandbox(&pod, 0, Path::new("/l"), &host()).labels[POD_NAME], "web");
}

#[test]
fn namespaces_of_the_host_are_chosen_one_by_one() {
    use proto::NamespaceMode::{Container, Node, Pod};
    for (spec, network, pid, ipc) in [
        ("hostNetwork: true", Node, Container, Pod),
        ("hostPID: true", Pod, Node, Pod),
        ("hostIPC: true", Pod, Container, Node),
        ("shareProcessNamespace: true", Pod, Pod, Pod),
    ] {
        let spec = format!("{spec}\ncontainers: [{{name: c, image: x}}]");
        let of_sandbox = sandbox_of(&spec).linux.unwrap().security_context.unwrap().namespace_options.unwrap();
        let of_container = container_of(&spec).linux.unwrap().security_context.unwrap().namespace_options.unwrap();
        assert_eq!(of_sandbox, of_container);
        assert_eq!((of_sandbox.network(), of_sandbox.pid(), of_sandbox.ipc()), (network, pid, ipc), "{spec}");
    }
}

#[test]
fn the_hostname_is_the_pods_own_cut_to_fit() {
    let containers = "containers: [{name: c, image: x}]";
    assert_eq!(sandbox_of(&format!("hostname: front\n{containers}")).hostname, "front");
    assert_eq!(sandbox_of(&format!("hostNetwork: true\n{containers}")).hostname, "");
    let mut long = pod(containers);
    long.metadata.name = format!("{}-x", "a".repeat(62));
    assert_eq!(hostname(&long), "a".repeat(62));
}

#[test]
fn the_pods_resolver_adds_to_the_nodes_or_replaces_it() {
    let own = "dnsConfig: {nameservers: [192.0.2.1, 192.0.2.53], searches: [pod.example], options: [{name: ndots, value: '5'}, {name: edns0}]}\n\
               containers: [{name: c, image: x}]";
    let added = sandbox_of(&format!("dnsPolicy: Default\n{own}")).dns_config.unwrap();
    assert_eq!(added.servers, ["192.0.2.53", "192.0.2.1"]);
    assert_eq!(added.searches, ["node.example", "pod.example"]);
    assert_eq!(added.options, ["timeout:1", "ndots:5", "edns0"]);
    let replaced = sandbox_of(&format!("dnsPolicy: None\n{own}")).dns_config.unwrap();
    assert_eq!(replaced.servers, ["192.0.2.1", "192.0.2.53"]);
    assert_eq!(replaced.searches, ["pod.example"]);
    assert_eq!(replaced.options, ["ndots:5", "edns0"]);
}

#[test]
fn ports_are_mapped_once_each() {
    let config = sandbox_of(
        "containers:\n- {name: a, image: x, ports: [{containerPort: 53, protocol: UDP, hostPort: 5353}, {containerPort: 53, protocol: TCP}]}\n\
         - {name: b, image: x, ports: [{containerPort: 53, protocol: TCP}, {containerPort: 9, protocol: SCTP}]}",
    );
    let ports: Vec<_> = config
        .port_mappings
        .iter()
        .map(|port| (port.protocol().as_str_name(), port.container_port, port.host_port))
        .collect();
    assert_eq!(ports, [("UDP", 53, 5353), ("TCP", 53, 0), ("SCTP", 9, 0)]);
}

#[test]
fn the_user_is_the_manifests_or_the_images() {
    let numbered = Image { uid: Some(101), ..Image::default() };
    let named = Image { username: "nginx".into(), ..Image::default() };
    let plain = "containers: [{name: c, image: x}]";
    let pods = "securityContext: {runAsUser: 1000, runAsGroup: 2000}\ncontainers: [{name: c, image: x}]";
    let own = "securityContext: {runAsUser: 1000}\ncontainers: [{name: c, image: x, securityContext: {runAsUser: 7, runAsGroup: 8}}]";
    for (spec, image, user, username, group) in [
        (plain, &Image::default(), Some(0), "", None),
        (plain, &numbered, Some(101), "", None),
        (plain, &named, None, "nginx", None),
        (pods, &named, Some(1000), "", Some(2000)),
        (own, &numbered, Some(7), "", Some(8)),
    ] {
        let security = container_on(spec, image).unwrap().linux.unwrap().security_context.unwrap();
        assert_eq!(security.run_as_user.map(|user| user.value), user, "{spec}");
        assert_eq!(security.run_as_username, username, "{spec}");
        assert_eq!(security.run_as_group.map(|group| group.value), group, "{spec}");
    }
    let security = sandbox_of(pods).linux.unwrap().security_context.unwrap();
    assert_eq!((security.run_as_user.unwrap().value, security.run_as_group.unwrap().value), (1000, 2000));
}

#[test]
fn run_as_non_root_needs_a_numeric_user_other_than_root() {
    let spec = "securityContext: {runAsNonRoot: true}\ncontainers: [{name: c, image: x}]";
    let image = |uid, username: &str| Image { id: "i".into(), uid, username: username.into() };
    assert!(container_on(spec, &image(Some(101), "")).is_ok());
    assert!(container_on(spec, &image(Some(0), "")).unwrap_err().contains("user is root"));
    assert!(container_on(spec, &image(None, "")).unwrap_err().contains("user is root"));
    assert!(container_on(spec, &image(None, "nginx")).unwrap_err().contains("`nginx`"));
    let overruled = "securityContext: {runAsNonRoot: true}\ncontainers: [{name: c, image: x, securityContext: {runAsNonRoot: false}}]";
    assert!(container_on(overruled, &image(None, "")).is_ok());
    let numbered = "securityContext: {runAsNonRoot: true, runAsUser: 5}\ncontainers: [{name: c, image: x}]";
    assert!(container_on(numbered, &image(None, "nginx")).is_ok());
}

#[test]
fn groups_have_the_fs_group_first() {
    let strict = "securityContext: {supplementalGroupsPolicy: Strict}\ncontainers: [{name: c, image: x}]";
    let security = container_of(strict).linux.unwrap().security_context.unwrap();
    assert_eq!(security.supplemental_groups_policy(), SupplementalGroupsPolicy::Strict);
    let spec = "securityContext: {fsGroup: 5, supplementalGroups: [6, 7]}\ncontainers: [{name: c, image: x}]";
    assert_eq!(sandbox_of(spec).linux.unwrap().security_context.unwrap().supplemental_groups, [5, 6, 7]);
    assert_eq!(container_of(spec).linux.unwrap().security_context.unwrap().supplemental_groups, [5, 6, 7]);
}

#[test]
fn privileges_are_passed_on_and_mark_the_sandbox() {
    let spec = "containers: [{name: c, image: x, securityContext: {privileged: true, readOnlyRootFilesystem: true, capabilities: {add: [NET_ADMIN], drop: [ALL]}}}]";
    let security = container_of(spec).linux.unwrap().security_context.unwrap();
    assert!(security.privileged && security.readonly_rootfs && !security.no_new_privs);
    let capabilities = security.capabilities.unwrap();
    assert_eq!(
        (capabilities.add_capabilities, capabilities.drop_capabilities),
        (vec!["NET_ADMIN".into()], vec!["ALL".into()])
    );
    assert!(sandbox_of(spec).linux.unwrap().security_context.unwrap().privileged);
    for (allow, no_new_privs) in [("true", false), ("false", true)] {
        let spec =
            format!("containers: [{{name: c, image: x, securityContext: {{allowPrivilegeEscalation: {allow}}}}}]");
        assert_eq!(container_of(&spec).linux.unwrap().security_context.unwrap().no_new_privs, no_new_privs);
    }
}

#[test]
fn profiles_are_the_containers_or_else_the_pods() {
    use proto::security_profile::ProfileType;
    let spec = |pod: &str, own: &str| {
        format!("securityContext: {{{pod}}}\ncontainers: [{{name: c, image: x, securityContext: {{{own}}}}}]")
    };
    let of = |pod: &str, own: &str| container_of(&spec(pod, own)).linux.unwrap().security_context.unwrap();
    let default = "seccompProfile: {type: RuntimeDefault}, appArmorProfile: {type: RuntimeDefault}";
    let local = "seccompProfile: {type: Localhost, localhostProfile: a/b.json}, appArmorProfile: {type: Localhost, localhostProfile: k8s-web}";
    let none = of("", "");
    assert_eq!(none.seccomp.unwrap().profile_type(), ProfileType::Unconfined);
    assert_eq!(none.apparmor, None);
    let pods = of(default, "");
    assert_eq!(pods.seccomp.unwrap().profile_type(), ProfileType::RuntimeDefault);
    assert_eq!(pods.apparmor.unwrap().profile_type(), ProfileType::RuntimeDefault);
    let own = of(default, local);
    let (seccomp, apparmor) = (own.seccomp.unwrap(), own.apparmor.unwrap());
    assert_eq!(
        (seccomp.profile_type(), seccomp.localhost_ref.as_str()),
        (ProfileType::Localhost, "/var/lib/kubelet/seccomp/a/b.json")
    );
    assert_eq!((apparmor.profile_type(), apparmor.localhost_ref.as_str()), (ProfileType::Localhost, "k8s-web"));
}

#[test]
fn the_pull_policy_depends_on_the_tag() {
    for (image, spec, policy) in [
        ("nginx", "nginx:latest", PullPolicy::Always),
        ("nginx:latest", "nginx:latest", PullPolicy::Always),
        ("nginx:1.14", "nginx:1.14", PullPolicy::IfNotPresent),
        ("localhost:5000/nginx", "localhost:5000/nginx:latest", PullPolicy::Always),
        ("nginx@sha256:0", "nginx@sha256:0", PullPolicy::IfNotPresent),
    ] {
        let pod = pod(&format!("containers: [{{name: c, image: '{image}'}}]"));
        let container = &pod.spec.containers[0];
        assert_eq!(image_spec(&pod, container).image, spec);
        assert_eq!(image_spec(&pod, container).user_specified_image, image);
        assert_eq!(pull_policy(container), policy, "{image}");
    }
    let pod = pod("runtimeClassName: kata\ncontainers: [{name: c, image: x, imagePullPolicy: Never}]");
    assert_eq!(pull_policy(&pod.spec.containers[0]), PullPolicy::Never);
    assert_eq!(image_spec(&pod, &pod.spec.containers[0]).runtime_handler, "kata");
}

#[test]
fn the_last_of_several_variables_of_a_name_counts() {
    let config = container_of(
        "containers: [{name: c, image: x, args: [$(A)], env: [{name: A, value: '1'}, {name: A, value: $(A)2}]}]",
    );
    assert_eq!(config.args, ["12"]);
    assert_eq!(config.envs.len(), 2);
}

#[test]
fn terminals_and_input_are_passed_on() {
    let config = container_of("containers: [{name: c, image: x, stdin: true, stdinOnce: true, tty: true}]");
    assert!(config.stdin && config.stdin_once && config.tty);
}
