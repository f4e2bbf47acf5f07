//! How containers start, fail to start, stop and exit.

use std::time::Duration;
use std::time::Instant;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::containers::of_image;
use crate::inspect::*;
use crate::runtime;
use harness::*;

async fn try_start(runtime: &mut Runtime, id: &str) -> Result<(), tonic::Status> {
    runtime.start_container(StartContainerRequest { container_id: id.to_owned() }).await.map(|_| ())
}

fn limited(bytes: i64) -> LinuxContainerConfig {
    let resources = LinuxContainerResources { memory_limit_in_bytes: bytes, ..Default::default() };
    LinuxContainerConfig { resources: Some(resources), ..Default::default() }
}

/// A pod with one running container.
async fn running(runtime: &mut Runtime, name: &str, container: &ContainerConfig) -> (String, String) {
    let config = pod(name);
    let sandbox = run_pod(runtime, &config).await;
    let id = run_container(runtime, &sandbox, &config, container).await;
    (sandbox, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_and_reasons_are_those_of_the_process() {
    let mut runtime = runtime().await;
    let config = pod("exits");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (number, (script, code, reason)) in [
        ("true", 0, "Completed"),
        ("exit 1", 1, "Error"),
        ("exit 255", 255, "Error"),
        ("kill -SEGV $$", 139, "Error"),
        ("kill -KILL $$", 137, "Error"),
    ]
    .into_iter()
    .enumerate()
    {
        // With the pod's pid namespace the shell is not process 1, which ignores signals without a handler.
        let id = run_container(&mut runtime, &sandbox, &config, &container(&format!("main-{number}"), script)).await;
        let status = ended(&mut runtime, &id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{script}");
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_over_its_memory_limit_exits_as_oom_killed() {
    let mut runtime = runtime().await;
    let config = pod("hungry");
    let sandbox = run_pod(&mut runtime, &config).await;
    for attempt in 0..3 {
        let wanted = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt }),
            linux: Some(limited(15 << 20)),
            // containerd begins to watch for OOM kills a moment after the start.
            ..container("main", "sleep 0.3; exec dd if=/dev/zero of=/dev/null bs=64M")
        };
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        let status = ended(&mut runtime, &id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    }
    // An OOM kill of a child does not count when the container itself exits with 0.
    let script = "dd if=/dev/zero of=/dev/null bs=64M 2>/dev/null; echo $?; exit 0";
    let wanted = ContainerConfig { linux: Some(limited(15 << 20)), ..container("survivor", script) };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    let status = ended(&mut runtime, &id).await;
    assert_eq!(logs(&id), "137");
    assert_eq!(status.exit_code, 0);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_run_fails_with_the_runtimes_message_and_cannot_be_started_again() {
    let mut runtime = runtime().await;
    let config = pod("cannot-run");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (name, program, words, code) in [
        ("missing", "/no/such/program", "no such file or directory", 127),
        ("not-executable", "/etc/passwd", "permission denied", 126),
    ] {
        let wanted = ContainerConfig { command: vec![program.to_owned()], ..container(name, "") };
        let id = create(&mut runtime, &sandbox, &config, &wanted).await;
        let error = try_start(&mut runtime, &id).await.unwrap_err();
        assert!(error.message().contains(words) && error.message().contains(program), "{error}");
        let status = container_status(&mut runtime, &id).await;
        assert_eq!((status.state(), status.reason.as_str()), (ContainerState::ContainerExited, "ContainerCannotRun"));
        assert_eq!(status.exit_code, code, "{name}");
        assert!(status.message.contains(words), "{}", status.message);
        let times = [1, status.created_at, status.started_at, status.finished_at];
        assert!(times.is_sorted(), "{times:?}");
        assert_refused(try_start(&mut runtime, &id).await, Code::FailedPrecondition, &[&id, "exited"]);
        stop_container(&mut runtime, &id, 10).await;
        runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
        assert!(!docker_has(&id));
    }
    // The pod is still usable, and the next attempt works.
    let id = run_container(&mut runtime, &sandbox, &config, &container("missing", "true")).await;
    assert_eq!(ended(&mut runtime, &id).await.reason, "Completed");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_succeeds_while_running_and_is_refused_after_the_exit() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "twice", &container("main", UNTIL_TERM)).await;
    let before = container_status(&mut runtime, &id).await;
    try_start(&mut runtime, &id).await.unwrap();
    let after = container_status(&mut runtime, &id).await;
    assert_eq!((after.state, after.started_at), (before.state, before.started_at));
    stop_container(&mut runtime, &id, 10).await;
    assert_refused(try_start(&mut runtime, &id).await, Code::FailedPrecondition, &[&id]);
    assert_eq!(inspect(&id)["State"]["Running"], false);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_the_signal_of_the_request_else_of_the_image_else_term() {
    let mut runtime = runtime().await;
    let config = pod("signals");
    let sandbox = run_pod(&mut runtime, &config).await;
    // 37 is SIGRTMIN+3: the C library reserves the first two real-time signals.
    let script = "for s in TERM QUIT USR1 37; do trap \"echo $s; exit 0\" $s; done
        echo ready; while true; do sleep 0.05; done";
    for (name, image, signal, expected) in [
        ("default", BUSYBOX, Signal::RuntimeDefault, (Signal::Sigterm, "TERM")),
        ("image", "dockside.test/entrypoint:1", Signal::RuntimeDefault, (Signal::Sigusr1, "USR1")),
        ("request", "dockside.test/entrypoint:1", Signal::Sigquit, (Signal::Sigquit, "QUIT")),
        ("realtime", BUSYBOX, Signal::Sigrtminplus3, (Signal::Sigrtminplus3, "37")),
    ] {
        let wanted =
            ContainerConfig { image: of_image("", image).image, stop_signal: signal.into(), ..container(name, script) };
        let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        eventually("the traps are set", async || logs(&id).contains("ready").then_some(())).await;
        let (signal, expected) = expected;
        assert_eq!(container_status(&mut runtime, &id).await.stop_signal(), signal, "{name}");
        let began = Instant::now();
        stop_container(&mut runtime, &id, 30).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{name}: {:?}", began.elapsed());
        let status = container_status(&mut runtime, &id).await;
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 0), "{name}");
        assert_eq!(logs(&id), format!("ready\n{expected}"), "{name}");
    }
    remove_pod(&mut runtime, &sandbox).await;
}

/// Ignores SIGTERM and never exits by itself.
const STUBBORN: &str = "trap 'echo no' TERM; echo ready; while true; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ignores_the_signal_is_killed_after_the_grace_period() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "stubborn", &container("main", STUBBORN)).await;
    eventually("the trap is set", async || logs(&id).contains("ready").then_some(())).await;
    let began = Instant::now();
    stop_container(&mut runtime, &id, 2).await;
    let took = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&took), "{took:?}");
    let status = container_status(&mut runtime, &id).await;
    assert_eq!(
        (status.state(), status.exit_code, status.reason.as_str()),
        (ContainerState::ContainerExited, 137, "Error")
    );
    assert_eq!(logs(&id), "ready\nno");
    stop_container(&mut runtime, &id, 2).await;
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stop_without_grace_period_ends_a_first_one_with_a_long_one() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "impatient", &container("main", STUBBORN)).await;
    eventually("the trap is set", async || logs(&id).contains("ready").then_some(())).await;
    let began = Instant::now();
    let (mut patient, patient_id) = (runtime.clone(), id.clone());
    let first = tokio::spawn(async move { stop_container(&mut patient, &patient_id, 3600).await });
    eventually("the first stop sent its signal", async || logs(&id).contains("no").then_some(())).await;
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);
    stop_container(&mut runtime, &id, 0).await;
    assert_eq!(container_status(&mut runtime, &id).await.exit_code, 137);
    first.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_stops_all_return() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "stop-storm", &container("main", STUBBORN)).await;
    eventually("the trap is set", async || logs(&id).contains("ready").then_some(())).await;
    let began = Instant::now();
    let stops: Vec<_> = (0..30)
        .map(|number| {
            let (mut runtime, id) = (runtime.clone(), id.clone());
            tokio::spawn(async move { stop_container(&mut runtime, &id, 600 - 20 * number).await })
        })
        .collect();
    stop_container(&mut runtime, &id, 1).await;
    for stop in stops {
        stop.await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_never_started_can_be_stopped_and_removed() {
    let mut runtime = runtime().await;
    let config = pod("never-started");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = create(&mut runtime, &sandbox, &config, &container("main", "true")).await;
    stop_container(&mut runtime, &id, 10).await;
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerCreated);
    for _ in 0..2 {
        runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
        assert!(!docker_has(&id));
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_can_be_removed_at_once() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "removed-at-once", &container("main", "exec sleep 86409")).await;
    runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
    assert!(!docker_has(&id));
    assert_eq!(processes_with("sleep 86409"), Vec::<String>::new());
    assert_eq!(pod_status(&mut runtime, &sandbox).await.state(), PodSandboxState::SandboxReady);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_started_and_stopped_by_hand_are_reported() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "by-hand", &container("main", UNTIL_TERM)).await;
    docker(&["kill", &id]);
    let status = ended(&mut runtime, &id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    docker(&["start", &id]);
    let again = eventually("it runs again", async || {
        let status = container_status(&mut runtime, &id).await;
        (status.state() == ContainerState::ContainerRunning).then_some(status)
    })
    .await;
    assert!(again.started_at > status.finished_at);
    assert_eq!((again.finished_at, again.exit_code, again.reason.as_str()), (0, 0, ""));
    docker(&["rm", "-f", &id]);
    let gone = ended(&mut runtime, &id).await;
    assert_eq!((gone.exit_code, gone.finished_at > again.started_at), (137, true));
    runtime.remove_container(RemoveContainerRequest { container_id: id }).await.unwrap();
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_exits_immediately_is_reported_as_exited() {
    let runtime = runtime().await;
    let config = pod("quick");
    let sandbox = run_pod(&mut runtime.clone(), &config).await;
    // Concurrently, so that Docker's events arrive early and late.
    let workers = (0..4).map(|worker| {
        let (mut runtime, sandbox, config) = (runtime.clone(), &sandbox, &config);
        async move {
            for number in 0..10 {
                let wanted = ContainerConfig {
                    command: vec!["true".to_owned()],
                    ..container(&format!("main-{worker}-{number}"), "")
                };
                let id = run_container(&mut runtime, sandbox, config, &wanted).await;
                let status = ended(&mut runtime, &id).await;
                assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
                assert!([status.created_at, status.started_at, status.finished_at].is_sorted(), "{status:?}");
            }
        }
    });
    futures_util::future::join_all(workers).await;
    remove_pod(&mut runtime.clone(), &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_by_hand_is_not_reported_as_an_exit() {
    let mut runtime = runtime().await;
    let (sandbox, id) = running(&mut runtime, "restarted-by-hand", &container("main", UNTIL_TERM)).await;
    for _ in 0..10 {
        let before = container_status(&mut runtime, &id).await.started_at;
        docker(&["restart", "--time", "0", &id]);
        eventually("the new start is reported", async || {
            let status = container_status(&mut runtime, &id).await;
            (status.state() == ContainerState::ContainerRunning && status.started_at > before).then_some(())
        })
        .await;
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_is_reported_as_soon_as_a_stop_returns() {
    let mut runtime = runtime().await;
    let config = pod("at-once");
    let sandbox = run_pod(&mut runtime, &config).await;
    for number in 0..10 {
        let id =
            run_container(&mut runtime, &sandbox, &config, &container(&format!("main-{number}"), "exec sleep 86410"))
                .await;
        assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);
        stop_container(&mut runtime, &id, i64::from(number % 2)).await;
        assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerExited);
    }
    remove_pod(&mut runtime, &sandbox).await;
}
