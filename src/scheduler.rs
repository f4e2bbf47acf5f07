//! The scheduler: it gives waiting pods a node, by itself or by a person's choice.
//!
//! ```text
//! api server --> wire --> read --> model --> cluster --> filter, score --> decide
//! ```
//!
//! The rooms, from the bottom:
//!
//! - `wire`: the JSON of the API, as little of it as is needed; `read` turns it into `model`, what decisions are made of;
//! - `cluster`: everything a decision looks at, in memory;
//! - `filter`: where a pod can go; `score`: where it is best; a file and a line in a list for each rule;
//! - `decide`: one decision, or an explanation of all that could be decided.
//!
//! None of these does I/O: they are tested with tables and by properties.

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
