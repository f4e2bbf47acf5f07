//! Exec and attach by client-go, over SPDY and over WebSocket.

use std::io::Read;
use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use dockside::proto::*;

use crate::*;

pub(crate) const TRANSPORTS: [&str; 2] = ["spdy", "websocket"];

/// Starts hack/tools/kube-stream, which does what kubectl does with a session's URL.
pub(crate) fn kube_stream(verb: &str, url: &str, transport: &str, flags: &[&str]) -> Child {
    Command::new("kube-stream")
        .args([verb, "--url", url, "--transport", transport])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kube-stream is on PATH in hack/test")
}

/// Writes `input`, closes stdin and waits for the exit.
fn finish(mut child: Child, input: &[u8]) -> Output {
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // The client may exit before it has read everything.
    let _ = writing.join().unwrap();
    output
}

fn texts(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_arrives() {
    let mut test_pod = TestPod::new("codes").await;
    for transport in TRANSPORTS {
        let mut running = Vec::new();
        for code in 0..=255 {
            let url = test_pod.exec(&["sh", "-c", &format!("exit {code}")], output_only()).await;
            running.push((code, kube_stream("exec", &url, transport, &[])));
            if running.len() == 16 {
                for (code, child) in running.drain(..) {
                    assert_eq!(texts(&finish(child, b"")), (String::new(), String::new(), code), "{transport}");
                }
            }
        }
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_kept_apart_and_complete() {
    let mut test_pod = TestPod::new("outputs").await;
    for transport in TRANSPORTS {
        let script =
            "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf end; exit 4";
        let url = test_pod.exec(&["sh", "-c", script], output_only()).await;
        let (stdout, stderr, code) = texts(&finish(kube_stream("exec", &url, transport, &[]), b""));
        let lines = |word: &str| (0..2000).map(|i| format!("{word} {i}\n")).collect::<String>();
        assert_eq!(code, 4, "{transport}: {stderr}");
        assert!(stdout == lines("out") + "end", "{transport}: {} bytes", stdout.len());
        assert!(stderr == lines("err"), "{transport}: {} bytes", stderr.len());
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_come_back_unchanged() {
    let mut test_pod = TestPod::new("volume").await;
    let sent: Vec<u8> = (0..100_000_000_u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    for transport in TRANSPORTS {
        let url = test_pod.exec(&["cat"], ExecRequest { stdin: true, stdout: true, ..Default::default() }).await;
        let output = finish(kube_stream("exec", &url, transport, &["--stdin", "--no-stderr"]), &sent);
        assert_eq!(output.status.code(), Some(0), "{transport}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == sent, "{transport}: {} of {} bytes are back", output.stdout.len(), sent.len());
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_gets_all_output_and_the_exit_code() {
    const PAUSE: Duration = Duration::from_secs(12);
    let mut test_pod = TestPod::new("pauses").await;
    let mut children = Vec::new();
    for transport in TRANSPORTS {
        let url = test_pod.exec(&["sh", "-c", "head -c 3000000 /dev/zero; exit 3"], output_only()).await;
        children.push((transport, kube_stream("exec", &url, transport, &[])));
    }
    // Longer than any timeout of Docker or Dockside on this path.
    tokio::time::sleep(PAUSE).await;
    for (transport, child) in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.stdout.len(), output.status.code()), (3_000_000, Some(3)), "{transport}: {stderr}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_clients_size_from_the_start_and_follows_it() {
    let mut test_pod = TestPod::new("sizes").await;
    for transport in TRANSPORTS {
        // The first size may arrive before the process has started.
        let script = "until stty size 2>/dev/null | grep -v '^0 0'; do :; done; \
                      until stty size 2>/dev/null | grep '^50 132'; do :; done";
        let url = test_pod.exec(&["sh", "-c", script], terminal()).await;
        let flags = ["--stdin", "--tty", "--resize", "80x24,132x50", "--resize-interval", "1500ms"];
        let child = kube_stream("exec", &url, transport, &flags);
        let (stdout, stderr, code) = texts(&child.wait_with_output().unwrap());
        assert_eq!((stdout.as_str(), code), ("24 80\r\n50 132\r\n", 0), "{transport}: {stderr}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_every_key() {
    let mut test_pod = TestPod::new("keys").await;
    for transport in TRANSPORTS {
        // Docker's own client detaches on Ctrl-P Ctrl-Q; here the process must get both.
        let script = "stty raw -echo; echo ready; head -c 4 | od -An -tx1";
        let url = test_pod.exec(&["sh", "-c", script], terminal()).await;
        let mut child = kube_stream("exec", &url, transport, &["--stdin", "--tty"]);
        let mut stdout = child.stdout.take().unwrap();
        let mut text = String::new();
        let mut byte = [0];
        while !text.contains("ready") {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{transport}: {text}");
            text.push(byte[0].into());
        }
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"\x10\x11\x03\x10").unwrap();
        stdout.read_to_string(&mut text).unwrap();
        assert!(text.contains("10 11 03 10"), "{transport}: {text:?}");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_run_reports_the_reason() {
    let mut test_pod = TestPod::new("cannot").await;
    for transport in TRANSPORTS {
        let url = test_pod.exec(&["/no/such/program"], output_only()).await;
        let (stdout, stderr, code) = texts(&finish(kube_stream("exec", &url, transport, &[]), b""));
        assert!(code == 126 || code == 127, "{transport}: {code} {stderr}");
        assert!(stdout.contains("no such file"), "{transport}: {stdout}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_run_at_once() {
    let mut test_pod = TestPod::new("fifty").await;
    let mut children = Vec::new();
    for number in 0..50 {
        let transport = TRANSPORTS[number % 2];
        let url = test_pod.exec(&["sh", "-c", "read line; echo got $line; exit 9"], all_streams()).await;
        children.push((number, kube_stream("exec", &url, transport, &["--stdin"])));
    }
    eventually("all commands are running", async || (sh_readers(&test_pod) == 50).then_some(())).await;
    for (number, child) in children {
        let answer = texts(&finish(child, format!("{number}\n").as_bytes()));
        assert_eq!(answer, (format!("got {number}\n"), String::new(), 9));
    }
    test_pod.remove().await;
}

fn sh_readers(test_pod: &TestPod) -> usize {
    docker(&["top", &test_pod.container, "-eo", "pid,args"]).lines().filter(|line| line.contains("read line")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_leaves_no_waiting_process() {
    let mut test_pod = TestPod::new("vanish").await;
    for transport in TRANSPORTS {
        for (request, flags) in [(all_streams(), &["--stdin"][..]), (terminal(), &["--stdin", "--tty"][..])] {
            let url = test_pod.exec(&["sh", "-c", "read line; exit 1"], request).await;
            let mut child = kube_stream("exec", &url, transport, flags);
            eventually("the command is running", async || (sh_readers(&test_pod) == 1).then_some(())).await;
            child.kill().unwrap();
            child.wait().unwrap();
            eventually("the command has exited", async || (sh_readers(&test_pod) == 0).then_some(())).await;
        }
    }
    test_pod.remove().await;
}

/// A container that replies to each line of its stdin.
fn answering(stdin_once: bool, tty: bool) -> ContainerConfig {
    let script = "while read line; do echo you said $line; [ \"$line\" = end ] && exit 5; done; echo input ended; sleep 1; exit 6";
    ContainerConfig { stdin: true, stdin_once, tty, ..container("main", script) }
}

fn talk(url: &str, transport: &str, flags: &[&str], line: &str, answer: &str) -> Child {
    let mut child = kube_stream("attach", url, transport, flags);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line.as_bytes()).unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains(answer) {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{transport}: {text:?} without {answer:?}");
        text.push(byte[0].into());
    }
    child.stdin = Some(stdin);
    child
}

/// Closes a client's stdin and waits for its exit.
async fn close_stdin(mut child: Child) -> Output {
    drop(child.stdin.take());
    within(Duration::from_secs(30), "the client is detached", async {
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_client_may_disconnect_and_attach_again() {
    for (number, tty) in [false, true].into_iter().enumerate() {
        let mut test_pod = TestPod::with(&format!("attach-{number}"), &answering(false, tty)).await;
        let flags: &[&str] = if tty { &["--stdin", "--tty"] } else { &["--stdin"] };
        let request = AttachRequest { stdin: true, stdout: true, stderr: !tty, tty, ..Default::default() };
        for transport in TRANSPORTS {
            let url = test_pod.attach(request.clone()).await;
            let mut child = talk(&url, transport, flags, "hello\n", "you said hello");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let status = container_status(&mut test_pod.runtime, &test_pod.container).await;
        assert_eq!(status.state(), ContainerState::ContainerRunning);
        // The container's exit ends the session.
        let url = test_pod.attach(request.clone()).await;
        let child = talk(&url, "spdy", flags, "end\n", "you said end");
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
        assert_eq!(ended(&mut test_pod.runtime, &test_pod.container).await.exit_code, 5);
        let again = AttachRequest { container_id: test_pod.container.clone(), ..request };
        let refused = test_pod.runtime.attach(again).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("has exited"), "{refused}");
        test_pod.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_client_that_disconnects_closes_stdin_with_stdin_once() {
    let mut test_pod = TestPod::with("attach-once", &answering(true, false)).await;
    let request = AttachRequest { stdin: true, stdout: true, stderr: true, ..Default::default() };
    let url = test_pod.attach(request).await;
    let output = close_stdin(talk(&url, "spdy", &["--stdin"], "hello\n", "you said hello")).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("input ended"), "{output:?}");
    assert_eq!(ended(&mut test_pod.runtime, &test_pod.container).await.exit_code, 6);
    test_pod.remove().await;
}

/// `kubectl run --leave-stdin-open` depends on it.
#[tokio::test(flavor = "multi_thread")]
async fn without_stdin_once_the_end_of_a_clients_stdin_detaches_it() {
    let mut test_pod = TestPod::with("attach-open", &answering(false, false)).await;
    let request = AttachRequest { stdin: true, stdout: true, stderr: true, ..Default::default() };
    for transport in TRANSPORTS {
        let url = test_pod.attach(request.clone()).await;
        let output = close_stdin(talk(&url, transport, &["--stdin"], "hello\n", "you said hello")).await;
        assert_eq!((output.status.code(), output.stdout), (Some(0), b"\n".to_vec()), "{transport}");
    }
    let status = container_status(&mut test_pod.runtime, &test_pod.container).await;
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    test_pod.remove().await;
}

/// Docker keeps a client that attaches just as the container exits for the container's next start. The window is a few
/// milliseconds, so the test tries several times.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_attaches_as_the_container_exits_is_detached() {
    let once = ContainerConfig { stdin: true, stdin_once: true, ..container("main", "exec sleep 0.5") };
    let mut clients = Vec::new();
    for number in 0..10 {
        let mut test_pod = TestPod::with(&format!("late-{number}"), &once).await;
        let began = container_status(&mut test_pod.runtime, &test_pod.container).await.started_at;
        let ends = UNIX_EPOCH + Duration::from_nanos(began.try_into().unwrap()) + Duration::from_millis(500);
        let container_id = test_pod.container.clone();
        let request = AttachRequest { container_id, stdin: true, stdout: true, stderr: true, ..Default::default() };
        // On a busy machine the container may have exited already.
        if let Ok(answer) = test_pod.runtime.attach(request).await {
            let before = Duration::from_millis(5 * number);
            let wait = ends.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(before);
            tokio::time::sleep(wait).await;
            clients.push(kube_stream("attach", &answer.into_inner().url, "spdy", &["--stdin"]));
        }
        ended(&mut test_pod.runtime, &test_pod.container).await;
        test_pod.remove().await;
    }
    for client in clients {
        close_stdin(client).await;
    }
}
