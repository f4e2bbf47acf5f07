//! Port-forward by client-go, over SPDY and over SPDY inside WebSocket.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::thread;

use dockside::proto::*;

use crate::kube_client::TRANSPORTS;
use crate::kube_client::kube_stream;
use crate::*;

/// A running kube-stream with the local port of each remote port.
struct Forwarder {
    child: Child,
    ports: Vec<u16>,
}

impl Forwarder {
    fn start(url: &str, transport: &str, remote: &[u16]) -> Forwarder {
        let flags: Vec<String> = remote.iter().map(|port| format!("0:{port}")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut child = kube_stream("forward", url, transport, &flags);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let ports = remote.iter().map(|_| {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let local = line.split([' ', ':']).nth(2).unwrap_or_else(|| panic!("the forwarder printed {line:?}"));
            local.parse().unwrap()
        });
        let ports = ports.collect();
        Forwarder { child, ports }
    }

    fn connect(&self, index: usize) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.ports[index])).unwrap()
    }

    /// Stops it and returns its stderr.
    fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        String::from_utf8(self.child.wait_with_output().unwrap().stderr).unwrap()
    }
}

/// Listens in a pod's network namespace, on loopback only: port 8080 echoes, port 8081 sends hello and closes.
pub(crate) fn serve_in(sandbox: &str) {
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", sandbox]);
    let listeners = thread::spawn(move || {
        let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        [8080, 8081].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap())
    });
    let [echo, hello] = listeners.join().unwrap();
    thread::spawn(move || {
        for connection in echo.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || {
                // A client may disconnect in the middle.
                let _ = std::io::copy(&mut connection.try_clone().unwrap(), &mut connection);
                let _ = connection.shutdown(Shutdown::Write);
            });
        }
    });
    thread::spawn(move || {
        for connection in hello.incoming() {
            let _ = connection.unwrap().write_all(b"hello\n");
        }
    });
}

async fn pod_with_servers(name: &str) -> TestPod {
    let test_pod = TestPod::new(name).await;
    serve_in(&test_pod.sandbox);
    test_pod
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_to_many_ports_at_once() {
    let mut test_pod = pod_with_servers("forward-many").await;
    for transport in TRANSPORTS {
        let url = test_pod.port_forward().await;
        let forwarder = Forwarder::start(&url, transport, &[8080, 8081]);
        thread::scope(|scope| {
            for number in 0..25 {
                let forwarder = &forwarder;
                scope.spawn(move || {
                    let mut echo = forwarder.connect(0);
                    let sent = format!("connection {number} ").repeat(5000);
                    let mut writing = echo.try_clone().unwrap();
                    let text = sent.clone();
                    let writer = thread::spawn(move || {
                        writing.write_all(text.as_bytes()).unwrap();
                        writing.shutdown(Shutdown::Write).unwrap();
                    });
                    // The server closes its side after it has read the end of the client's data.
                    let mut received = String::new();
                    echo.read_to_string(&mut received).unwrap();
                    writer.join().unwrap();
                    assert!(received == sent, "{transport}: {} of {} bytes", received.len(), sent.len());
                    let mut hello = String::new();
                    forwarder.connect(1).read_to_string(&mut hello).unwrap();
                    assert_eq!(hello, "hello\n", "{transport}");
                });
            }
        });
        assert_eq!(forwarder.stop(), "", "{transport}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_pass_a_forwarded_port_unchanged() {
    let mut test_pod = pod_with_servers("forward-volume").await;
    let sent: Vec<u8> = (0..100_000_000_u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    for transport in TRANSPORTS {
        let url = test_pod.port_forward().await;
        let forwarder = Forwarder::start(&url, transport, &[8080]);
        let mut echo = forwarder.connect(0);
        let mut writing = echo.try_clone().unwrap();
        let received = thread::scope(|scope| {
            scope.spawn(|| {
                writing.write_all(&sent).unwrap();
                writing.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::with_capacity(sent.len());
            echo.read_to_end(&mut received).unwrap();
            received
        });
        assert!(received == sent, "{transport}: {} of {} bytes", received.len(), sent.len());
        assert_eq!(forwarder.stop(), "", "{transport}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_a_listener_is_reported() {
    let mut test_pod = TestPod::new("forward-refused").await;
    for transport in TRANSPORTS {
        let url = test_pod.port_forward().await;
        let forwarder = Forwarder::start(&url, transport, &[9]);
        let mut received = Vec::new();
        // The client may close or reset the connection.
        let _ = forwarder.connect(0).read_to_end(&mut received);
        let stderr = forwarder.stop();
        assert!(stderr.contains("port 9 of pod sandbox") && stderr.contains("refused"), "{stderr}");
    }
    test_pod.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_the_nodes_network_and_a_port_on_ipv6_alone() {
    node().wait_ready().await;
    let mut runtime = node().runtime().await;
    let mut config = pod("forward-host");
    let options = NamespaceOption { network: NamespaceMode::Node.into(), ..Default::default() };
    let context = LinuxSandboxSecurityContext { namespace_options: Some(options.clone()), ..Default::default() };
    config.linux = Some(LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() });
    let sandbox = run_pod(&mut runtime, &config).await;
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || listener.accept().unwrap().0.write_all(b"from the node").unwrap());
    let request = PortForwardRequest { pod_sandbox_id: sandbox.clone(), port: vec![port.into()] };
    let url = runtime.port_forward(request).await.unwrap().into_inner().url;
    let forwarder = Forwarder::start(&url, "spdy", &[port]);
    let mut received = String::new();
    forwarder.connect(0).read_to_string(&mut received).unwrap();
    assert_eq!(received, "from the node");
    serving.join().unwrap();
    assert_eq!(forwarder.stop(), "");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_port_and_a_stopped_sandbox_are_refused_at_once() {
    let mut test_pod = TestPod::new("forward-wrong").await;
    for (port, code) in [(0, tonic::Code::InvalidArgument), (70000, tonic::Code::InvalidArgument)] {
        let request = PortForwardRequest { pod_sandbox_id: test_pod.sandbox.clone(), port: vec![port] };
        assert_eq!(test_pod.runtime.port_forward(request).await.unwrap_err().code(), code, "port {port}");
    }
    test_pod
        .runtime
        .stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: test_pod.sandbox.clone() })
        .await
        .unwrap();
    let request = PortForwardRequest { pod_sandbox_id: test_pod.sandbox.clone(), port: vec![80] };
    let refused = test_pod.runtime.port_forward(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    test_pod.remove().await;
}
