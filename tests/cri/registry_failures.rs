//! Broken registries: silent ones, ones that stall in the middle of a layer, and ones that answer with errors.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use dockside::proto::*;
use serde_json::json;
use sha2::Digest;
use sha2::Sha256;
use tonic::Code;

use crate::docker_knows;
use crate::images::spec;
use harness::*;

/// How long a pull may go without progress in these tests.
const PATIENCE: Duration = Duration::from_secs(2);
/// The announced size of a layer, and the part that is sent.
const PROMISED: usize = 10_000_000;
const SENT: usize = 100_000;

/// How a registry treats a connection.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Never answers.
    Silent,
    /// Serves the image's manifest and configuration, and stalls in the middle of its layer.
    StopsInLayer,
    /// Answers with 503.
    Overloaded,
    /// Closes the connection.
    HangsUp,
}

/// A registry on its own port, until the test program exits.
struct Registry {
    port: u16,
    connections: Arc<AtomicU32>,
}

impl Registry {
    fn start(manner: Manner) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&connections);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, counter) = (connection.unwrap(), Arc::clone(&counter));
                std::thread::spawn(move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                    // The client may close the connection at any time.
                    let _ = answer(connection, manner);
                    counter.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Registry { port, connections }
    }

    fn image(&self) -> String {
        format!("127.0.0.1:{}/stalls/image:1", self.port)
    }
}

fn answer(mut connection: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut request = vec![0; 16 << 10];
    let length = connection.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    // On a TLS handshake the connection is closed: the client then tries plain HTTP.
    let line = request.lines().next().filter(|line| line.contains(" HTTP/1.")).unwrap_or_default().to_owned();
    match manner {
        Manner::HangsUp => Ok(()),
        Manner::Silent => {
            // Until the client closes the connection.
            while connection.read(&mut [0; 1024])? > 0 {}
            Ok(())
        }
        Manner::Overloaded => {
            connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Manner::StopsInLayer if line.is_empty() => connection.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n"),
        Manner::StopsInLayer => give_image(connection, &line),
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn give_image(mut connection: TcpStream, line: &str) -> std::io::Result<()> {
    let layer = format!("sha256:{}", "1".repeat(64));
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "2".repeat(64))]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config.len(), "digest": digest(config.as_bytes()),
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": PROMISED, "digest": layer,
        }],
    })
    .to_string();
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (kind, body, length) = if path.contains("/manifests/") {
        ("application/vnd.docker.distribution.manifest.v2+json", manifest.into_bytes(), None)
    } else if path.ends_with(&layer) {
        ("application/octet-stream", vec![7; SENT], Some(PROMISED))
    } else if path.contains("/blobs/") {
        ("application/octet-stream", config.into_bytes(), None)
    } else {
        ("application/json", b"{}".to_vec(), None)
    };
    let digest = if length.is_some() { layer } else { digest(&body) };
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n",
        length.unwrap_or(body.len())
    )?;
    if method != "HEAD" {
        connection.write_all(&body)?;
        while length.is_some() && connection.read(&mut [0; 1024])? > 0 {}
    }
    Ok(())
}

async fn pull(node: &Node, image: &str) -> (tonic::Status, Duration) {
    let mut images = node.images().await;
    let began = Instant::now();
    let request = PullImageRequest { image: spec(image), ..Default::default() };
    let refused = tokio::time::timeout(DEADLINE, images.pull_image(request)).await.expect("the pull returns");
    (refused.unwrap_err(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_progress_is_cancelled() {
    let node = Node::start(&["--image-pull-progress-deadline", "2s"]).await;
    for manner in [Manner::Silent, Manner::StopsInLayer] {
        let registry = Registry::start(manner);
        let (refused, took) = pull(&node, &registry.image()).await;
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
        assert!(refused.message().contains(&registry.image()), "{refused}");
        assert!(refused.message().contains("no progress for 2s"), "{refused}");
        assert!(took >= PATIENCE && took < PATIENCE * 4, "{took:?}");
        // Docker 20.10 never closes a connection on which it reads a layer.
        if manner == Manner::Silent || docker_knows(44) {
            eventually("Docker cancels the pull too", async || {
                (registry.connections.load(Ordering::Relaxed) == 0).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_answers_with_an_error_is_reported_as_unavailable() {
    let node = Node::start(&[]).await;
    for manner in [Manner::Overloaded, Manner::HangsUp] {
        let registry = Registry::start(manner);
        let (refused, _) = pull(&node, &registry.image()).await;
        assert_eq!(refused.code(), Code::Unknown, "{refused}");
        assert!(refused.message().starts_with("RegistryUnavailable: "), "{refused}");
        assert!(refused.message().contains(&registry.image()), "{refused}");
    }
}
