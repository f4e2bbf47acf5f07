//! Shared by the test suites: a Dockside on the Docker of the box they run in ([`node`]), a cluster that `hack/cluster`
//! made ([`in_cluster`]), replicas of the scheduler ([`replica`]), and commands ([`commands`]).
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod commands;
pub mod in_cluster;
pub mod node;
pub mod replica;

use std::path::Path;
use std::path::PathBuf;

pub use self::node::*;

/// The top of the source tree.
pub fn repository() -> &'static Path {
    // tests/harness is two below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The path of `dockside` or `dockside-scheduler`, built together with the running test.
pub fn program(name: &str) -> PathBuf {
    // Cargo puts tests into `deps`, and programs into its parent directory.
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} does not exist: build it with cargo build --workspace", path.display());
    path
}
