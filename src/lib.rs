//! Dockside runs Kubernetes pods on Docker Engine: a CRI v1 server, and the command `dockside`.
//!
//! Each module is a room with one job. Calls go downwards:
//!
//! ```text
//! kubelet, crictl --> cri --> pod | container | image | logs | stream | stats --> docker | cni-runtime | state
//! Docker's events --> watch --> refresh --> state --> cri (List*, *Status answer from memory)
//! a person        --> cmd::pod --> manifest --> any CRI runtime
//! ```
//!
//! | Room | Its job |
//! | --- | --- |
//! | `cmd` | the subcommands: `serve` builds all other rooms and connects them, `pod` has the arguments of `manifest` |
//! | `config` | flags, configuration file and defaults of `serve`: one table |
//! | `cri` | the CRI's two gRPC services: one thin method per RPC, which calls a verb and translates its result |
//! | `pod` | verbs on pod sandboxes: run, stop, remove, status, list |
//! | `container` | verbs on containers: create, start, stop, remove, status, list, update, exec |
//! | `image` | pulls, lists and removes images; the built-in pause image |
//! | `logs` | converts Docker's log files to the CRI's |
//! | `stream` | exec, attach and port-forward: HTTP server, tokens, SPDY and WebSocket sessions |
//! | `stats` | what pods and containers use, as the CRI's stats and metrics |
//! | `watch` | keeps the index in step with Docker: reconciles, follows events, retries what could not be undone |
//! | `refresh` | brings one object of the index up to date with one inspect |
//! | `state` | the records on disk, the index in memory, the change feed |
//! | `cgroup` | reads cgroup v1, cgroup v2 and /proc |
//! | `lifecycle` | creates and undoes objects with records: one for sandboxes and containers |
//! | `docker` | the client of Docker's API; no other room knows bollard |
//! | `naming` | names and labels of Docker objects, those of cri-dockerd |
//! | `manifest` | the Pod-manifest client of `dockside pod`: a client of the CRI, not part of the server |
//! | `observability` | Dockside's own metrics, log and traces |
//! | `clock` | the wall clock |
//! | `error` | the errors of verbs, and their gRPC codes |
//! | `proto` | the generated CRI messages, clients and servers |
//!
//! Separate crates: `cni-runtime` executes CNI plugins, `spdy` is the SPDY protocol without I/O, `kubernetes-quantity` reads
//! amounts, `dockside-scheduler` is the scheduler. ARCHITECTURE.md has the invariants and walks through the code.

mod cgroup;
mod clock;
pub mod cmd;
pub mod config;
mod container;
mod cri;
pub mod docker;
mod error;
#[cfg(any(fuzzing, clippy))]
pub mod fuzzing;
mod image;
mod lifecycle;
mod logs;
mod manifest;
mod naming;
mod observability;
mod pod;
pub mod proto;
mod refresh;
mod state;
mod stats;
mod stream;
mod watch;

pub use self::state::key_of;
