//! ExecSync, which probes and lifecycle hooks use.

use std::time::Duration;
use std::time::Instant;

use dockside::proto::*;
use tonic::Code;

use crate::*;

#[tokio::test(flavor = "multi_thread")]
async fn output_and_exit_code_are_returned() {
    let mut test_pod = TestPod::new("sync-simple").await;
    let answer = test_pod.exec_sync("echo out; echo err >&2; exit 7", 10).await.unwrap();
    assert_eq!((answer.stdout, answer.stderr, answer.exit_code), (b"out\n".to_vec(), b"err\n".to_vec(), 7));
    for code in [0, 1, 126, 127, 128, 255] {
        assert_eq!(test_pod.exec_sync(&format!("exit {code}"), 10).await.unwrap().exit_code, code);
    }
    let killed = test_pod.exec_sync("kill -9 $$", 10).await.unwrap();
    assert_eq!(killed.exit_code, 137);
    assert_eq!(test_pod.exec_sync("printf no-newline", 0).await.unwrap().stdout, b"no-newline");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_the_containers_user_environment_and_directory() {
    let mut config = container("main", UNTIL_TERM);
    config.envs = vec![KeyValue { key: "COLOUR".to_owned(), value: b"blue".to_vec() }];
    config.working_dir = "/home".to_owned();
    let security = LinuxContainerSecurityContext {
        run_as_user: Some(Int64Value { value: 1234 }),
        supplemental_groups: vec![4321],
        ..Default::default()
    };
    config.linux = Some(LinuxContainerConfig { security_context: Some(security), ..Default::default() });
    let mut test_pod = TestPod::with("sync-as", &config).await;
    let answer = test_pod.exec_sync("echo $COLOUR; pwd; id -u; id -G", 10).await.unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "blue\n/home\n1234\n0 4321\n");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_run_is_refused_with_the_reason() {
    let mut test_pod = TestPod::new("sync-refused").await;
    let runtime = test_pod.runtime.clone();
    let ask = async |id: &str, cmd: &[&str]| {
        let cmd = cmd.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: 10 };
        let status = runtime.clone().exec_sync(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let (code, message) = ask(&test_pod.container, &["/no/such/program"]).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert!(message.contains("/no/such/program") && message.contains("no such file"), "{message}");
    assert_eq!(ask(&test_pod.container, &[]).await.0, Code::InvalidArgument);
    assert_eq!(ask("0123456789ab", &["true"]).await.0, Code::NotFound);
    let pod = pod("sync-refused");
    let created = create(&mut test_pod.runtime, &test_pod.sandbox, &pod, &container("created", "true")).await;
    assert_eq!(ask(&created, &["true"]).await.0, Code::FailedPrecondition);
    start(&mut test_pod.runtime, &created).await;
    ended(&mut test_pod.runtime, &created).await;
    let (code, message) = ask(&created, &["true"]).await;
    assert_eq!((code, message.contains("has exited")), (Code::FailedPrecondition, true), "{message}");
    test_pod.remove().await;
}

/// Children, orphaned grandchildren, and one in a session of its own.
const FAMILY: &str =
    "sleep 7001 & (sleep 7002 & sleep 7002) & setsid sleep 7003 & (sh -c 'sleep 7004 & exec true') ; wait";

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_times_out_is_killed_with_all_its_processes() {
    let mut test_pod = TestPod::new("sync-timeout").await;
    let began = Instant::now();
    let status = test_pod.exec_sync(FAMILY, 1).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(test_pod.processes("sleep 70"), Vec::<String>::new());
    assert_eq!(
        container_status(&mut test_pod.runtime, &test_pod.container).await.state(),
        ContainerState::ContainerRunning
    );
    // The container is not affected.
    assert_eq!(test_pod.exec_sync("echo fine", 5).await.unwrap().stdout, b"fine\n");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_client_disconnects_is_killed() {
    let mut test_pod = TestPod::new("sync-cancel").await;
    let call = tokio::time::timeout(Duration::from_secs(2), test_pod.exec_sync(FAMILY, 0));
    assert!(call.await.is_err());
    eventually("all its processes are gone", async || test_pod.processes("sleep 70").is_empty().then_some(())).await;
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_with_its_container_exits_with_137() {
    let mut test_pod = TestPod::new("sync-stopped").await;
    let mut other =
        TestPod { runtime: node().runtime().await, sandbox: String::new(), container: test_pod.container.clone() };
    let call = tokio::spawn(async move { other.exec_sync("echo begun; sleep 7100", 0).await });
    eventually("the command is running", async || (!test_pod.processes("sleep 7100").is_empty()).then_some(())).await;
    stop_container(&mut test_pod.runtime, &test_pod.container, 5).await;
    let answer = within(Duration::from_secs(10), "the response", call).await.unwrap();
    match answer {
        Ok(answer) => assert_eq!((answer.stdout, answer.exit_code), (b"begun\n".to_vec(), 137)),
        Err(status) => panic!("{status}"),
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_left_in_the_background_is_not_waited_for() {
    let mut test_pod = TestPod::new("sync-background").await;
    let began = Instant::now();
    let answer = test_pod.exec_sync("sleep 7200 & echo started", 0).await.unwrap();
    assert_eq!((answer.stdout, answer.exit_code), (b"started\n".to_vec(), 0));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // A background process is not killed.
    assert_eq!(test_pod.processes("sleep 7200").len(), 1);
    // Nor is one that keeps writing.
    for noise in ["while echo noise; do sleep 0.2; done", "yes noise"] {
        let began = Instant::now();
        let answer = test_pod.exec_sync(&format!("({noise}) & echo started"), 0).await.unwrap();
        assert_eq!(answer.exit_code, 0, "{noise}");
        assert!(began.elapsed() < Duration::from_secs(15), "{noise}: {:?}", began.elapsed());
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_over_the_limit_is_truncated_without_an_error() {
    let mut test_pod = TestPod::new("sync-flood").await;
    let answer = test_pod.exec_sync("head -c 50000000 /dev/zero; echo late >&2; exit 3", 0).await.unwrap();
    assert_eq!(answer.exit_code, 3);
    let kept = answer.stdout.len() + answer.stderr.len();
    assert!((15 << 20..16 << 20).contains(&kept), "{kept}");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_probes_leak_no_files_memory_or_processes() {
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("sync-thousand");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let probes = async |count: u32| {
        for _ in 0..count {
            let mut runtime = runtime.clone();
            let request = ExecSyncRequest { container_id: id.clone(), cmd: vec!["true".to_owned()], timeout: 5 };
            assert_eq!(runtime.exec_sync(request).await.unwrap().into_inner().exit_code, 0);
        }
    };
    probes(100).await;
    let (files, memory) = (node.open_files(), node.resident_kib());
    let before = node.docker_requests().await;
    probes(1000).await;
    let after = node.docker_requests().await;
    // Two requests each; where Docker's exit event is late, an inspect.
    let requests: u64 = after.values().sum::<u64>() - before.values().sum::<u64>();
    assert!(requests < 2200, "{requests} requests: {before:?} {after:?}");
    assert!(node.open_files() <= files + 2, "{files} open files before, {} after", node.open_files());
    assert!(node.resident_kib() < memory + 4096, "{memory} KiB before, {} after", node.resident_kib());
    let states = docker(&["top", &id, "-eo", "pid,stat,args"]);
    assert!(!states.contains("defunct"), "{states}");
    remove_pod(&mut runtime, &sandbox).await;
}
