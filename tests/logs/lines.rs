//! What a container writes is in its log file: in the CRI's format, in time, and after a full disk once there is space.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use dockside::proto::*;

use super::*;
use harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_reported_when_every_line_is_in_the_file() {
    const LINES: u32 = 500_000;
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let (pod, config) = (pod("plain"), container("writer", &numbered(LINES)));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = create(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    assert!(!file.exists());
    let before = node.docker_requests().await;
    start(&mut runtime, &id).await;
    let metadata = fs::metadata(&file).expect("the file is there when StartContainer returns");
    assert_eq!(metadata.mode() & 0o777, 0o640);
    let after = node.docker_requests().await;
    let more: u64 = after.values().sum::<u64>() - before.values().sum::<u64>();
    assert_eq!(more, 1, "StartContainer costs one request: {before:?} {after:?}");
    ends(&mut runtime, &id).await;
    assert_all(&[&file], LINES);
    assert_eq!(container_status(&mut runtime, &id).await.log_path, file.display().to_string());
    // Docker's own log exists and is bounded.
    assert!(docker(&["logs", "--tail", "1", &id]).starts_with(&format!("{LINES:07} ")));
    remove_pod(&mut runtime, &sandbox).await;
    assert!(file.exists(), "the file is the client's to remove");
    assert_eq!(fs::read_dir(node.dir.join("state/logs")).unwrap().count(), 0);
    assert_eq!(logs_info(&mut runtime).await["followed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_short_containers_have_their_output_in_the_file_when_they_have_exited() {
    const AT_ONCE: usize = 5;
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("short");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let tasks = (0..AT_ONCE).map(|task| {
        let (mut runtime, sandbox, pod) = (runtime.clone(), sandbox.clone(), pod.clone());
        async move {
            for number in 0..100 / AT_ONCE {
                let config = container(&format!("c{task}-{number}"), "echo first; echo last words >&2; exit 3");
                let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
                let status = ended(&mut runtime, &id).await;
                // Read at once: a kubelet may take the termination message from it.
                let text = read(&[log_file(&pod, &config)]);
                let mut lines: Vec<_> = text.lines().map(parse).collect();
                lines.sort_by_key(|line| line.stream);
                let line = |stream, text| Line { stream, tag: "F", text };
                assert_eq!(lines, [line("stderr", "last words"), line("stdout", "first")], "{number}");
                assert_eq!(status.exit_code, 3);
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_line_is_written_in_the_cri_format() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("kinds");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let long = "x".repeat(16384);
    let cases = [
        ("no-newline", "printf 'one\\ntwo'", false, vec![("F", "one".to_owned()), ("P", "two".to_owned())]),
        ("empty-lines", "printf '\\n\\n'", false, vec![("F", String::new()), ("F", String::new())]),
        ("binary", "printf 'a\\377\\001\\033[0mb\\n'", false, vec![("F", "a\u{fffd}\u{1}\u{1b}[0mb".to_owned())]),
        ("terminal", "echo out; echo err >&2", true, vec![("F", "out\r".to_owned()), ("F", "err\r".to_owned())]),
        (
            "long",
            "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short",
            false,
            vec![("P", long.clone()), ("P", long.clone()), ("F", "x".repeat(40000 - 2 * 16384)), ("F", "short".into())],
        ),
        ("silent", "true", false, vec![]),
    ];
    for (name, script, tty, expected) in cases {
        let config = ContainerConfig { tty, ..container(name, script) };
        let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
        ended(&mut runtime, &id).await;
        let text = read(&[log_file(&pod, &config)]);
        let lines: Vec<_> = text.split_terminator('\n').map(parse).collect();
        assert!(lines.iter().all(|line| line.stream == "stdout"));
        let lines: Vec<_> = lines.iter().map(|line| (line.tag, line.text.to_owned())).collect();
        assert_eq!(lines, expected, "{name}");
    }
    // Without a log path there is no file, and `docker logs` works.
    let config = ContainerConfig { log_path: String::new(), ..container("unlogged", "echo hello; sleep 100") };
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    eventually("docker logs has it", async || (docker(&["logs", &id]) == "hello").then_some(())).await;
    assert_eq!(container_status(&mut runtime, &id).await.log_path, "");
    reopen(&mut runtime, &id).await.unwrap();
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stalls_the_log_but_not_the_container_and_loses_no_line() {
    const THOUSANDS: u32 = 60;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; touch /tmp/done; sleep 1000", paced(THOUSANDS, Duration::from_millis(5)));
    let (pod, config) = (pod("full"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    fs::create_dir_all(&pod.log_directory).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &pod.log_directory]);
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    let trouble = eventually("Status reports the full disk", async || {
        let troubles = logs_info(&mut runtime).await["troubles"].clone();
        troubles.get(0).cloned()
    })
    .await;
    assert_eq!(trouble["container"], id.as_str());
    assert!(trouble["reason"].as_str().unwrap().contains("No space left on device"), "{trouble}");
    let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner().status.unwrap();
    let ready = status.conditions.iter().find(|c| c.r#type == "RuntimeReady").unwrap();
    assert!(ready.status && ready.message.contains("No space left"), "{ready:?}");
    assert!(fs::read(&file).unwrap().ends_with(b"\n"), "no torn line is left");
    // The container writes its last line, and a restart of Dockside changes nothing.
    eventually("the container has written all", async || {
        let probe = Command::new("docker").args(["exec", &id, "test", "-e", "/tmp/done"]).status().unwrap();
        probe.success().then_some(())
    })
    .await;
    node.kill();
    node.spawn();
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    run("mount", &["-o", "remount,size=64m", &pod.log_directory]);
    eventually("the log continues", async || {
        let last = tail(&fs::read_to_string(&file).unwrap(), 1);
        last.contains(&format!(" F {:07} ", THOUSANDS * 1000)).then_some(())
    })
    .await;
    assert_all(&[&file], THOUSANDS * 1000);
    assert_eq!(logs_info(&mut runtime).await["troubles"], serde_json::json!([]));
    remove_pod(&mut runtime, &sandbox).await;
    run("umount", &["-l", &pod.log_directory]);
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_and_removal_by_hand_keep_the_log_complete() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("by-hand");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let config = container("again", "echo hello");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    docker(&["start", &id]);
    eventually("the second run is logged too", async || {
        (read(&[log_file(&pod, &config)]).lines().count() == 2).then_some(())
    })
    .await;
    // Removed directly in Docker, just after it wrote a line.
    let config = container("removed", "echo first; trap 'echo last; exit' TERM; while true; do sleep 0.1; done");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    grows_to(&log_file(&pod, &config), 1).await;
    docker(&["stop", &id]);
    docker(&["rm", "-f", &id]);
    ended(&mut runtime, &id).await;
    let text = read(&[log_file(&pod, &config)]);
    assert_eq!(text.lines().map(|line| parse(line).text).collect::<Vec<_>>(), ["first", "last"]);
    remove_pod(&mut runtime, &sandbox).await;
    eventually("no log is being followed", async || (logs_info(&mut runtime).await["followed"] == 0).then_some(()))
        .await;
}
