//! `dockside-scheduler`: a Kubernetes scheduler that decides by itself (`run`) or lets a person decide (`assist`).
//!
//! The library exists for the binary and for the generated documentation of its flags: only [`Cli`] is public. The
//! README of the crate introduces it; this is the map of its modules.
//!
//! ```text
//! API server --> api --> reflector --> wire, read --> update --> store (cluster, queue)
//!                                                                 |
//!                                      filter, score --> decide, preempt
//!                                                                 |
//! API server <-- bind, evict, report <-------------------------- run
//! ```
//!
//! From the bottom up:
//!
//! - `api`: requests and watches; `wire`: partial API types, decoded from Protobuf or JSON;
//! - `model`: what decisions depend on; `read`: converts `wire` to `model`; `reflector`: lists and watches every kind
//!   and delivers `update`s;
//! - `cluster`: the cache that decisions read; `queue`: pods without a node; `store`: both, kept current;
//! - `filter`: which nodes fit a pod; `score`: which of them is best; each rule is a file and a line in a table;
//! - `decide`: one scheduling decision, or the explanation of one; `preempt`: the victims of a preemption;
//! - `bind`, `evict`, `report`: writes to the API server; `lease`: leader election;
//! - `serve`, `metrics`: health and metrics; `log`: logging; `run`: the scheduling loop; `cmd`: the subcommands;
//! - `cases`: answers scheduling cases for tests that compare with kube-scheduler.
//!
//! Nothing from `model` to `preempt` does I/O, except `reflector`: these modules are tested with tables and properties.

#![warn(missing_docs, unreachable_pub)]

mod api;
mod bind;
mod cases;
mod cluster;
mod cmd;
mod decide;
mod evict;
mod filter;
mod lease;
mod log;
mod metrics;
mod model;
mod preempt;
mod queue;
mod read;
mod reflector;
mod report;
mod run;
mod score;
mod serve;
mod store;
mod update;
mod wire;

pub use self::cmd::Cli;
