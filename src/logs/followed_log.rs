//! One log as the pool and the callers of `Logs` share it: the follower under its lock, and what may
//! be read without waiting for a step.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::follower::Follower;

/// See the module's documentation.
pub(super) struct FollowedLog {
    /// The container.
    pub(super) id: String,
    /// Distinguishes this follower of a container from a later one.
    pub(super) number: u64,
    pub(super) docker_file: PathBuf,
    /// Held for the whole of a step.
    pub(super) follower: Mutex<Follower>,
    /// Whether Docker has closed its file: the follower reads the rest and is done.
    pub(super) ending: AtomicBool,
    /// Whether a call of `finish` has given up waiting.
    pub(super) gave_up: AtomicBool,
    /// Whether everything is in the CRI log.
    pub(super) done: watch::Sender<bool>,
    progress: Mutex<Progress>,
}

/// As of the last step.
struct Progress {
    stall_reason: Option<String>,
    stalled_since: Option<Instant>,
    bytes_read: u64,
    moved_at: Instant,
}

impl FollowedLog {
    pub(super) fn new(follower: Follower) -> Arc<FollowedLog> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Arc::new(FollowedLog {
            id: follower.id().to_owned(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            docker_file: follower.paths().docker_file.clone(),
            follower: Mutex::new(follower),
            ending: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            done: watch::Sender::new(false),
            progress: Mutex::new(Progress {
                stall_reason: None,
                stalled_since: None,
                bytes_read: 0,
                moved_at: Instant::now(),
            }),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        *self.done.borrow()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// How long the log has been stalled; `None` when it is not.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.progress.lock().stalled_since.map(|since| since.elapsed())
    }

    /// Why the log is stalled.
    pub(super) fn stall_reason(&self) -> Option<String> {
        self.progress.lock().stall_reason.clone()
    }

    /// How long the log has made no progress, for a caller that waits since `waiting_since`. Earlier times without
    /// progress count only if the log was stalled: otherwise there was nothing to read.
    pub(super) fn stuck_for(&self, waiting_since: Instant) -> Duration {
        let progress = self.progress.lock();
        progress.stalled_since.unwrap_or_else(|| progress.moved_at.max(waiting_since)).elapsed()
    }

    /// Copies the progress out of the follower after a step. Returns the bytes read since the last call.
    pub(super) fn update_progress(&self, follower: &Follower) -> u64 {
        let mut progress = self.progress.lock();
        progress.stall_reason = follower.stall_reason().map(str::to_owned);
        progress.stalled_since = follower.stalled_since();
        let bytes_read = follower.bytes_read();
        let more = bytes_read - progress.bytes_read;
        if more > 0 {
            progress.bytes_read = bytes_read;
            progress.moved_at = Instant::now();
        }
        more
    }
}
