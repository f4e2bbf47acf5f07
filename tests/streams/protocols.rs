//! The streaming server with raw requests: what it refuses, and the protocols that client-go no longer uses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockside::proto::*;
use futures_util::SinkExt;
use futures_util::StreamExt;
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::*;

/// The host and the path of a URL.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, _) = rest.split_once('/').unwrap();
    (host, &rest[host.len()..])
}

/// Sends an HTTP request; returns the response's status, and its text in lower case.
async fn request(url: &str, method: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (host, path) = parts(url);
    let mut connection = TcpStream::connect(host).await.unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    connection.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut bytes = vec![0; 64 << 10];
    let mut answer = String::new();
    while !answer.contains("\r\n\r\n") {
        let count = connection.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the server closed after {answer:?}");
        answer += &String::from_utf8_lossy(&bytes[..count]);
    }
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer.to_lowercase())
}

const SPDY: [(&str, &str); 2] = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];

fn spdy(protocol: &'static str) -> Vec<(&'static str, &'static str)> {
    [&SPDY[..], &[("X-Stream-Protocol-Version", protocol)]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_valid_for_one_request_of_its_kind() {
    let mut test_pod = TestPod::new("tokens").await;
    let url = test_pod.exec(&["true"], output_only()).await;
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let (host, _) = parts(&url);
    assert_eq!(
        request(&format!("http://{host}/exec/AAAAAAAAAAAAAAAAAAAAAA"), "POST", &spdy("v4.channel.k8s.io")).await.0,
        404
    );
    assert_eq!(request(&format!("http://{host}/"), "GET", &[]).await.0, 404);
    assert_eq!(request(&url, "POST", &spdy("v4.channel.k8s.io")).await.0, 101);
    assert_eq!(request(&url, "POST", &spdy("v4.channel.k8s.io")).await.0, 404);
    let url = test_pod.exec(&["true"], output_only()).await;
    assert_eq!(request(&url.replace("/exec/", "/attach/"), "POST", &spdy("v4.channel.k8s.io")).await.0, 404);
    assert_eq!(request(&url.replace("/exec/", "/portforward/"), "POST", &spdy("portforward.k8s.io")).await.0, 404);
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_common_protocol_gets_the_supported_ones() {
    let mut test_pod = TestPod::new("protocols").await;
    let url = test_pod.exec(&["true"], output_only()).await;
    let (status, answer) = request(&url, "POST", &spdy("v9.channel.k8s.io")).await;
    assert_eq!(status, 403);
    assert!(answer.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io"), "{answer}");
    let url = test_pod.exec(&["true"], output_only()).await;
    assert_eq!(request(&url, "POST", &SPDY).await.0, 400);
    let url = test_pod.exec(&["true"], output_only()).await;
    assert_eq!(request(&url, "GET", &[]).await.0, 400);
    let url = test_pod.exec(&["true"], output_only()).await;
    assert_eq!(request(&url, "DELETE", &spdy("v4.channel.k8s.io")).await.0, 405);
    let url = test_pod.exec(&["true"], output_only()).await;
    let mut request = url.replace("http", "ws").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "v9.channel.k8s.io".parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), StatusCode::FORBIDDEN),
        other => panic!("{other:?}"),
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_refused_without_a_url() {
    let mut test_pod = TestPod::new("invalid").await;
    let container_id = test_pod.container.clone();
    let cmd = vec!["true".to_owned()];
    for request in [
        ExecRequest {
            container_id: container_id.clone(),
            cmd: cmd.clone(),
            tty: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        },
        ExecRequest { container_id: container_id.clone(), cmd: cmd.clone(), ..Default::default() },
        ExecRequest { container_id: container_id.clone(), stdout: true, ..Default::default() },
    ] {
        let refused = test_pod.runtime.exec(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
    let refused = test_pod.runtime.attach(AttachRequest { container_id, ..Default::default() }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    let unknown = ExecRequest { container_id: "nonesuch".to_owned(), cmd, stdout: true, ..Default::default() };
    assert_eq!(test_pod.runtime.exec(unknown).await.unwrap_err().code(), tonic::Code::NotFound);
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_waiting_for_clients_are_limited() {
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let config = pod("crowd");
    let sandbox = run_pod(&mut runtime, &config).await;
    let container_id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let request = ExecRequest { container_id, cmd: vec!["true".to_owned()], stdout: true, ..Default::default() };
    for _ in 0..1000 {
        runtime.exec(request.clone()).await.unwrap();
    }
    let refused = runtime.exec(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_closes_its_own_connection_only() {
    let mut test_pod = TestPod::new("malformed").await;
    let steady = test_pod.exec(&["cat"], all_streams()).await;
    let mut steady = web_socket(&steady, "v4.channel.k8s.io").await;
    for malformed in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x80, 9, 0, 1, 0, 0, 0, 10], &[0xff; 4096]] {
        let url = test_pod.exec(&["sleep", "7300"], output_only()).await;
        let (host, path) = parts(&url);
        let mut connection = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        connection.write_all(malformed).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let closed = within(Duration::from_secs(20), "the connection is closed", connection.read_to_end(&mut answer));
        // A reset closes the connection as well.
        let _ = closed.await;
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{:?}", String::from_utf8_lossy(&answer));
    }
    steady.send(Message::Binary(b"\x00still here\n".to_vec().into())).await.unwrap();
    let text = receive_until(&mut steady, "still here\n").await;
    assert!(text.ends_with("1still here\n"), "{text}");
    drop(steady);
    test_pod.remove().await;
}

pub(crate) type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

/// Connects with one protocol; none when it is empty.
pub(crate) async fn web_socket(url: &str, protocol: &str) -> Socket {
    let mut request = url.replace("http", "ws").into_client_request().unwrap();
    if !protocol.is_empty() {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
    let chosen = answer.headers().get("Sec-WebSocket-Protocol").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(chosen.unwrap_or_default(), protocol);
    socket
}

/// Receives messages until `end`; returns each as its channel's digit and its text.
pub(crate) async fn receive_until(socket: &mut Socket, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let message = within(Duration::from_secs(20), "a message", socket.next()).await;
        match message.unwrap_or_else(|| panic!("closed after {text:?}")).unwrap() {
            Message::Binary(bytes) => {
                text.push(char::from(b'0' + bytes[0]));
                text += &String::from_utf8_lossy(&bytes[1..]);
            }
            Message::Text(encoded) => {
                text.push_str(&encoded[..1]);
                text += &String::from_utf8(STANDARD.decode(&encoded[1..]).unwrap()).unwrap();
            }
            other => panic!("{other:?} after {text:?}"),
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn old_web_socket_protocols_work() {
    let mut test_pod = TestPod::new("old-protocols").await;
    for protocol in ["", "channel.k8s.io", "v4.channel.k8s.io", "base64.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let url = test_pod.exec(&["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"], all_streams()).await;
        let mut socket = web_socket(&url, protocol).await;
        let input = if protocol.contains("base64") {
            Message::Text(format!("0{}", STANDARD.encode("hello\n")).into())
        } else {
            Message::Binary(b"\x00hello\n".to_vec().into())
        };
        socket.send(input).await.unwrap();
        let text = receive_until(&mut socket, "exit code 3").await;
        // The first message is an empty one on a channel that the server writes to.
        assert!(text.starts_with('1'), "{protocol}: {text}");
        assert!(text.contains("1got hello\n") && text.contains("2bad\n"), "{protocol}: {text}");
        assert_eq!(text.contains("NonZeroExitCode"), protocol.starts_with("v4"), "{protocol}: {text}");
        // Then the server closes the connection with a Close message.
        let mut rest = receive_rest(&mut socket).await;
        rest.retain(|message| !matches!(message, Message::Close(_)));
        assert!(rest.len() <= 1, "{protocol}: {rest:?}");
    }
    test_pod.remove().await;
}

async fn receive_rest(socket: &mut Socket) -> Vec<Message> {
    let mut rest = Vec::new();
    while let Some(Ok(message)) = within(Duration::from_secs(20), "the end", socket.next()).await {
        rest.push(message);
    }
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_long_or_empty_and_a_too_long_one_is_reported() {
    let mut test_pod = TestPod::new("long-messages").await;
    let url = test_pod.exec(&["sh", "-c", "head -c 8000000 | wc -c; cat"], all_streams()).await;
    let mut socket = web_socket(&url, "v4.channel.k8s.io").await;
    socket.send(Message::Binary(Vec::new().into())).await.unwrap();
    socket.send(Message::Binary(vec![0; 8_000_001].into())).await.unwrap();
    let text = receive_until(&mut socket, "8000000").await;
    assert!(!text.contains('3'), "{text}");
    let (mut sink, mut messages) = socket.split();
    // The server stops reading in the middle of the message.
    let sending = tokio::spawn(async move { sink.send(Message::Binary(vec![0; 40 << 20].into())).await });
    let mut text = String::new();
    while let Some(Ok(message)) = within(Duration::from_secs(20), "the end", messages.next()).await {
        if let Message::Binary(bytes) = message {
            text.push(char::from(b'0' + bytes[0]));
            text += &String::from_utf8_lossy(&bytes[1..]);
        }
    }
    sending.abort();
    assert!(text.contains("InternalError") && text.contains("too long"), "{text}");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_web_socket_protocol_closes_when_all_ports_have_closed() {
    let mut test_pod = TestPod::new("old-forward-end").await;
    crate::port_forward::serve_in(&test_pod.sandbox);
    let request = PortForwardRequest { pod_sandbox_id: test_pod.sandbox.clone(), port: vec![8081, 8081] };
    let url = test_pod.runtime.port_forward(request).await.unwrap().into_inner().url;
    let mut socket = web_socket(&url, "v4.channel.k8s.io").await;
    let messages = receive_rest(&mut socket).await;
    let hellos =
        messages.iter().filter(|message| matches!(message, Message::Binary(bytes) if bytes.ends_with(b"hello\n")));
    assert_eq!(hellos.count(), 2, "{messages:?}");
    assert!(matches!(messages.last(), Some(Message::Close(Some(_)))), "{messages:?}");
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_forwarded_by_the_old_web_socket_protocol() {
    let mut test_pod = TestPod::new("old-forward").await;
    crate::port_forward::serve_in(&test_pod.sandbox);
    let request = PortForwardRequest { pod_sandbox_id: test_pod.sandbox.clone(), port: vec![8080, 9] };
    let url = test_pod.runtime.port_forward(request).await.unwrap().into_inner().url;
    let mut socket = web_socket(&url, "v4.channel.k8s.io").await;
    socket.send(Message::Binary(b"\x00hello".to_vec().into())).await.unwrap();
    let mut by_channel = [const { Vec::new() }; 4];
    while !by_channel[0].ends_with(b"hello") || !String::from_utf8_lossy(&by_channel[3]).contains("refused") {
        match within(Duration::from_secs(20), "a message", socket.next()).await.unwrap().unwrap() {
            Message::Binary(bytes) => by_channel[usize::from(bytes[0])].extend_from_slice(&bytes[1..]),
            other => panic!("{other:?}"),
        }
    }
    // Each channel begins with its port.
    assert_eq!(by_channel[0], b"\x90\x1fhello");
    assert_eq!(by_channel[1], b"\x90\x1f");
    assert_eq!((&by_channel[2][..], &by_channel[3][..2]), (&b"\x09\x00"[..], &b"\x09\x00"[..]));
    drop(socket);
    test_pod.remove().await;
}
