//! Static pods, ephemeral containers, runtime classes, and kubectl cp and attach.

use serde_json::json;

use crate::cluster::*;

#[test]
fn a_static_pod_runs_as_long_as_its_file_exists() {
    let _node = shared();
    let file = "/etc/kubernetes/manifests/of-a-file.json";
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "of-a-file"},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [shell("main", UNTIL_TERM)]}});
    // Written elsewhere and renamed: the kubelet must not see half a file.
    std::fs::write("/etc/kubernetes/of-a-file.json", manifest.to_string()).unwrap();
    std::fs::rename("/etc/kubernetes/of-a-file.json", file).unwrap();
    let pod = Pod { name: format!("of-a-file-{}", node_name()) };
    pod.ready();
    assert_eq!(pod.exec("main", "hostname"), pod.name);
    std::fs::remove_file(file).unwrap();
    pod.gone();
}

#[test]
fn an_ephemeral_container_sees_the_processes_of_its_target() {
    let _node = shared();
    let pod = Pod::of("debugged", json!([shell("main", "sleep 12345"), shell("other", "sleep 54321")]));
    pod.ready();
    let script = "ps; cat /proc/1/root/etc/passwd >/dev/null && echo and its files; sleep infinity";
    let how = ["--image", BUSYBOX, "--target", "main", "-c", "debugger", "--", "sh", "-c", script];
    kubectl(&[&["debug", "debugged"], &how[..]].concat());
    let log = pod.logged("debugger", "and its files");
    assert!(log.contains("sleep 12345") && !log.contains("sleep 54321"), "{log}");
    assert_eq!(container(&pod.now(), "main").unwrap()["restartCount"], 0);
    pod.delete();
}

#[test]
fn a_runtime_class_selects_the_runtime_and_an_unknown_one_is_reported() {
    let _node = shared();
    for handler in ["wrapped", "no-such-runtime"] {
        let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": handler},
            "handler": handler});
        apply(&class);
    }
    let spec = |class: &str| json!({"runtimeClassName": class, "containers": [shell("main", UNTIL_TERM)]});
    let known = Pod::create("known-runtime", spec("wrapped"));
    let status = known.ready();
    let id = text(&container(&status, "main").unwrap()["containerID"]).trim_start_matches("docker://").to_owned();
    assert_eq!(docker(&["inspect", "--format", "{{.HostConfig.Runtime}}", &id]), "wrapped");
    known.delete();

    let unknown = Pod::create("unknown-runtime", spec("no-such-runtime"));
    let message = unknown.event("FailedCreatePodSandBox");
    assert!(message.contains("no-such-runtime"), "{message}");
    unknown.delete();
}

#[test]
fn files_can_be_copied_and_stdin_attached() {
    let _node = shared();
    let stdin = json!({"stdin": true, "stdinOnce": true});
    let main = with(shell("main", "while read line; do echo you said $line; done"), stdin);
    let pod = Pod::create("talks", json!({"restartPolicy": "Never", "containers": [main]}));
    pod.ready();
    std::fs::write("/run/box/copied", "to and fro\n").unwrap();
    kubectl(&["cp", "/run/box/copied", "talks:/tmp/copied"]);
    kubectl(&["cp", "talks:/tmp/copied", "/run/box/copied-back"]);
    assert_eq!(std::fs::read_to_string("/run/box/copied-back").unwrap(), "to and fro\n");
    // The container's stdin is closed with that of the first client that attaches.
    let output = run_with("kubectl", &["attach", "-i", "talks"], "good day\n");
    assert!(output.contains("you said good day"), "{output}");
    pod.phase("Succeeded");
    pod.delete();
}
