//! Pods run by a real kubelet: run in a cluster, by `hack/cluster run [--kubelet 1.37] PROGRAM`, as hack/test does.
//!
//! A pod is created as a user would, bound to the node, and checked through the API server, kubectl, Docker and the
//! kernel. Nothing here speaks CRI.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod images;
mod lifecycle;
mod logs;
mod metrics;
mod namespaces;
mod pod_kinds;
mod probes;
mod resources;
mod restarts;
mod security;
mod volumes;
