//! A container whose start hangs in Docker, like one on a network file system whose server is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use dockside::proto::*;
use tonic::Code;

use super::ALONE;
use harness::*;

/// An OCI runtime that starts no process while this file exists.
const RUNTIME: &str = "/run/box/slow-runc";
const HOLD: &str = "/run/box/hold";

async fn state(runtime: &mut Runtime, id: &str) -> ContainerState {
    container_status(runtime, id).await.state()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_start_affects_only_its_container_which_is_unknown_and_can_be_stopped() {
    let _alone = ALONE.lock().await;
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' start '*) while [ -e {HOLD} ]; do sleep 0.05; done;; esac\nexec runc \"$@\"\n"
    );
    fs::write(RUNTIME, script).unwrap();
    fs::set_permissions(RUNTIME, fs::Permissions::from_mode(0o755)).unwrap();
    box_dockerd_with(&format!("--add-runtime slow={RUNTIME}"), "restart");
    let mut node = Node::start(&["--runtime-request-timeout", "10s"]).await;
    let mut runtime = node.runtime().await;
    let config = pod("hanging");
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: "slow".to_owned() };
    let sandbox = runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
    let whole = run_container(&mut runtime, &sandbox, &config, &container("whole", UNTIL_TERM)).await;
    let hanging = create(&mut runtime, &sandbox, &config, &container("hanging", UNTIL_TERM)).await;
    fs::write(HOLD, "").unwrap();
    let request = StartContainerRequest { container_id: hanging.clone() };
    let refused = runtime.start_container(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert_eq!(state(&mut runtime, &hanging).await, ContainerState::ContainerUnknown);
    // The next process knows all other containers.
    node.kill();
    node.spawn();
    node.wait_ready().await;
    runtime = node.runtime().await;
    assert_eq!(state(&mut runtime, &hanging).await, ContainerState::ContainerUnknown);
    assert_eq!(state(&mut runtime, &whole).await, ContainerState::ContainerRunning);
    // A kubelet stops an unknown container before it creates another one.
    let mut client = runtime.clone();
    let stopping = eventually("the container is stopped", async || {
        let request = StopContainerRequest { container_id: hanging.clone(), timeout: 1 };
        client.stop_container(request).await.ok()
    });
    let release = async {
        // Long enough for the stop to reach Docker.
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::remove_file(HOLD).unwrap();
    };
    tokio::join!(stopping, release);
    assert_eq!(state(&mut runtime, &hanging).await, ContainerState::ContainerExited);
    // A late start without a stop is seen.
    let late = create(&mut runtime, &sandbox, &config, &container("late", UNTIL_TERM)).await;
    fs::write(HOLD, "").unwrap();
    runtime.start_container(StartContainerRequest { container_id: late.clone() }).await.unwrap_err();
    fs::remove_file(HOLD).unwrap();
    eventually("the late container runs", async || {
        (state(&mut runtime, &late).await == ContainerState::ContainerRunning).then_some(())
    })
    .await;
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
    drop(node);
    box_dockerd("restart");
}
