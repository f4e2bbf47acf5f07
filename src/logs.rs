//! Container logs as the CRI defines them: follows the file that Docker's `json-file` driver writes for each container,
//! and appends a CRI line for each entry to the file the kubelet named.
//!
//! The verbs on containers call in: [`Logs::begin`] before Docker starts a container, [`Logs::finish`] before anyone
//! sees that it has exited, [`Logs::reopen`] after the kubelet renamed the file, [`Logs::forget`] when the container is
//! removed. What is promised:
//!
//! - A container never waits for Dockside: Docker writes its file whether or not Dockside runs.
//! - Each entry that Docker keeps becomes exactly one line, in order, however often Dockside is killed and restarted
//!   and however the kubelet and Docker rotate their files meanwhile. Entries that Docker dropped before they were read
//!   are reported as a gap in Dockside's own log.
//! - When [`Logs::finish`] has returned, the file has everything the container wrote, however long that took, unless
//!   it could not be written for ten seconds.
//!
//! Nothing in here depends on Docker's API or the CRI's messages. The format of a line and the rotation are those of
//! Kubernetes' `pkg/kubelet/kuberuntime/logs` and `pkg/kubelet/logs`.
//!
//! One step of a log, from the top down: the `pool` takes it from the `schedule`; the `follower` reads a chunk
//! (`reader`, `docker_log`), converts it (`convert`, `entry`) and writes it (`cri_log`), and now and then a
//! `checkpoint`, from which a later process continues (`resume`). The `watcher` makes the next step due.

mod buffers;
mod checkpoint;
mod convert;
mod cri_log;
mod docker_log;
mod entry;
mod error;
mod followed_log;
mod follower;
mod paths;
mod pool;
#[cfg(any(test, fuzzing, clippy))]
pub(crate) mod properties;
mod reader;
mod resume;
mod schedule;
#[cfg(test)]
mod tests;
mod watcher;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use self::buffers::Buffers;
use self::checkpoint::Checkpoints;
pub(crate) use self::error::Error;
use self::followed_log::FollowedLog;
use self::follower::Follower;
pub(crate) use self::paths::LogPaths;
pub(crate) use self::paths::docker_file;
use self::pool::Pool;

/// How long [`Logs::finish`] waits for a log that makes no progress, for example on a full disk.
const FINISH_LIMIT: Duration = Duration::from_secs(10);
/// How many times it checks for progress in that time.
const FINISH_CHECKS: u32 = 50;

/// A log that cannot be written now.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StalledLog {
    /// The container's id.
    pub container: String,
    /// The error of the last attempt.
    pub reason: String,
}

/// Numbers about all logs, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Logs being followed.
    pub followed: u64,
    /// Those that cannot be written now.
    pub stalled: u64,
    /// How long the one stalled longest has been so.
    pub longest_stall: Duration,
    /// Bytes of Docker logs that were converted since the start.
    pub read_bytes: u64,
}

/// All logs of this node.
pub(crate) struct Logs {
    pool: Arc<Pool>,
    checkpoints: Arc<Checkpoints>,
    followed: Mutex<HashMap<String, Arc<FollowedLog>>>,
    finish_limit: Duration,
}

impl Logs {
    /// Opens the checkpoints in `directory` and starts the threads. Called in a tokio runtime.
    ///
    /// # Errors
    /// When the directory cannot be created, or the kernel has no more inotify instances or threads.
    pub(crate) fn open(directory: PathBuf) -> Result<Logs, Error> {
        let checkpoints = Arc::new(Checkpoints::open(directory.clone())?);
        let pool = Pool::start().map_err(Error::io("watch logs for", &directory))?;
        Ok(Logs { pool, checkpoints, followed: Mutex::default(), finish_limit: FINISH_LIMIT })
    }

    /// Creates the log file of a container and follows what Docker writes. Continues where an earlier process or an
    /// earlier start of the same container stopped. Does nothing if the log is being followed.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] names the field whose path leads to anything but a log file.
    pub(crate) async fn begin(&self, id: &str, paths: LogPaths) -> Result<(), Error> {
        if self.find(id).is_some() {
            return Ok(());
        }
        let (name, checkpoints) = (id.to_owned(), Arc::clone(&self.checkpoints));
        let opened = self.blocking(id, move || {
            let follower = match checkpoints.read(&name) {
                None => Follower::begin(&name, &paths, &checkpoints)?,
                known => {
                    let mut follower = Follower::resuming(&name, &paths, &checkpoints, known);
                    follower.resume(&mut Buffers::new())?;
                    follower
                }
            };
            Ok(follower)
        });
        self.follow(opened.await?);
        Ok(())
    }

    /// Follows a running container whose log may have no checkpoint: it then continues after the last line in the CRI
    /// log.
    pub(crate) fn adopt(&self, id: &str, paths: &LogPaths) {
        if self.find(id).is_none() {
            let known = self.checkpoints.read(id);
            self.follow(Follower::resuming(id, paths, &self.checkpoints, known));
        }
    }

    /// Continues the logs that an earlier process followed, of the containers with these ids.
    pub(crate) fn resume<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        for id in ids {
            if let Some(known) = self.checkpoints.read(id).filter(|known| !known.finished) {
                let paths = known.paths.clone();
                self.follow(Follower::resuming(id, &paths, &self.checkpoints, Some(known)));
            }
        }
    }

    fn follow(&self, follower: Follower) {
        let log = FollowedLog::new(follower);
        self.followed.lock().insert(log.id.clone(), Arc::clone(&log));
        self.pool.wake(&log);
    }

    /// Waits until everything a container wrote is in its log file, and closes it. Called when Docker has closed its
    /// own file: what Docker writes later is not waited for.
    ///
    /// A log that makes progress is waited for without a limit. One that cannot be written is waited for until it has
    /// been stalled for ten seconds, and only once. The time before this call counts, so that on a full disk a restart
    /// of Dockside does not wait for each container in turn. Such a log is finished in the background when it can be
    /// written again.
    pub(crate) async fn finish(&self, id: &str) {
        let Some(log) = self.find(id) else { return };
        let (mut done, began) = (log.done.subscribe(), Instant::now());
        log.ending.store(true, Ordering::Release);
        self.pool.wake(&log);
        if log.gave_up.load(Ordering::Relaxed) {
            return;
        }
        let interval = self.finish_limit / FINISH_CHECKS;
        while tokio::time::timeout(interval, done.wait_for(|done| *done)).await.is_err() {
            if log.stuck_for(began) >= self.finish_limit {
                log.gave_up.store(true, Ordering::Relaxed);
                let reason = log.stall_reason().unwrap_or_else(|| "Docker's log was not read".to_owned());
                tracing::warn!(container = id, reason, "a container has exited and its log is not complete yet");
                return;
            }
        }
        let mut followed = self.followed.lock();
        if followed.get(id).is_some_and(|current| Arc::ptr_eq(current, &log)) {
            followed.remove(id);
        }
    }

    /// Continues in a new file at the same path after the old one was renamed. No line is lost or written twice.
    ///
    /// # Errors
    /// When the file cannot be created or its checkpoint not written: there is no new file then, and the old one
    /// continues. [`Error::NotFollowed`] when the container has exited.
    pub(crate) async fn reopen(&self, id: &str) -> Result<(), Error> {
        let log = self.find(id).ok_or_else(|| Error::NotFollowed { id: id.to_owned() })?;
        let woken = Arc::clone(&log);
        self.blocking(id, move || log.follower.lock().reopen(&mut Buffers::new())).await?;
        self.pool.wake(&woken);
        Ok(())
    }

    /// Stops following a container that was removed. The client removes the log file.
    ///
    /// # Errors
    /// When the checkpoint cannot be removed.
    pub(crate) async fn forget(&self, id: &str) -> Result<(), Error> {
        let log = self.followed.lock().remove(id);
        let (name, checkpoints, pool) = (id.to_owned(), Arc::clone(&self.checkpoints), Arc::clone(&self.pool));
        self.blocking(id, move || {
            if let Some(log) = log {
                // While the follower is locked, no step writes another checkpoint.
                let mut follower = log.follower.lock();
                follower.close();
                checkpoints.remove(&name)?;
                drop(follower);
                pool.wake(&log);
                Ok(())
            } else {
                checkpoints.remove(&name)
            }
        })
        .await
    }

    /// The logs that cannot be written now.
    pub(crate) fn stalled(&self) -> Vec<StalledLog> {
        let followed = self.followed.lock();
        let stalled = followed.values().filter_map(|log| Some((log.id.clone(), log.stall_reason()?)));
        stalled.map(|(container, reason)| StalledLog { container, reason }).collect()
    }

    /// Numbers about all logs, for the metrics.
    pub(crate) fn counts(&self) -> Counts {
        let followed = self.followed.lock();
        let stalls: Vec<Duration> = followed.values().filter_map(|log| log.stalled_for()).collect();
        Counts {
            followed: followed.len() as u64,
            stalled: stalls.len() as u64,
            longest_stall: stalls.into_iter().max().unwrap_or_default(),
            read_bytes: self.pool.read_bytes(),
        }
    }

    /// Stops the threads and writes a checkpoint of each log, so that the next process has no lines to count.
    pub(crate) async fn close(&self) {
        self.pool.stop();
        let followed: Vec<Arc<FollowedLog>> = self.followed.lock().values().cloned().collect();
        let saved = tokio::task::spawn_blocking(move || {
            for log in followed {
                if let Err(error) = log.follower.lock().save_position() {
                    tracing::warn!(container = log.id, %error, "could not save the position in a log");
                }
            }
        });
        let _ = saved.await;
    }

    fn find(&self, id: &str) -> Option<Arc<FollowedLog>> {
        self.followed.lock().get(id).filter(|log| !log.is_done()).cloned()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        id: &str,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let outcome = tokio::task::spawn_blocking(work).await;
        outcome.map_err(|source| Error::Task { id: id.to_owned(), source })?
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.pool.stop();
    }
}
