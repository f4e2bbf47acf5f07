//! Requests and limits, as cgroups have them and as containers meet them.

use serde_json::Value;
use serde_json::json;

use crate::cluster::*;

fn limited(name: &str, script: &str, resources: Value) -> Value {
    with(shell(name, script), json!({"resources": resources}))
}

/// A file of the container's cgroup, in version 1 or in version 2.
fn cgroup_file(pod: &Pod, container: &str, v1: &str, v2: &str) -> String {
    pod.exec(container, &format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"))
}

fn memory_limit(pod: &Pod, container: &str) -> String {
    cgroup_file(pod, container, "memory/memory.limit_in_bytes", "memory.max")
}

/// The CPU quota in microseconds per 100 ms.
fn cpu_quota(pod: &Pod, container: &str) -> String {
    cgroup_file(pod, container, "cpu/cpu.cfs_quota_us", "cpu.max").split(' ').next().unwrap().to_owned()
}

#[test]
fn limits_are_applied_and_a_resize_changes_them_in_a_running_container() {
    let _node = shared();
    let resources = json!({"requests": {"cpu": "50m", "memory": "24Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}});
    let pod = Pod::of("resize", json!([limited("main", UNTIL_TERM, resources)]));
    let before = container(&pod.ready(), "main").unwrap().clone();
    assert_eq!((memory_limit(&pod, "main"), cpu_quota(&pod, "main")), ("33554432".into(), "10000".into()));

    let larger = json!({"requests": {"cpu": "100m", "memory": "48Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": larger}]}});
    kubectl(&["patch", "pod", "resize", "--subresource", "resize", "--patch", &patch.to_string()]);
    let after = pod.container("main", "the new limits are reported", |status| {
        status["resources"]["limits"] == json!({"cpu": "200m", "memory": "64Mi"})
    });
    assert_eq!((memory_limit(&pod, "main"), cpu_quota(&pod, "main")), ("67108864".into(), "20000".into()));
    assert_eq!(after["containerID"], before["containerID"]);
    assert_eq!(after["restartCount"], 0);
    pod.delete();
}

#[test]
fn a_container_over_its_memory_limit_is_oom_killed() {
    let _node = shared();
    // tail keeps a line without a newline in memory, so it grows to the limit.
    let hungry = limited("main", "tail /dev/zero", json!({"limits": {"memory": "32Mi"}}));
    let pod = Pod::create("hungry", json!({"restartPolicy": "Never", "containers": [hungry]}));
    let end = pod.ended("main");
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("OOMKilled"), &json!(137)));
    pod.phase("Failed");
    pod.delete();
}

#[test]
fn a_pod_over_its_ephemeral_storage_limit_is_evicted() {
    let _node = shared();
    let script = format!("dd if=/dev/zero of=/big bs=1M count=24 2>/dev/null; {UNTIL_TERM}");
    let pod = Pod::of("writes", json!([limited("main", &script, json!({"limits": {"ephemeral-storage": "8Mi"}}))]));
    let message = pod.event("Evicted");
    assert!(message.contains("ephemeral local storage usage exceeds"), "{message}");
    // Failed, or Succeeded if the kubelet saw the exit code before it reported the eviction.
    pod.ended("main");
    pod.delete();
}
