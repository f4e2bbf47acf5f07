//! The scheduler in a real cluster, manual and automatic: run by `hack/cluster run PROGRAM`, as hack/test does.
//!
//! Pods are created and inspected with kubectl. The screen of `assist` is read from a pseudo-terminal of 80 columns and
//! 24 lines. Tests share one node and run concurrently: each has its own scheduler name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod assist;
mod commands;
mod deployment;
mod first_job;
mod preemption;
mod support;
mod terminal;
