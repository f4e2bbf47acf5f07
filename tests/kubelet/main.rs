//! What a real kubelet does with pods, and what people see of it: run in a cluster, by
//! `hack/cluster run [--kubelet 1.37] PROGRAM`, as hack/test does.
//!
//! A pod is described as a user would, bound to the node, and looked at through the API server, kubectl, Docker and the
//! kernel. Nothing here speaks CRI.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod ends;
mod images;
mod kinds;
mod logs;
mod metrics;
mod namespaces;
mod probes;
mod resources;
mod restarts;
mod security;
mod volumes;
