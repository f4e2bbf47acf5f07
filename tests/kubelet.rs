//! What a real kubelet does with pods, and what people see of it: run in a cluster, by
//! `hack/cluster run [--kubelet 1.37] PROGRAM`, as hack/test does.
//!
//! A pod is described as a user would, bound to the node, and looked at through the API server, kubectl, Docker and the
//! kernel. Nothing here speaks CRI.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "kubelet/cluster.rs"]
mod cluster;
#[path = "kubelet/ends.rs"]
mod ends;
#[path = "kubelet/images.rs"]
mod images;
#[path = "harness/in_cluster.rs"]
mod in_cluster;
#[path = "kubelet/kinds.rs"]
mod kinds;
#[path = "kubelet/logs.rs"]
mod logs;
#[path = "kubelet/metrics.rs"]
mod metrics;
#[path = "kubelet/namespaces.rs"]
mod namespaces;
#[path = "kubelet/probes.rs"]
mod probes;
#[path = "kubelet/resources.rs"]
mod resources;
#[path = "kubelet/restarts.rs"]
mod restarts;
#[path = "kubelet/security.rs"]
mod security;
#[path = "kubelet/volumes.rs"]
mod volumes;
