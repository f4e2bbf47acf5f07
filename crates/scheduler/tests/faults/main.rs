//! Many pods at once, while replicas and the API server are killed: run by
//! `hack/box --no-docker -- hack/cluster run --bare -- PROGRAM --test-threads=1`, as hack/test does.
//!
//! The nodes exist in the API only, without kubelets. Each test has its own nodes, which its pods select.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failover;
mod undecodable;
mod unschedulable;
mod workload;
