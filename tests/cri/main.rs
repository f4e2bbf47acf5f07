//! The CRI server as a client sees it: each call goes over the socket to a real Docker, and its effect is checked from
//! outside.
//!
//! The tests run side by side on one Dockside, so each has pods, ports and images of its own. Those that change the
//! node itself have a Dockside of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cni;
mod concurrency;
mod containers;
mod docker_requests;
mod errors;
mod events;
mod images;
mod inspect;
mod metrics;
mod mounts;
mod namespaces;
mod network;
mod pods;
mod prometheus;
mod pulls;
mod registry_failures;
mod resources;
mod security;
mod start_stop;
mod stats;
mod traces;
mod users;

use std::fmt::Debug;
use std::sync::OnceLock;

use harness::*;
use tonic::Code;
use tonic::Status;

/// The Dockside that most tests share.
fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| {
        let node = Node::start_unready(&[]);
        let log = node.dir.join("log");
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            eprintln!("--- the shared log ---\n{}", tail(&std::fs::read_to_string(&log).unwrap_or_default(), 40));
        }));
        node
    })
}

/// A client of the shared Dockside; each test has a runtime, and so a connection, of its own.
async fn runtime() -> Runtime {
    node().wait_ready().await;
    node().runtime().await
}

async fn images() -> Images {
    node().wait_ready().await;
    node().images().await
}

/// Checks that a call was refused with this code and a message that contains all of `words`.
#[track_caller]
fn assert_refused<T: Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) {
    let status = answer.expect_err("the call should have been refused");
    assert_eq!(status.code(), code, "{status}");
    for word in words {
        assert!(status.message().contains(word), "no {word:?} in: {}", status.message());
    }
}

/// Whether this box's Docker uses the containerd image store, as 29 does by default.
fn containerd_has_images() -> bool {
    docker(&["info", "--format", "{{.DriverStatus}}"]).contains("io.containerd.snapshotter")
}

/// Whether this box's Docker supports version 1.`minor` of its API: Docker 25 has 1.44, Docker 28 has 1.48.
fn docker_knows(minor: u32) -> bool {
    let version = docker(&["version", "--format", "{{.Server.APIVersion}}"]);
    let (_, own) = version.trim().split_once('.').unwrap();
    own.parse::<u32>().unwrap() >= minor
}
