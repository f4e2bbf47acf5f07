//! Many pods at once, where replicas are killed and the API server goes away: run by
//! `hack/box --no-docker -- hack/cluster run --bare -- PROGRAM --test-threads=1`, as hack/test does.
//!
//! The nodes exist in the API alone, and nobody runs the pods. Each test has nodes of its own, which its pods select.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flood;
mod strange;
mod trouble;
mod waiting;
