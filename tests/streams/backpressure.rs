//! Clients that read slowly, or not at all: they hold up nothing but their own process, and lose nothing.

use std::io::Read;
use std::process::Child;

use dockside::proto::*;

use crate::kube_client::TRANSPORTS;
use crate::kube_client::kube_stream;
use crate::*;

/// More than a pipe holds.
const MUCH: u64 = 1 << 20;

/// Waits until the process with this command line has written much, and then writes no more.
async fn blocked(place: &Place, word: &str) {
    let mut seen = vec![0];
    eventually("nobody takes more of what is written", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rows = place.processes(word);
        let pid = rows.first()?.split_whitespace().next()?;
        let written = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        let written = written.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap();
        seen.push(written);
        (written > MUCH && seen.ends_with(&[written; 3])).then_some(())
    })
    .await;
}

/// Reads all that is left, and returns how much that was and the client's code.
async fn read_out(child: Child) -> (usize, Option<i32>, String) {
    let output = within(Duration::from_secs(60), "the client gets the rest", async {
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
    })
    .await;
    (output.stdout.len(), output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_client_does_not_read_does_not_hide_the_containers_end() {
    for transport in TRANSPORTS {
        let main = container("main", "until [ -e /tmp/go ]; do sleep 0.1; done; exit 7");
        let mut place = Place::with(&format!("unread-exec-{transport}"), &main).await;
        let url = place.exec(&["yes", "unread"], output_only()).await;
        let child = kube_stream("exec", &url, transport, &[]);
        blocked(&place, "yes unread").await;
        place.exec_sync("touch /tmp/go", 10).await.unwrap();
        let status =
            within(Duration::from_secs(30), "the end is told", ended(&mut place.runtime, &place.container)).await;
        assert_eq!(status.exit_code, 7, "{transport}");
        let (length, code, words) = read_out(child).await;
        assert!(length > 0 && code == Some(137), "{transport}: {length} bytes, {code:?}, {words}");
        place.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_attached_client_does_not_read_can_be_stopped() {
    for transport in TRANSPORTS {
        // Long lines, so that the log is not the slower reader.
        let script = "until [ -e /tmp/go ]; do echo ready; sleep 0.1; done; exec yes unread$(printf %4000s | tr ' ' x)";
        let main = container("main", script);
        let mut place = Place::with(&format!("unread-attach-{transport}"), &main).await;
        let url = place.attach(AttachRequest { stdout: true, stderr: true, ..Default::default() }).await;
        let mut child = kube_stream("attach", &url, transport, &[]);
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        place.exec_sync("touch /tmp/go", 10).await.unwrap();
        blocked(&place, "yes unread").await;
        let (mut runtime, id) = (place.runtime.clone(), place.container.clone());
        within(Duration::from_secs(30), "the stop", stop_container(&mut runtime, &id, 1)).await;
        assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerExited, "{transport}");
        let (length, code, words) = read_out(child).await;
        assert!(length > 0 && code == Some(0), "{transport}: {length} bytes, {code:?}, {words}");
        place.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_as_the_command_ends_gets_all_of_a_long_output() {
    const TOTAL: usize = 40 << 20;
    let mut place = Place::new("slow").await;
    for transport in TRANSPORTS {
        let script = format!("head -c {TOTAL} /dev/zero; exit 3");
        let url = place.exec(&["sh", "-c", &script], output_only()).await;
        let mut child = kube_stream("exec", &url, transport, &[]);
        let mut stdout = child.stdout.take().unwrap();
        let mut read = 0;
        let mut piece = vec![0; 1 << 20];
        // In steps, so that the command ends while as much as can be is under way.
        while !place.processes("head -c").is_empty() || read == 0 {
            stdout.read_exact(&mut piece).unwrap();
            read += piece.len();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Longer than Docker and this server wait for anything by themselves.
        tokio::time::sleep(Duration::from_secs(12)).await;
        child.stdout = Some(stdout);
        let (rest, code, words) = read_out(child).await;
        assert_eq!((read + rest, code), (TOTAL, Some(3)), "{transport}: {words}");
        assert!(rest > 4 << 20, "{transport}: only {rest} bytes were under way");
    }
    place.remove().await;
}
