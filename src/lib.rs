//! Dockside runs Kubernetes pods on Docker Engine: a CRI v1 server, and a scheduler of its own.
//!
//! The rooms of the house, and who calls whom:
//!
//! ```text
//! kubelet --> cri --> pod | container | image | logs | stream | stats --> docker | cni | state
//! docker events --> watch --> refresh --> state --> cri (List*, *Status answer from memory)
//! API server <--> scheduler
//! ```

pub(crate) mod cgroup;
pub mod clock;
pub mod cmd;
pub mod config;
pub mod container;
pub mod cri;
pub mod docker;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod image;
pub(crate) mod lifecycle;
pub mod logs;
pub mod manifest;
pub mod naming;
pub mod observability;
pub mod pod;
pub mod proto;
pub mod refresh;
pub mod state;
pub mod stats;
pub mod stream;
pub mod watch;
