//! The streaming server's settings, and its shutdown.

use std::process::Command;
use std::time::Instant;

use futures_util::SinkExt;
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use crate::kube_client::kube_stream;
use crate::protocols::web_socket;
use crate::*;

async fn test_pod_on(node: &Node, name: &str) -> TestPod {
    let mut runtime = node.runtime().await;
    let config = pod(name);
    let sandbox = run_pod(&mut runtime, &config).await;
    let container = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    TestPod { runtime, sandbox, container }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_use_tls_where_it_is_configured() {
    let dir = Node::prepare(&[]).dir.clone();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let node = Node::start(&["--streaming-tls-cert-file", &cert, "--streaming-tls-key-file", &key]).await;
    let mut test_pod = test_pod_on(&node, "tls").await;
    for transport in ["spdy", "websocket"] {
        let url = test_pod.exec(&["sh", "-c", "cat; exit 3"], all_streams()).await;
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        let mut child = kube_stream("exec", &url, transport, &["--insecure-skip-tls-verify", "--stdin"]);
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"secret").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"secret"[..], Some(3)), "{transport}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_key_is_refused_at_start() {
    let mut node = Node::prepare(&["--streaming-tls-cert-file", "/nonexistent.pem"]);
    node.spawn();
    eventually("the log names the missing flag", async || node.log().contains("streaming-tls-key-file").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_closed() {
    let node = Node::start(&["--streaming-idle-timeout", "2s"]).await;
    let mut test_pod = test_pod_on(&node, "idle").await;
    for transport in ["spdy", "websocket"] {
        let url = test_pod.exec(&["cat"], all_streams()).await;
        let mut child = kube_stream("exec", &url, transport, &["--stdin"]);
        let _open = child.stdin.take();
        let began = Instant::now();
        let output = within(Duration::from_secs(30), "the client exits", async {
            tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
        })
        .await;
        assert!(began.elapsed() >= Duration::from_secs(2), "{transport}");
        // The client must not report success.
        assert_eq!(output.status.code(), Some(255), "{transport}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("nothing was sent for 2s"), "{transport}: {output:?}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_keep_a_session_open() {
    let node = Node::start(&["--streaming-idle-timeout", "8s"]).await;
    let mut test_pod = test_pod_on(&node, "pings").await;
    let url = test_pod.exec(&["cat"], all_streams()).await;
    let mut socket = web_socket(&url, "v4.channel.k8s.io").await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        socket.send(Message::Ping(Vec::new().into())).await.unwrap();
    }
    socket.send(Message::Binary(b"\x00still here".to_vec().into())).await.unwrap();
    loop {
        match within(Duration::from_secs(20), "the answer", socket.next()).await {
            Some(Ok(Message::Binary(bytes))) if bytes.ends_with(b"still here") => break,
            Some(Ok(Message::Binary(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_hangs_up_terminals_and_closes_sessions() {
    let mut node = Node::start(&[]).await;
    let mut test_pod = test_pod_on(&node, "stop").await;
    let url = test_pod.exec(&["sh", "-c", "echo ready; read line"], terminal()).await;
    let mut child = kube_stream("exec", &url, "spdy", &["--stdin", "--tty"]);
    let mut ready = [0; 5];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let began = Instant::now();
    assert!(node.terminate().await.success());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Dockside is shutting down"), "{output:?}");
    let left = docker(&["top", &test_pod.container, "-eo", "pid,args"]);
    assert!(!left.contains("read line"), "{left}");
    node.spawn();
    node.wait_ready().await;
    test_pod.runtime = node.runtime().await;
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_over_the_limit_close_the_connection() {
    let mut test_pod = TestPod::new("headers").await;
    let url = test_pod.exec(&["true"], output_only()).await;
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut connection = tokio::net::TcpStream::connect(host).await.unwrap();
    let endless = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Long: {}", "x".repeat(60_000));
    // The server may close before it has everything.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, endless.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within(Duration::from_secs(5), "the connection is closed", connection.read_to_end(&mut answer)).await;
    test_pod.remove().await;
}
