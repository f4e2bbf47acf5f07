//! Clients that read slowly or not at all: only their own process waits for them, and no output is lost.

use std::io::Read;
use std::process::Child;

use dockside::proto::*;

use crate::kube_client::TRANSPORTS;
use crate::kube_client::kube_stream;
use crate::*;

/// More than a pipe holds.
const MUCH: u64 = 1 << 20;

/// Waits until the process with this command line has written more than [`MUCH`] and is blocked.
async fn wait_blocked(test_pod: &TestPod, word: &str) {
    let mut seen = vec![0];
    eventually("the process is blocked on its output", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rows = test_pod.processes(word);
        let pid = rows.first()?.split_whitespace().next()?;
        let written = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        let written = written.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap();
        seen.push(written);
        (written > MUCH && seen.ends_with(&[written; 3])).then_some(())
    })
    .await;
}

/// Reads the rest of the client's output; returns its length, the client's exit code and its stderr.
async fn read_rest(child: Child) -> (usize, Option<i32>, String) {
    let output = within(Duration::from_secs(60), "the client gets the rest", async {
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
    })
    .await;
    (output.stdout.len(), output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_client_that_does_not_read_does_not_delay_the_containers_exit() {
    for transport in TRANSPORTS {
        let main = container("main", "until [ -e /tmp/go ]; do sleep 0.1; done; exit 7");
        let mut test_pod = TestPod::with(&format!("unread-exec-{transport}"), &main).await;
        let url = test_pod.exec(&["yes", "unread"], output_only()).await;
        let child = kube_stream("exec", &url, transport, &[]);
        wait_blocked(&test_pod, "yes unread").await;
        test_pod.exec_sync("touch /tmp/go", 10).await.unwrap();
        let status =
            within(Duration::from_secs(30), "the exit is reported", ended(&mut test_pod.runtime, &test_pod.container))
                .await;
        assert_eq!(status.exit_code, 7, "{transport}");
        let (length, code, stderr) = read_rest(child).await;
        assert!(length > 0 && code == Some(137), "{transport}: {length} bytes, {code:?}, {stderr}");
        test_pod.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_attached_client_does_not_read_can_be_stopped() {
    for transport in TRANSPORTS {
        // Long lines, so that the log is not the slower reader.
        let script = "until [ -e /tmp/go ]; do echo ready; sleep 0.1; done; exec yes unread$(printf %4000s | tr ' ' x)";
        let main = container("main", script);
        let mut test_pod = TestPod::with(&format!("unread-attach-{transport}"), &main).await;
        let url = test_pod.attach(AttachRequest { stdout: true, stderr: true, ..Default::default() }).await;
        let mut child = kube_stream("attach", &url, transport, &[]);
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        test_pod.exec_sync("touch /tmp/go", 10).await.unwrap();
        wait_blocked(&test_pod, "yes unread").await;
        let (mut runtime, id) = (test_pod.runtime.clone(), test_pod.container.clone());
        within(Duration::from_secs(30), "the stop", stop_container(&mut runtime, &id, 1)).await;
        assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerExited, "{transport}");
        let (length, code, stderr) = read_rest(child).await;
        assert!(length > 0 && code == Some(0), "{transport}: {length} bytes, {code:?}, {stderr}");
        test_pod.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_as_the_process_exits_gets_all_output() {
    const TOTAL: usize = 40 << 20;
    let mut test_pod = TestPod::new("slow").await;
    for transport in TRANSPORTS {
        let script = format!("head -c {TOTAL} /dev/zero; exit 3");
        let url = test_pod.exec(&["sh", "-c", &script], output_only()).await;
        let mut child = kube_stream("exec", &url, transport, &[]);
        let mut stdout = child.stdout.take().unwrap();
        let mut read = 0;
        let mut chunk = vec![0; 1 << 20];
        // In steps, so that the process exits while as much output as possible is in flight.
        while !test_pod.processes("head -c").is_empty() || read == 0 {
            stdout.read_exact(&mut chunk).unwrap();
            read += chunk.len();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Longer than any timeout of Docker or Dockside on this path.
        tokio::time::sleep(Duration::from_secs(12)).await;
        child.stdout = Some(stdout);
        let (rest, code, stderr) = read_rest(child).await;
        assert_eq!((read + rest, code), (TOTAL, Some(3)), "{transport}: {stderr}");
        assert!(rest > 4 << 20, "{transport}: only {rest} bytes were in flight");
    }
    test_pod.remove().await;
}
