//! Security contexts of pods and containers.

use serde_json::Value;
use serde_json::json;

use crate::cluster::*;

fn secured(name: &str, script: &str, context: Value) -> Value {
    with(shell(name, script), json!({"securityContext": context}))
}

/// A line of the first process's status, such as `CapEff`.
fn status_line(pod: &Pod, container: &str, field: &str) -> String {
    pod.exec(container, &format!("awk '$1 == \"{field}:\" {{ print $2 }}' /proc/1/status"))
}

#[test]
fn users_and_groups_are_as_specified() {
    let _node = shared();
    let spec = json!({
        "securityContext": {"runAsUser": 1001, "runAsGroup": 2001, "fsGroup": 3001, "supplementalGroups": [4001]},
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [
            with(shell("pod", UNTIL_TERM), json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]})),
            secured("own", UNTIL_TERM, json!({"runAsUser": 1002})),
        ],
    });
    let pod = Pod::create("users", spec);
    pod.ready();
    assert_eq!(pod.exec("pod", "id -u; id -g; id -G"), "1001\n2001\n2001 3001 4001");
    assert_eq!(pod.exec("own", "id -u; id -g"), "1002\n2001");
    assert_eq!(pod.exec("pod", "touch /data/file; stat -c %u:%g /data/file"), "1001:3001");
    pod.delete();
}

#[test]
fn a_root_image_is_refused_with_run_as_non_root() {
    let _node = shared();
    let pod = Pod::of("no-root", json!([secured("main", UNTIL_TERM, json!({"runAsNonRoot": true}))]));
    let status = pod.container("main", "it is refused", |status| {
        status["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    assert!(text(&status["state"]["waiting"]["message"]).contains("runAsNonRoot"), "{status}");
    pod.delete();
    // An image with a numeric user may run; a user name is not enough for the kubelet.
    let main =
        with(secured("main", UNTIL_TERM, json!({"runAsNonRoot": true})), json!({"image": "dockside.test/user-uid:1"}));
    let pod = Pod::of("no-root-number", json!([main]));
    pod.ready();
    assert_eq!(pod.exec("main", "id -u"), "1002");
    pod.delete();
}

#[test]
fn capabilities_are_added_and_dropped() {
    let _node = shared();
    let pod = Pod::of(
        "capabilities",
        json!([
            secured("none", UNTIL_TERM, json!({"capabilities": {"drop": ["ALL"]}})),
            secured("one", UNTIL_TERM, json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}})),
            secured("less", UNTIL_TERM, json!({"capabilities": {"drop": ["CHOWN"]}})),
        ]),
    );
    pod.ready();
    assert_eq!(status_line(&pod, "none", "CapEff"), "0000000000000000");
    assert_eq!(status_line(&pod, "one", "CapEff"), "0000000000001000");
    let less = u64::from_str_radix(&status_line(&pod, "less", "CapEff"), 16).unwrap();
    assert!(less != 0 && less & 1 == 0, "{less:x}");
    pod.delete();
}

#[test]
fn a_read_only_root_cannot_be_written_and_a_volume_can() {
    let _node = shared();
    let main = with(
        secured("main", UNTIL_TERM, json!({"readOnlyRootFilesystem": true})),
        json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
    );
    let spec = json!({"containers": [main], "volumes": [{"name": "data", "emptyDir": {}}]});
    let pod = Pod::create("read-only", spec);
    pod.ready();
    assert_eq!(
        pod.exec("main", "touch /file 2>/dev/null || echo refused; touch /data/file && echo taken"),
        "refused\ntaken"
    );
    pod.delete();
}

#[test]
fn seccomp_profiles_are_runtime_default_unconfined_or_localhost() {
    let _node = shared();
    let profiles = "/var/lib/kubelet/seccomp";
    std::fs::create_dir_all(profiles).unwrap();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    std::fs::write(format!("{profiles}/no-mkdir.json"), profile.to_string()).unwrap();
    let seccomp = |name: &str, profile: Value| secured(name, UNTIL_TERM, json!({"seccompProfile": profile}));
    let pod = Pod::of(
        "seccomp",
        json!([
            seccomp("default", json!({"type": "RuntimeDefault"})),
            seccomp("none", json!({"type": "Unconfined"})),
            seccomp("own", json!({"type": "Localhost", "localhostProfile": "no-mkdir.json"})),
        ]),
    );
    pod.ready();
    assert_eq!(status_line(&pod, "default", "Seccomp"), "2");
    assert_eq!(status_line(&pod, "none", "Seccomp"), "0");
    assert_eq!(pod.exec("own", "mkdir /tmp/x 2>/dev/null || echo refused"), "refused");
    assert_eq!(pod.exec("default", "mkdir /tmp/x && echo made"), "made");
    pod.delete();
}

#[test]
fn privileged_and_allow_privilege_escalation_are_applied() {
    let _node = shared();
    let pod = Pod::of(
        "privileges",
        json!([
            secured("all", UNTIL_TERM, json!({"privileged": true})),
            secured("no-more", UNTIL_TERM, json!({"allowPrivilegeEscalation": false})),
        ]),
    );
    pod.ready();
    assert_eq!(status_line(&pod, "all", "NoNewPrivs"), "0");
    assert_eq!(pod.exec("all", "mount -t tmpfs none /tmp && echo mounted"), "mounted");
    assert_eq!(status_line(&pod, "no-more", "NoNewPrivs"), "1");
    assert_eq!(pod.exec("no-more", "mount -t tmpfs none /tmp 2>/dev/null || echo refused"), "refused");
    pod.delete();
}

#[test]
fn sysctls_are_set_in_the_pod_only() {
    let _node = shared();
    let spec = json!({
        "securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "20000 20100"}]},
        "containers": [shell("main", UNTIL_TERM)],
    });
    let pod = Pod::create("sysctls", spec);
    pod.ready();
    assert_eq!(pod.exec("main", "cat /proc/sys/net/ipv4/ip_local_port_range"), "20000\t20100");
    pod.delete();
}
