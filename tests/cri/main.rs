//! The CRI server as a client and the machine see it: each call over the socket, on a real Docker, and what came of
//! it observed from outside.
//!
//! The tests run side by side on one Dockside, so each has pods, ports and images of its own. Those that change the
//! node itself have a Dockside of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod containers;
mod endings;
mod errors;
mod events;
mod images;
mod look;
mod metrics;
mod mounts;
mod namespaces;
mod network;
mod plugins;
mod pods;
mod prometheus;
mod pulls;
mod reads;
mod resources;
mod security;
mod stalls;
mod stats;
mod together;
mod traces;
mod users;

use std::fmt::Debug;
use std::sync::OnceLock;

use harness::*;
use tonic::Code;
use tonic::Status;

/// The Dockside that the tests share.
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

/// Checks that a call was refused with this code, in words that contain all of `words`.
#[track_caller]
fn assert_refused<T: Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) {
    let status = answer.expect_err("the call should have been refused");
    assert_eq!(status.code(), code, "{status}");
    for word in words {
        assert!(status.message().contains(word), "no {word:?} in: {}", status.message());
    }
}

/// Whether this box's Docker leaves images to containerd, as 29 does by default.
fn containerd_has_images() -> bool {
    docker(&["info", "--format", "{{.DriverStatus}}"]).contains("io.containerd.snapshotter")
}

/// Whether this box's Docker has version 1.`minor` of its API: 1.44 came with Docker 25, 1.48 with 28.
fn docker_knows(minor: u32) -> bool {
    let version = docker(&["version", "--format", "{{.Server.APIVersion}}"]);
    let (_, own) = version.trim().split_once('.').unwrap();
    own.parse::<u32>().unwrap() >= minor
}
