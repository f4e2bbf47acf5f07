//! Rotation of the CRI log by the kubelet, and of Docker's log by Docker.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use dockside::proto::*;
use futures_util::StreamExt;
use futures_util::stream;
use tonic::Code;

use super::*;
use harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_logs_are_rotated_while_they_are_written() {
    const CONTAINERS: u32 = 100;
    const STARTED_AT_ONCE: usize = 4;
    const THOUSANDS: u32 = 10;
    const ROTATIONS: u32 = 5;
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("rotated");
    let sandbox = run_pod(&mut runtime, &pod).await;
    // The containers start to write together, so that all are rotated while all write.
    let begin = Path::new(&pod.log_directory).join("begin");
    let mount = Mount { host_path: pod.log_directory.clone(), container_path: "/pod".to_owned(), ..Default::default() };
    let script = format!(
        "until [ -e /pod/begin ]; do sleep 0.2; done; {}; sleep 1000",
        paced(THOUSANDS, Duration::from_millis(500))
    );
    let starts = (0..CONTAINERS).map(|number| {
        let config = ContainerConfig { mounts: vec![mount.clone()], ..container(&format!("c{number}"), &script) };
        let (mut runtime, sandbox, pod) = (runtime.clone(), sandbox.clone(), pod.clone());
        async move {
            let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
            (id, log_file(&pod, &config), Vec::new())
        }
    });
    let mut running: Vec<_> = stream::iter(starts).buffer_unordered(STARTED_AT_ONCE).collect().await;
    fs::write(begin, "").unwrap();
    for rotation in 1..=ROTATIONS {
        for (id, file, old) in &mut running {
            old.push(rotate(&mut runtime, id, file, rotation).await);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (id, file, old) in &running {
        let mut paths = old.clone();
        paths.push(file.clone());
        eventually("all lines are there", async || {
            let last = |path: &PathBuf| tail(&fs::read_to_string(path).unwrap(), 1);
            let mut newest = paths.iter().rev().map(last).find(|line| !line.is_empty())?;
            newest = parse(&newest).text.split(' ').next()?.to_owned();
            (newest == format!("{:07}", THOUSANDS * 1000)).then_some(())
        })
        .await;
        assert_all(&paths, THOUSANDS * 1000);
        // Another rotation while the container is being stopped.
        let mut stopping = runtime.clone();
        let stopped = id.clone();
        let stop = tokio::spawn(async move { stop_container(&mut stopping, &stopped, 1).await });
        fs::rename(file, file.with_extension("last")).unwrap();
        match reopen(&mut runtime, id).await {
            Ok(()) => assert!(file.exists()),
            Err(error) => {
                assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
                assert!(!file.exists());
            }
        }
        stop.abort();
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_by_docker_loses_no_line() {
    const LINES: u32 = 400_000;
    let _alone = ALONE.lock().await;
    let node = Node::start(&["--container-log-max-size", "4m"]).await;
    let mut runtime = node.runtime().await;
    let (pod, config) = (pod("docker-rotates"), container("writer", &numbered(LINES)));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ends(&mut runtime, &id).await;
    assert_all(&[log_file(&pod, &config)], LINES);
    let docker_file = format!("/var/lib/docker/containers/{id}/{id}-json.log");
    assert!(Path::new(&format!("{docker_file}.2")).exists(), "Docker rotated");
    assert!(!Path::new(&format!("{docker_file}.3")).exists(), "Docker keeps three files");
    remove_pod(&mut runtime, &sandbox).await;
}
