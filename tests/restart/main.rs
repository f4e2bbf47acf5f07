//! Pods outlive Dockside, and what was half-made when it was killed is finished or undone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hung_start;
mod network;

use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use dockside::proto::*;
use harness::*;

/// The tests of this file restart Docker and count what is left in the box, so they run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_leaves_every_pod_unchanged_and_known() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("steady");
    let sandbox = run_pod(&mut runtime, &config).await;
    let running = run_container(&mut runtime, &sandbox, &config, &container("running", UNTIL_TERM)).await;
    let created = create(&mut runtime, &sandbox, &config, &container("created", "true")).await;
    // Docker may date the exit of a shorter container before its start, and then its times are ambiguous.
    let exited = run_container(&mut runtime, &sandbox, &config, &container("exited", "sleep 0.3; exit 3")).await;
    ended(&mut runtime, &exited).await;
    let stopped_config = pod("stopped");
    let stopped = run_pod(&mut runtime, &stopped_config).await;
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: stopped.clone() }).await.unwrap();

    for by_kill in [true, false] {
        let mut before = Vec::new();
        for id in [&running, &created, &exited] {
            before.push(container_status(&mut runtime, id).await);
        }
        let pods_before = [pod_status(&mut runtime, &sandbox).await, pod_status(&mut runtime, &stopped).await];
        let pid_before = docker(&["inspect", "-f", "{{.State.Pid}}", &running]);
        if by_kill {
            node.kill();
        } else {
            assert!(node.terminate().await.success());
        }
        node.spawn();
        node.wait_ready().await;
        runtime = node.runtime().await;
        for known in &before {
            let mut now = container_status(&mut runtime, &known.id).await;
            // Docker's own time is exact; Dockside's was taken before the request.
            now.started_at = known.started_at;
            assert_eq!(&now, known);
        }
        assert_eq!(pods_before, [pod_status(&mut runtime, &sandbox).await, pod_status(&mut runtime, &stopped).await]);
        assert_eq!(docker(&["inspect", "-f", "{{.State.Pid}}", &running]), pid_before);
    }
    // Everything can still be used.
    start(&mut runtime, &created).await;
    ended(&mut runtime, &created).await;
    stop_container(&mut runtime, &running, 10).await;
    assert_eq!(container_status(&mut runtime, &running).await.exit_code, 0);
    remove_pod(&mut runtime, &sandbox).await;
    remove_pod(&mut runtime, &stopped).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_dockside_was_down_is_reported() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("absent");
    let sandbox = run_pod(&mut runtime, &config).await;
    let killed = run_container(&mut runtime, &sandbox, &config, &container("killed", UNTIL_TERM)).await;
    let removed = run_container(&mut runtime, &sandbox, &config, &container("removed", UNTIL_TERM)).await;
    node.kill();
    docker(&["kill", &killed]);
    docker(&["rm", "-f", &removed]);
    node.spawn();
    node.wait_ready().await;
    runtime = node.runtime().await;
    let status = container_status(&mut runtime, &killed).await;
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137));
    let status = container_status(&mut runtime, &removed).await;
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137));
    assert_eq!(status.reason, "ContainerGone");
    // The same for the sandbox, while Dockside watches.
    docker(&["rm", "-f", &sandbox]);
    eventually("the sandbox is not ready", async || {
        (pod_status(&mut runtime, &sandbox).await.state() == PodSandboxState::SandboxNotready).then_some(())
    })
    .await;
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

/// SIGKILL at random points of many pod starts: afterwards, removing what is listed leaves nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn sigkill_at_any_point_of_a_pod_start_leaves_nothing_behind() {
    const STARTS: u32 = 100;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    // A small random generator: the points differ in each run, which prints its seed.
    let mut seed = u64::from(std::process::id()) | 1;
    eprintln!("seed {seed}");
    let mut cut_short = 0;
    for number in 0..STARTS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let delay = Duration::from_micros((seed >> 33) % 350_000);
        let mut runtime = node.runtime().await;
        let work = tokio::spawn(async move {
            let config = pod(&format!("cut-{number}"));
            let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
            let sandbox = runtime.run_pod_sandbox(request).await.ok()?.into_inner().pod_sandbox_id;
            let id = try_create(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await.ok()?;
            runtime.start_container(StartContainerRequest { container_id: id }).await.ok()
        });
        tokio::time::sleep(delay).await;
        node.kill();
        cut_short += u32::from(work.await.unwrap().is_none());
        node.spawn();
        node.wait_ready().await;
    }
    assert!(cut_short > STARTS / 4, "only {cut_short} of {STARTS} starts were interrupted");
    let mut runtime = node.runtime().await;
    for sandbox in sandboxes(&mut runtime).await {
        remove_pod(&mut runtime, &sandbox.id).await;
    }
    assert!(containers(&mut runtime).await.is_empty());
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_return_of_docker_are_reported() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("outage");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    box_dockerd("kill");
    let condition = eventually("RuntimeReady is false", async || {
        let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner().status.unwrap();
        let ready = status.conditions.into_iter().find(|c| c.r#type == "RuntimeReady").unwrap();
        (!ready.status).then_some(ready)
    })
    .await;
    assert_eq!(condition.reason, "DockerNotAvailable");
    assert!(!condition.message.is_empty());
    let began = Instant::now();
    let refused = runtime
        .run_pod_sandbox(RunPodSandboxRequest { config: Some(pod("refused")), runtime_handler: String::new() })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(began.elapsed() < Duration::from_secs(1), "refused only after {:?}", began.elapsed());
    // Known objects are still reported.
    assert_eq!(sandboxes(&mut runtime).await.len(), 1);
    box_dockerd("start");
    node.wait_ready().await;
    // Without live-restore Docker stops its containers when it restarts.
    ended(&mut runtime, &id).await;
    assert_eq!(pod_status(&mut runtime, &sandbox).await.state(), PodSandboxState::SandboxNotready);
    remove_pod(&mut runtime, &sandbox).await;
    let again = run_pod(&mut runtime, &config).await;
    remove_pod(&mut runtime, &again).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_created_after_a_live_restore_join_the_pods_namespaces() {
    let _alone = ALONE.lock().await;
    box_dockerd_with("--live-restore", "restart");
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let dns = DnsConfig { servers: vec!["192.0.2.53".into()], ..DnsConfig::default() };
    let config = PodSandboxConfig { dns_config: Some(dns), hostname: "lasting".into(), ..pod("lasting") };
    let sandbox = run_pod(&mut runtime, &config).await;
    let first = run_container(&mut runtime, &sandbox, &config, &container("first", UNTIL_TERM)).await;
    box_dockerd_with("--live-restore", "restart");
    node.wait_ready().await;
    let second = run_container(&mut runtime, &sandbox, &config, &container("second", UNTIL_TERM)).await;
    let network = format!("container:{sandbox}");
    let by_hand = |file: &str| docker(&["run", "--rm", "--network", &network, BUSYBOX, "cat", file]);
    let ip = pod_status(&mut runtime, &sandbox).await.network.unwrap().ip;
    for (file, expected) in
        [("/etc/resolv.conf", "nameserver 192.0.2.53".to_owned()), ("/etc/hosts", format!("{ip}\tlasting"))]
    {
        let text = inside(&first, &format!("cat {file}"));
        assert!(text.lines().any(|line| line == expected), "{file}: {text}");
        assert_eq!(inside(&second, &format!("cat {file}")), text, "{file}");
        assert_eq!(by_hand(file), text, "{file}");
    }
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
    drop(node);
    box_dockerd("restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn dockside_waits_for_a_docker_that_is_not_running_at_the_start() {
    let _alone = ALONE.lock().await;
    box_dockerd("stop");
    let node = Node::start_unready(&[]);
    let condition = eventually("Status answers", async || {
        let mut runtime = node.try_runtime().await?;
        let status = runtime.status(StatusRequest::default()).await.ok()?.into_inner().status?;
        status.conditions.into_iter().find(|c| c.r#type == "RuntimeReady")
    })
    .await;
    assert!(!condition.status);
    // A kubelet's version handshake works meanwhile.
    let version = node.runtime().await.version(VersionRequest::default()).await.unwrap().into_inner();
    assert_eq!((version.runtime_name.as_str(), version.version.as_str()), ("docker", "0.1.0"));
    node.images().await.image_fs_info(ImageFsInfoRequest {}).await.unwrap();
    box_dockerd("start");
    node.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_docker_is_reported_and_calls_do_not_wait_for_it() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pid = std::fs::read_to_string("/run/box/dockerd.pid").unwrap();
    run("kill", &["-STOP", pid.trim()]);
    eventually("RuntimeReady is false", async || {
        let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner().status.unwrap();
        status.conditions.iter().any(|c| c.r#type == "RuntimeReady" && !c.status).then_some(())
    })
    .await;
    let request = RunPodSandboxRequest { config: Some(pod("hung")), runtime_handler: String::new() };
    let refused = runtime.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    run("kill", &["-CONT", pid.trim()]);
    node.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_a_complete_pod_or_none() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let config = pod("deserted");
    for delay in [1, 20, 60, 120] {
        let mut runtime = node.runtime().await;
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        let call = tokio::time::timeout(Duration::from_millis(delay), runtime.run_pod_sandbox(request)).await;
        drop(runtime);
        // Repeating the request returns the pod that the first one made.
        let mut runtime = node.runtime().await;
        let sandbox = run_pod(&mut runtime, &config).await;
        if let Ok(answer) = call {
            assert_eq!(answer.unwrap().into_inner().pod_sandbox_id, sandbox);
        }
        assert_eq!(sandboxes(&mut runtime).await.len(), 1);
        remove_pod(&mut runtime, &sandbox).await;
    }
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_and_exits_outside_of_dockside_are_seen() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("events");
    let sandbox = run_pod(&mut runtime, &config).await;
    // A process that exits before Docker has reported its start.
    for attempt in 0..20 {
        let mut quick = container("quick", "exit 3");
        quick.metadata.as_mut().unwrap().attempt = attempt;
        let id = run_container(&mut runtime, &sandbox, &config, &quick).await;
        assert_eq!(ended(&mut runtime, &id).await.exit_code, 3);
    }
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    docker(&["stop", &id]);
    let first = ended(&mut runtime, &id).await;
    docker(&["start", &id]);
    let again = eventually("the container runs again", async || {
        let status = container_status(&mut runtime, &id).await;
        (status.state() == ContainerState::ContainerRunning).then_some(status)
    })
    .await;
    assert!(again.started_at > first.finished_at);
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_completes_after_sigterm() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let config = pod("last");
    let mut runtime = node.runtime().await;
    let begun = config.clone();
    let call = tokio::spawn(async move { run_pod(&mut runtime, &begun).await });
    eventually("the pause container is being made", async || {
        docker(&["ps", "-a", "--format", "{{.Names}}"]).contains("k8s_POD_last").then_some(())
    })
    .await;
    assert!(node.terminate().await.success());
    let sandbox = call.await.expect("the client gets its answer");
    node.spawn();
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    assert_eq!(pod_status(&mut runtime, &sandbox).await.state(), PodSandboxState::SandboxReady);
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_may_start_while_verbs_of_the_old_one_complete() {
    const GRACE: Duration = Duration::from_secs(3);
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("handover");
    let sandbox = run_pod(&mut runtime, &config).await;
    let stubborn = container("stubborn", "trap '' TERM; while true; do sleep 0.1; done");
    let id = run_container(&mut runtime, &sandbox, &config, &stubborn).await;
    let request = StopContainerRequest { container_id: id.clone(), timeout: GRACE.as_secs() as i64 };
    let mut client = runtime.clone();
    let stopping = tokio::spawn(async move { client.stop_container(request).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let mut old = node.send_sigterm();
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.spawn();
    stopping.await.unwrap().expect("the call that was begun is answered");
    assert!(began.elapsed() > GRACE / 2, "the stop was over before the next process began");
    assert!(old.wait().unwrap().success());
    node.wait_ready().await;
    assert!(node.socket().exists());
    let mut runtime = node.runtime().await;
    assert_eq!(container_status(&mut runtime, &id).await.exit_code, 137);
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_of_a_damaged_record_is_removed_and_can_be_created_again() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("damaged");
    let sandbox = run_pod(&mut runtime, &config).await;
    run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    node.kill();
    for entry in std::fs::read_dir(node.dir.join("state/sandboxes")).unwrap() {
        std::fs::write(entry.unwrap().path(), "{\"version\": 1, \"key").unwrap();
    }
    node.spawn();
    node.wait_ready().await;
    runtime = node.runtime().await;
    let again = eventually("the same pod can be made again", async || {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        Some(runtime.run_pod_sandbox(request).await.ok()?.into_inner().pod_sandbox_id)
    })
    .await;
    assert_ne!(again, sandbox);
    remove_pod(&mut runtime, &again).await;
    for entry in std::fs::read_dir(node.dir.join("state/sandboxes")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.extension().unwrap(), "damaged");
        std::fs::remove_file(path).unwrap();
    }
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_docker_cannot_inspect_does_not_keep_the_node_down() {
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("torn");
    let sandbox = run_pod(&mut runtime, &config).await;
    let torn = run_container(&mut runtime, &sandbox, &config, &container("torn", "exit 3")).await;
    let whole = run_container(&mut runtime, &sandbox, &config, &container("whole", UNTIL_TERM)).await;
    ended(&mut runtime, &torn).await;
    // Like after a file system crash: Docker 20.10 cannot inspect a container whose layer is missing.
    let layer = docker(&["inspect", "-f", "{{with .GraphDriver.Data}}{{.UpperDir}}{{end}}", &torn]);
    let Some(layer) = layer.strip_suffix("/diff") else { return remove_pod(&mut runtime, &sandbox).await };
    node.kill();
    std::fs::rename(layer, format!("{layer}-aside")).unwrap();
    assert!(!Command::new("docker").args(["inspect", &torn]).output().unwrap().status.success());
    node.spawn();
    node.wait_ready().await;
    runtime = node.runtime().await;
    assert_eq!(container_status(&mut runtime, &whole).await.state(), ContainerState::ContainerRunning);
    assert_eq!(pod_status(&mut runtime, &sandbox).await.state(), PodSandboxState::SandboxReady);
    std::fs::rename(format!("{layer}-aside"), layer).unwrap();
    assert_eq!(ended(&mut runtime, &torn).await.exit_code, 3);
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_of_the_pause_image_is_not_trusted() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    docker(&["tag", BUSYBOX, "dockside.io/pause:1"]);
    let id = docker(&["image", "inspect", "-f", "{{.Id}}", BUSYBOX]);
    let mut images = node.images().await;
    eventually("the new meaning of the name is seen", async || {
        let image = Some(ImageSpec { image: "dockside.io/pause:1".to_owned(), ..Default::default() });
        let status = images.image_status(ImageStatusRequest { image, verbose: false }).await.unwrap().into_inner();
        (status.image?.id == id).then_some(())
    })
    .await;
    let sandbox = run_pod(&mut runtime, &pod("trusting")).await;
    assert_eq!(docker(&["inspect", "-f", "{{.Path}}", &sandbox]), "/pause");
    let image = Some(ImageSpec { image: "dockside.io/pause:2".to_owned(), ..Default::default() });
    let refused = images.pull_image(PullImageRequest { image, ..Default::default() }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writable_layer_is_measured_without_overlay() {
    let _alone = ALONE.lock().await;
    let archive = "/var/lib/dockside/busybox.tar";
    docker(&["save", "--output", archive, BUSYBOX]);
    box_dockerd_with("--storage-driver vfs", "restart");
    docker(&["load", "--quiet", "--input", archive]);
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("copied");
    let sandbox = run_pod(&mut runtime, &config).await;
    let script = format!("head -c 10485760 /dev/urandom >/file; {UNTIL_TERM}");
    let id = run_container(&mut runtime, &sandbox, &config, &container("writer", &script)).await;
    let layer = eventually("ten megabytes were found", async || {
        let request = ContainerStatsRequest { container_id: id.clone() };
        let stats = runtime.container_stats(request).await.unwrap().into_inner().stats.unwrap();
        let layer = stats.writable_layer.unwrap();
        layer.used_bytes.as_ref().is_some_and(|used| used.value >= 10 << 20).then_some(layer)
    })
    .await;
    assert!(layer.used_bytes.unwrap().value < 11 << 20, "{layer:?}");
    assert_eq!(layer.fs_id.unwrap().mountpoint, "/var/lib/docker");
    remove_pod(&mut runtime, &sandbox).await;
    nothing_left(&node).await;
    drop(node);
    // Docker refuses to choose a graph driver by itself when it finds layers of several.
    box_dockerd("stop");
    std::fs::remove_dir_all("/var/lib/docker/vfs").unwrap();
    box_dockerd("start");
}
