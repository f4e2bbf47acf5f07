//! Container logs as the CRI has them: follows what Docker's `json-file` driver writes, and appends a CRI line for
//! each record to the file the kubelet named.
//!
//! The verbs on containers call in: [`Logs::begin`] before Docker starts a container, [`Logs::finish`] before anybody
//! is told that it has ended, [`Logs::reopen`] after the kubelet renamed the file, [`Logs::forget`] when the container
//! is removed. What is promised:
//!
//! - A container never waits for us: Docker writes its file whether we are there or not.
//! - Every record Docker keeps becomes exactly one line, in order, whenever Dockside is killed and started again, and
//!   however the kubelet and Docker rotate their files meanwhile. What Docker dropped before we could read it is named
//!   in our log as a gap.
//! - When [`Logs::finish`] has returned, the file has all the container wrote, however long that took, unless it
//!   could not be written for ten seconds.
//!
//! This room knows nothing of Docker's API nor of the CRI's messages. Format of a line and of the rotation:
//! Kubernetes' `pkg/kubelet/kuberuntime/logs` and `pkg/kubelet/logs`.

mod batch;
mod checkpoint;
mod convert;
mod follower;
mod pool;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod record;
mod resume;
mod signs;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Deserialize;
use serde::Serialize;

use self::batch::Scratch;
use self::checkpoint::Checkpoints;
use self::follower::Follower;
use self::pool::Entry;
use self::pool::Pool;
use self::signs::Signs;

/// How long an end is kept back for a log that does not get on, such as on a full disk.
const FINISH_LIMIT: Duration = Duration::from_secs(10);
/// So many looks in that time whether it gets on.
const FINISH_LOOKS: u32 = 50;

/// Where a log comes from and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Docker's file: see [`docker_file`].
    pub docker_file: PathBuf,
    /// The pod's `log_directory`.
    pub directory: PathBuf,
    /// The container's `log_path`, below it.
    pub path: PathBuf,
}

impl Place {
    fn cri_file(&self) -> PathBuf {
        self.directory.join(&self.path)
    }
}

/// The file that Docker's `json-file` driver writes for a container, in the directory that Docker has for that.
pub fn docker_file(container: &Path, id: &str) -> PathBuf {
    container.join(format!("{id}-json.log"))
}

/// A log that could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place that was asked for cannot be one.
    #[error("{field}: {} {reason}", path.display())]
    Place { field: &'static str, path: PathBuf, reason: String },
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the log of container {id} is not followed any more")]
    NotFollowed { id: String },
    #[error("the task that worked on the log of container {id} did not finish: {source}")]
    Task { id: String, source: tokio::task::JoinError },
}

impl Error {
    fn place(field: &'static str, path: &Path, reason: impl ToString) -> Error {
        Error::Place { field, path: path.to_owned(), reason: reason.to_string() }
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    }
}

/// A log that cannot be written now.
#[derive(Debug, Clone, Serialize)]
pub struct Trouble {
    pub container: String,
    pub reason: String,
}

/// How the logs do.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub followed: u64,
    /// Those whose CRI file cannot be written now.
    pub stalled: u64,
    /// For how long the worst of these could not.
    pub longest_stall: Duration,
    /// Bytes of Docker's files that were done with since the start.
    pub read_bytes: u64,
}

/// All logs of this node.
pub struct Logs {
    pool: Arc<Pool>,
    checkpoints: Arc<Checkpoints>,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    finish_limit: Duration,
}

impl Logs {
    /// Opens the checkpoints in `directory` and starts the threads. Called in a tokio runtime.
    ///
    /// # Errors
    /// When the directory cannot be made, or the kernel gives no inotify instance or thread.
    pub fn open(directory: PathBuf) -> Result<Logs, Error> {
        let failed = |source| Error::Io { doing: "watch logs for", path: directory.clone(), source };
        let checkpoints = Arc::new(Checkpoints::open(directory.clone())?);
        let (signs, inotify) = Signs::new().map_err(failed)?;
        let pool = Pool::start(signs).map_err(failed)?;
        tokio::spawn(signs::read(inotify, Arc::downgrade(&pool)));
        Ok(Logs { pool, checkpoints, entries: Mutex::default(), finish_limit: FINISH_LIMIT })
    }

    /// Makes the log file of a container and follows what Docker writes from now on; where an earlier process, or an
    /// earlier start of the same container, left off, goes on there. Nothing happens to a log that is followed.
    ///
    /// # Errors
    /// [`Error::Place`] names the field that leads to something that is no log file.
    pub async fn begin(&self, id: &str, place: Place) -> Result<(), Error> {
        if self.followed(id).is_some() {
            return Ok(());
        }
        let (name, checkpoints) = (id.to_owned(), Arc::clone(&self.checkpoints));
        let opened = self.blocking(id, move || {
            let follower = match checkpoints.read(&name) {
                None => Follower::begin(&name, &place, &checkpoints)?,
                known => {
                    let mut follower = Follower::resuming(&name, &place, &checkpoints, known);
                    follower.resume(&mut Scratch::new())?;
                    follower
                }
            };
            Ok((place, follower))
        });
        let (place, follower) = opened.await?;
        self.follow(id, &place, follower);
        Ok(())
    }

    /// Follows a running container that nothing is known of but where its log goes: the last line in the CRI file
    /// tells where to go on.
    pub fn adopt(&self, id: &str, place: &Place) {
        if self.followed(id).is_none() {
            let known = self.checkpoints.read(id);
            self.follow(id, place, Follower::resuming(id, place, &self.checkpoints, known));
        }
    }

    /// Goes on with the logs that an earlier process followed, of those containers that still exist.
    pub fn resume<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        for id in ids {
            if let Some(known) = self.checkpoints.read(id).filter(|known| !known.finished) {
                let place = known.place.clone();
                self.follow(id, &place, Follower::resuming(id, &place, &self.checkpoints, Some(known)));
            }
        }
    }

    fn follow(&self, id: &str, place: &Place, follower: Follower) {
        let entry = Entry::new(id, place, follower);
        self.entries.lock().insert(id.to_owned(), Arc::clone(&entry));
        self.pool.wake(&entry);
    }

    /// Waits until all that a container wrote is in its log file, and closes it. To be called when Docker has closed
    /// its own: nothing is waited for that Docker did not write yet.
    ///
    /// A log that cannot be written holds nobody up for more than ten seconds, once: those before this call count, too,
    /// so that on a full disk a restart does not wait for each container. It is finished in the background when it can
    /// be written again. One that gets on is waited for.
    pub async fn finish(&self, id: &str) {
        let Some(entry) = self.followed(id) else { return };
        let (mut done, asked) = (entry.done.subscribe(), Instant::now());
        entry.ending.store(true, Ordering::Release);
        self.pool.wake(&entry);
        if entry.gave_up.load(Ordering::Relaxed) {
            return;
        }
        let look = self.finish_limit / FINISH_LOOKS;
        while tokio::time::timeout(look, done.wait_for(|done| *done)).await.is_err() {
            if entry.stuck_for(asked) >= self.finish_limit {
                entry.gave_up.store(true, Ordering::Relaxed);
                let reason = entry.trouble().unwrap_or_else(|| "Docker's log was not read".to_owned());
                tracing::warn!(container = id, reason, "a container has ended, and its log is not complete yet");
                return;
            }
        }
        let mut entries = self.entries.lock();
        if entries.get(id).is_some_and(|known| Arc::ptr_eq(known, &entry)) {
            entries.remove(id);
        }
    }

    /// Goes on in a new file at the same path, since the old one was renamed. No line is lost or written twice.
    ///
    /// # Errors
    /// When the file or the note of it cannot be written: then there is no new file, and the old one goes on.
    /// [`Error::NotFollowed`] when the container has ended.
    pub async fn reopen(&self, id: &str) -> Result<(), Error> {
        let entry = self.followed(id).ok_or_else(|| Error::NotFollowed { id: id.to_owned() })?;
        let woken = Arc::clone(&entry);
        self.blocking(id, move || entry.follower.lock().reopen(&mut Scratch::new())).await?;
        self.pool.wake(&woken);
        Ok(())
    }

    /// Stops following a container that was removed. The log file is the client's.
    ///
    /// # Errors
    /// When the checkpoint cannot be removed.
    pub async fn forget(&self, id: &str) -> Result<(), Error> {
        let entry = self.entries.lock().remove(id);
        let (name, checkpoints, pool) = (id.to_owned(), Arc::clone(&self.checkpoints), Arc::clone(&self.pool));
        self.blocking(id, move || {
            if let Some(entry) = entry {
                // Under the follower's lock no step writes another checkpoint.
                let mut follower = entry.follower.lock();
                follower.close();
                checkpoints.remove(&name)?;
                drop(follower);
                pool.wake(&entry);
                Ok(())
            } else {
                checkpoints.remove(&name)
            }
        })
        .await
    }

    /// The logs that cannot be written now.
    pub fn troubles(&self) -> Vec<Trouble> {
        let entries = self.entries.lock();
        let troubled = entries.values().filter_map(|entry| Some((entry.id.clone(), entry.trouble()?)));
        troubled.map(|(container, reason)| Trouble { container, reason }).collect()
    }

    /// How the logs do, all together.
    pub fn counts(&self) -> Counts {
        let entries = self.entries.lock();
        let stalls: Vec<Duration> = entries.values().filter_map(|entry| entry.stalled_for()).collect();
        Counts {
            followed: entries.len() as u64,
            stalled: stalls.len() as u64,
            longest_stall: stalls.into_iter().max().unwrap_or_default(),
            read_bytes: self.pool.read_bytes.load(Ordering::Relaxed),
        }
    }

    /// Ends the threads and notes how far each log got, so that the next process has nothing to count.
    pub async fn close(&self) {
        self.pool.stop();
        let entries: Vec<Arc<Entry>> = self.entries.lock().values().cloned().collect();
        let saved = tokio::task::spawn_blocking(move || {
            for entry in entries {
                if let Err(error) = entry.follower.lock().save() {
                    tracing::warn!(container = entry.id, %error, "could not note how far a log got");
                }
            }
        });
        let _ = saved.await;
    }

    fn followed(&self, id: &str) -> Option<Arc<Entry>> {
        self.entries.lock().get(id).filter(|entry| !entry.is_done()).cloned()
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
