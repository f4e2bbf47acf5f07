//! Restart policies, init and sidecar containers, hooks, grace periods, termination messages.

use serde_json::json;

use crate::cluster::*;

#[test]
fn a_failing_container_is_restarted_with_backoff() {
    let _node = shared();
    let pod = Pod::of("crashes", json!([shell("main", "echo run of $(cat /proc/uptime); exit 3")]));
    let status = pod.container("main", "CrashLoopBackOff after two restarts", |status| {
        status["restartCount"].as_u64() >= Some(2) && status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    let last = &status["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(3), &json!("Error")));
    assert!(kubectl(&["logs", "crashes", "--previous"]).starts_with("run of "));
    assert_eq!(pod.sandboxes().len(), 1, "a restart of a container is not one of its pod");
    pod.delete();
}

#[test]
fn a_pod_that_is_never_restarted_fails_with_its_exit_code() {
    let _node = shared();
    let pod = Pod::create("fails", json!({"restartPolicy": "Never", "containers": [shell("main", "exit 7")]}));
    let pod_status = pod.phase("Failed");
    let status = container(&pod_status, "main").unwrap();
    assert_eq!(status["state"]["terminated"]["exitCode"], 7);
    assert_eq!(status["restartCount"], 0);
    pod.delete();
}

#[test]
fn a_pod_restarted_on_failure_succeeds_the_second_time() {
    let _node = shared();
    let main = with(
        shell("main", "[ -e /data/ran ] || { touch /data/ran; exit 1; }"),
        json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
    );
    let spec =
        json!({"restartPolicy": "OnFailure", "containers": [main], "volumes": [{"name": "data", "emptyDir": {}}]});
    let pod = Pod::create("second-try", spec);
    let pod_status = pod.phase("Succeeded");
    let status = container(&pod_status, "main").unwrap();
    assert_eq!(status["restartCount"], 1);
    assert_eq!(status["state"]["terminated"]["reason"], "Completed");
    pod.delete();
}

#[test]
fn init_containers_run_in_order_and_again_until_they_succeed() {
    let _node = shared();
    let (path, volume) = evidence("init");
    let step = |name: &str, script: &str| with(shell(name, script), evidence_mount());
    let spec = json!({
        "initContainers": [
            step("first", "echo first >> /evidence/order"),
            step("second", "echo second >> /evidence/order; [ $(grep -c second /evidence/order) = 2 ]"),
        ],
        "containers": [step("main", &format!("echo main >> /evidence/order; {UNTIL_TERM}"))],
        "volumes": [volume],
    });
    let pod = Pod::create("init", spec);
    let status = pod.ready();
    assert_eq!(std::fs::read_to_string(format!("{path}/order")).unwrap(), "first\nsecond\nsecond\nmain\n");
    assert_eq!(container(&status, "second").unwrap()["restartCount"], 1);
    pod.delete();
}

#[test]
fn a_sidecar_starts_before_and_stops_after_the_others() {
    let _node = shared();
    let (path, volume) = evidence("sidecar");
    let note = |words: &str| format!("echo {words} >> /evidence/order");
    let side = format!("trap '{}; exit 0' TERM; {}; sleep infinity & wait", note("side ends"), note("side starts"));
    let side = with(shell("side", &side), json!({"restartPolicy": "Always"}));
    let main =
        format!("{}; until [ -e /evidence/end ]; do sleep 0.1; done; {}", note("main starts"), note("main ends"));
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [with(side, evidence_mount())],
        "containers": [with(shell("main", &main), evidence_mount())],
        "volumes": [volume],
    });
    let pod = Pod::create("sidecar", spec);
    pod.ready();
    assert_eq!(pod.exec("side", "hostname"), "sidecar");
    std::fs::write(format!("{path}/end"), "").unwrap();
    let status = pod.phase("Succeeded");
    let order = std::fs::read_to_string(format!("{path}/order")).unwrap();
    assert_eq!(order, "side starts\nmain starts\nmain ends\nside ends\n");
    assert_eq!(container(&status, "side").unwrap()["state"]["terminated"]["exitCode"], 0);
    pod.delete();
}

#[test]
fn post_start_and_pre_stop_hooks_run() {
    let _node = shared();
    let (path, volume) = evidence("hooks");
    let hook = |words: &str| json!({"exec": {"command": ["sh", "-c", format!("echo {words} >> /evidence/order")]}});
    let main = with(
        shell("main", "trap 'echo signal >> /evidence/order; exit 0' TERM; sleep infinity & wait"),
        json!({"lifecycle": {"postStart": hook("postStart"), "preStop": hook("preStop")}}),
    );
    let spec = json!({"containers": [with(main, evidence_mount())], "volumes": [volume]});
    let pod = Pod::create("hooks", spec);
    pod.ready();
    pod.delete();
    assert_eq!(std::fs::read_to_string(format!("{path}/order")).unwrap(), "postStart\npreStop\nsignal\n");
}

#[test]
fn a_container_whose_post_start_hook_fails_is_killed() {
    let _node = shared();
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "exit 5"]}}}});
    let spec = json!({"restartPolicy": "Never", "containers": [with(shell("main", UNTIL_TERM), hook)]});
    let pod = Pod::create("hook-fails", spec);
    pod.event("FailedPostStartHook");
    pod.ended("main");
    pod.delete();
}

#[test]
fn a_container_that_ignores_the_signal_is_killed_after_its_grace_period() {
    let _node = shared();
    let spec = json!({
        "terminationGracePeriodSeconds": 3,
        "containers": [shell("main", "trap '' TERM; while true; do sleep 0.2; done")],
    });
    let pod = Pod::create("stubborn", spec);
    pod.ready();
    let began = std::time::Instant::now();
    let last = pod.delete();
    let took = began.elapsed().as_secs_f64();
    assert!((3.0..20.0).contains(&took), "deleted after {took} s");
    assert_eq!(container(&last, "main").unwrap()["state"]["terminated"]["exitCode"], 137);
}

#[test]
fn a_termination_message_is_reported() {
    let _node = shared();
    let log = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let spec = json!({"restartPolicy": "Never", "containers": [
        shell("file", "printf 'from the file' > /dev/termination-log; echo 'not from the log'; exit 1"),
        with(shell("own-file", "printf 'from my own file' > /word"), json!({"terminationMessagePath": "/word"})),
        with(shell("log", "echo 'from the log'; exit 1"), log.clone()),
        with(shell("silent", "echo 'the log is not used'"), log),
    ]});
    let pod = Pod::create("words", spec);
    let message = |name: &str| text(&pod.ended(name)["message"]).to_owned();
    assert_eq!(message("file"), "from the file");
    assert_eq!(message("own-file"), "from my own file");
    assert_eq!(message("log"), "from the log\n");
    assert_eq!(message("silent"), "");
    pod.delete();
}
