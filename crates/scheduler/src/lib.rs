//! The scheduler: it gives waiting pods a node, by itself or by a person's choice.
//!
//! ```text
//! api server --> api --> follow --> wire, read --> update --> world (cluster, queue)
//!                                                               |
//!                                    filter, score --> decide, preempt
//!                                                               |
//! api server <-- bind, evict, report <------------------------ run
//! ```
//!
//! The rooms, from the bottom:
//!
//! - `api`: requests and watches; `wire`: the JSON of the API, as little of it as is needed;
//! - `read` turns that into `model`, what decisions are made of; `follow` does so for all that happens, as `update`s;
//! - `cluster`: everything a decision looks at; `queue`: the pods that wait; `world`: both, kept up to date;
//! - `filter`: where a pod can go; `score`: where it is best; a file and a line in a list for each rule;
//! - `decide`: one decision, or an explanation of all that could be decided; `preempt`: who would have to go;
//! - `bind`, `evict`, `report`: what is asked of the API server; `lease`: which of several replicas works;
//! - `serve`, `metrics`: health and numbers; `run`: the loop that brings all together; `cmd`: the subcommands.
//!
//! From `model` to `preempt` nothing does I/O (only `follow` and `api` stand in between): these rooms are tested with
//! tables and by properties. Who shows a person what could be decided keeps a [`world::World`], feeds it with what
//! [`follow::start`] sends, and asks [`decide::explain`].

pub mod api;
pub mod bind;
pub mod cases;
pub mod cluster;
pub mod cmd;
pub mod decide;
pub mod evict;
pub mod filter;
pub mod follow;
pub mod lease;
pub mod log;
pub mod metrics;
pub mod model;
pub mod preempt;
pub mod queue;
pub mod read;
pub mod report;
pub mod run;
pub mod score;
pub mod serve;
pub mod update;
pub mod wire;
pub mod world;
