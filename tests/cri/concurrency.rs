//! Concurrent calls, and clients that cancel a call.

use std::time::Duration;
use std::time::Instant;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::runtime;
use harness::*;

/// Cancels a call after a while, as an impatient client does.
async fn abandon(delay_ms: u64, call: impl Future) {
    let _ = tokio::time::timeout(Duration::from_millis(delay_ms), call).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_create_leaves_a_complete_container_or_none() {
    let mut runtime = runtime().await;
    let config = pod("deserted-container");
    let sandbox = run_pod(&mut runtime, &config).await;
    for (attempt, delay) in [1, 5, 15, 40, 80].into_iter().enumerate() {
        let metadata = ContainerMetadata { name: "main".to_owned(), attempt: u32::try_from(attempt).unwrap() };
        let wanted = ContainerConfig { metadata: Some(metadata), ..container("main", UNTIL_TERM) };
        abandon(delay, try_create(&mut runtime.clone(), &sandbox, &config, &wanted)).await;
        let id = create(&mut runtime, &sandbox, &config, &wanted).await;
        let name = format!("name=^/k8s_main_deserted-container_default_uid-deserted-container_{attempt}$");
        assert_eq!(docker(&["ps", "-aq", "--no-trunc", "--filter", &name]), id);

        let request = StartContainerRequest { container_id: id.clone() };
        abandon(delay, runtime.clone().start_container(request)).await;
        start(&mut runtime, &id).await;
        assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);

        let request = RemoveContainerRequest { container_id: id.clone() };
        abandon(delay, runtime.clone().remove_container(request.clone())).await;
        runtime.remove_container(request).await.unwrap();
        assert!(!docker_has(&id));
        assert!(!containers(&mut runtime).await.iter().any(|container| container.id == id));
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_stop_keeps_its_grace_period_and_completes() {
    let mut runtime = runtime().await;
    let config = pod("stop-given-up");
    let sandbox = run_pod(&mut runtime, &config).await;
    let script = "trap 'echo no' TERM; echo ready; while true; do sleep 0.05; done";
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", script)).await;
    eventually("the trap is set", async || logs(&id).contains("ready").then_some(())).await;
    let began = Instant::now();
    let request = StopContainerRequest { container_id: id.clone(), timeout: 4 };
    abandon(500, runtime.clone().stop_container(request)).await;
    eventually("the signal was sent", async || logs(&id).contains("no").then_some(())).await;
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);
    let status = ended(&mut runtime, &id).await;
    assert!(began.elapsed() >= Duration::from_secs(4), "killed after {:?}", began.elapsed());
    assert_eq!(status.exit_code, 137);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_pod_does_not_wait_for_a_stop_with_a_long_grace_period() {
    let mut runtime = runtime().await;
    let config = pod("patient-stop");
    let sandbox = run_pod(&mut runtime, &config).await;
    let script = "trap 'echo no' TERM; echo ready; while true; do sleep 0.05; done";
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", script)).await;
    eventually("the trap is set", async || logs(&id).contains("ready").then_some(())).await;
    let began = Instant::now();
    let (mut patient, patient_id) = (runtime.clone(), id.clone());
    let stop = tokio::spawn(async move { stop_container(&mut patient, &patient_id, 3600).await });
    eventually("the signal was sent", async || logs(&id).contains("no").then_some(())).await;
    remove_pod(&mut runtime, &sandbox).await;
    stop.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!docker_has(&id) && !docker_has(&sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_a_pod_without_its_pause_process_does_not_start() {
    let mut runtime = runtime().await;
    let config = pod("pause-died");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = create(&mut runtime, &sandbox, &config, &container("main", "true")).await;
    docker(&["kill", &sandbox]);
    eventually("the sandbox is not ready", async || {
        (pod_status(&mut runtime, &sandbox).await.state() == PodSandboxState::SandboxNotready).then_some(())
    })
    .await;
    let refused = runtime.start_container(StartContainerRequest { container_id: id.clone() }).await;
    assert_refused(refused, Code::FailedPrecondition, &[&sandbox, "not ready"]);
    let refused = try_create(&mut runtime, &sandbox, &config, &container("second", "true")).await;
    assert_refused(refused, Code::FailedPrecondition, &[&sandbox, "not ready"]);
    // Docker cannot start it by hand either: its network namespace would be a new one, without a network.
    docker(&["start", &sandbox]);
    for _ in 0..10 {
        assert_eq!(pod_status(&mut runtime, &sandbox).await.state(), PodSandboxState::SandboxNotready);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    remove_pod(&mut runtime, &sandbox).await;
    assert!(!docker_has(&sandbox));
}

/// In whatever order the calls run, all of them return, and everything listed afterwards can be removed completely.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_on_one_pod_neither_hang_nor_leave_anything() {
    let runtime = runtime().await;
    for round in 0..4_u64 {
        let config = pod(&format!("contended-{round}"));
        let sandbox = run_pod(&mut runtime.clone(), &config).await;
        let workers = (0..6_u64).map(|worker| {
            let (mut runtime, config, sandbox) = (runtime.clone(), &config, sandbox.as_str());
            async move {
                // The workers start at different times.
                tokio::time::sleep(Duration::from_millis(worker * 17 * (round + 1) % 90)).await;
                match worker {
                    0..=2 => {
                        let wanted = container(&format!("main-{}", worker % 2), UNTIL_TERM);
                        let Ok(id) = try_create(&mut runtime, sandbox, config, &wanted).await else { return };
                        let _ = runtime.start_container(StartContainerRequest { container_id: id.clone() }).await;
                        stop_container(&mut runtime, &id, 1).await;
                        runtime.remove_container(RemoveContainerRequest { container_id: id }).await.unwrap();
                    }
                    3 => {
                        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
                        let _ = runtime.run_pod_sandbox(request).await;
                    }
                    4 => {
                        let request = StopPodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
                        runtime.stop_pod_sandbox(request).await.unwrap();
                    }
                    _ => {
                        tokio::time::sleep(Duration::from_millis(60 * (round % 3))).await;
                        let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
                        runtime.remove_pod_sandbox(request).await.unwrap();
                    }
                }
            }
        });
        let all = tokio::time::timeout(DEADLINE, futures_util::future::join_all(workers)).await;
        assert!(all.is_ok(), "round {round}: a call hangs");
        let mut runtime = runtime.clone();
        for left in sandboxes(&mut runtime).await.iter().filter(|pod| pod.metadata == config.metadata) {
            remove_pod(&mut runtime, &left.id).await;
        }
        let names = docker(&["ps", "-a", "--format", "{{.Names}}"]);
        assert!(!names.contains(&format!("_contended-{round}_")), "round {round}: {names}");
        assert!(!containers(&mut runtime).await.iter().any(|container| container.pod_sandbox_id == sandbox));
    }
}
