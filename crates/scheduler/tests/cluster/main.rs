//! The scheduler in a real cluster, by hand and by itself: run by `hack/cluster run PROGRAM`, as hack/test does.
//!
//! A pod is described as a user would and looked at through kubectl. What a person sees of `assist` is read from a
//! pseudo-terminal of 80 columns and 24 lines. Tests share one node and run beside each other: each has a scheduler's
//! name of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod assist;
mod commands;
mod deployed;
mod preemption;
mod story;
mod support;
mod terminal;
