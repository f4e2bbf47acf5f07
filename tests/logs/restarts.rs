//! Logs when Dockside is killed and Docker restarts: each line once and in order, or a reported gap.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dockside::proto::*;

use super::*;
use harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_while_a_container_writes_at_full_speed_loses_and_repeats_no_line() {
    const LINES: u32 = 1_000_000;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&["--container-log-max-size", "1g"]).await;
    let mut runtime = node.runtime().await;
    let (pod, config) = (pod("killed"), container("writer", &format!("{}; sleep 1000", numbered(LINES))));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    let whole = u64::from(LINES) * 132;
    let mut kills = 0;
    for down in [10, 200, 700, 10_000, 50, 50, 50] {
        grows_to(&file, (size(&file) + 300_000).min(whole)).await;
        node.kill();
        kills += u32::from(size(&file) < whole);
        tokio::time::sleep(Duration::from_millis(down)).await;
        node.spawn();
        eventually("dockside serves again", async || node.try_runtime().await.map(|_| ())).await;
    }
    assert!(kills >= 3, "only {kills} kills hit a log that was being written");
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    eventually("the last line is there", async || {
        (size(&file) >= whole && tail(&fs::read_to_string(&file).unwrap(), 1).contains(&format!(" F {LINES:07} ")))
            .then_some(())
    })
    .await;
    stop_container(&mut runtime, &id, 0).await;
    assert_all(&[file], LINES);
    assert!(!node.log().contains("has a gap"));
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_while_docker_and_the_kubelet_rotate_loses_and_repeats_no_line() {
    const THOUSANDS: u32 = 250;
    let _alone = ALONE.lock().await;
    // Docker keeps everything that is written here: on a busy machine the writer is far ahead of a restarted Dockside.
    let mut node = Node::start(&["--container-log-max-size", "2m", "--container-log-max-files", "32"]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; sleep 1000", paced(THOUSANDS, Duration::from_millis(10)));
    let (pod, config) = (pod("all-at-once"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    let mut paths = Vec::new();
    for round in 1..=4 {
        grows_to(&file, 500_000).await;
        // The kubelet renames the file, and Dockside is killed before the log is reopened.
        let old = PathBuf::from(format!("{}.{round}", file.display()));
        if round % 2 == 0 {
            fs::rename(&file, &old).unwrap();
            node.kill();
        } else {
            node.kill();
            fs::rename(&file, &old).unwrap();
        }
        paths.push(old);
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.spawn();
        eventually("the new file appears", async || file.exists().then_some(())).await;
    }
    paths.push(file.clone());
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    eventually("the last line is there", async || {
        let last = tail(&fs::read_to_string(&file).unwrap(), 1);
        last.contains(&format!(" F {:07} ", THOUSANDS * 1000)).then_some(())
    })
    .await;
    assert_all(&paths, THOUSANDS * 1000);
    assert!(!node.log().contains("has a gap"), "{}", node.log());
    assert!(Path::new(&format!("/var/lib/docker/containers/{id}/{id}-json.log.1")).exists(), "Docker rotated");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_docker_dropped_while_dockside_was_down_are_reported_as_a_gap() {
    const THOUSANDS: u32 = 40;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&["--container-log-max-size", "1m", "--container-log-max-files", "2"]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; touch /tmp/done; sleep 1000", paced(THOUSANDS, Duration::from_millis(10)));
    let (pod, config) = (pod("gap"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    grows_to(&file, 100_000).await;
    node.kill();
    let written = numbers(&read(&[&file]).rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap()).len();
    eventually("the container has written all", async || {
        let probe = Command::new("docker").args(["exec", &id, "test", "-e", "/tmp/done"]).status().unwrap();
        probe.success().then_some(())
    })
    .await;
    node.spawn();
    node.wait_ready().await;
    let last = format!(" F {:07} ", THOUSANDS * 1000);
    eventually("the rest is there", async || {
        tail(&fs::read_to_string(&file).unwrap(), 1).contains(&last).then_some(())
    })
    .await;
    let numbers = numbers(&read(&[&file]));
    let jumps: Vec<usize> = (1..numbers.len()).filter(|at| numbers[*at] != numbers[at - 1] + 1).collect();
    assert_eq!(jumps.len(), 1, "one gap and nothing out of order: {jumps:?}");
    assert!(jumps[0] >= written, "what was written stays");
    let text = read(&[file]);
    let time = |at: usize| text.lines().nth(at).unwrap().split(' ').next().unwrap().to_owned();
    let (from, until) = (time(jumps[0] - 1), time(jumps[0]));
    let log = node.log();
    let warning = log.lines().find(|line| line.contains("has a gap")).expect("the gap is named");
    for part in [&id, &from, &until] {
        assert!(warning.contains(part.as_str()), "{part} is not in: {warning}");
    }
    let mut runtime = node.runtime().await;
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_docker_loses_no_line_that_docker_kept() {
    let _alone = ALONE.lock().await;
    box_dockerd_with("--live-restore", "restart");
    let node = Node::start(&["--container-log-max-size", "2m", "--container-log-max-files", "20"]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; sleep 1000", paced(150, Duration::from_millis(10)));
    let (pod, config) = (pod("live-restore"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    grows_to(&file, 1_000_000).await;
    box_dockerd_with("--live-restore", "restart");
    node.wait_ready().await;
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);
    eventually("the last line is there", async || {
        tail(&fs::read_to_string(&file).unwrap(), 1).contains(" F 0150000 ").then_some(())
    })
    .await;
    // Docker itself may lose lines when it restarts; the CRI log must have all that Docker has.
    let text = read(&[file]);
    let ours: Vec<&str> = text.lines().map(|line| parse(line).text).collect();
    let dockers = docker(&["logs", &id]);
    assert!(
        ours == dockers.lines().collect::<Vec<_>>(),
        "{} lines, Docker has {}",
        ours.len(),
        dockers.lines().count()
    );
    remove_pod(&mut runtime, &sandbox).await;
    drop(node);
    box_dockerd_with("", "restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_options_of_the_daemon_lose_no_line_and_leave_the_init_process_unwrapped() {
    let _alone = ALONE.lock().await;
    box_dockerd_with("--init --log-opt mode=non-blocking", "restart");
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("settings");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &container("main", "sleep 1000")).await;
    let mode = |id: &str| docker(&["inspect", "-f", "{{index .HostConfig.LogConfig.Config \"mode\"}}", id]);
    assert_eq!(mode(&id), "blocking");
    for (id, name) in [(&sandbox, "pause"), (&id, "sleep")] {
        let pid = docker(&["inspect", "-f", "{{.State.Pid}}", id]);
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim(), name);
    }
    remove_pod(&mut runtime, &sandbox).await;
    // Docker refuses blocking mode if the daemon's options have a buffer size; containers can be created anyway.
    box_dockerd_with("--log-opt mode=non-blocking --log-opt max-buffer-size=4m", "restart");
    node.wait_ready().await;
    let sandbox = run_pod(&mut runtime, &pod).await;
    let config = container("main", "echo said");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    assert_eq!(mode(&id), "non-blocking");
    assert_eq!(parse(read(&[log_file(&pod, &config)]).trim_end()).text, "said");
    assert!(node.log().contains("max-buffer-size"));
    remove_pod(&mut runtime, &sandbox).await;
    drop(node);
    box_dockerd_with("", "restart");
}
