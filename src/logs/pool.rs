//! The worker threads that run the steps of all followers.

use std::io;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Condvar;
use parking_lot::Mutex;

use super::buffers::Buffers;
use super::followed_log::FollowedLog;
use super::follower::NextStep;
use super::schedule::Schedule;
use super::watcher::LogWatcher;
use super::watcher::WatchEvents;

/// More threads would wait for the same disk.
const WORKERS: usize = 2;
/// How often a file is read that cannot be watched.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub(super) struct Pool {
    watcher: LogWatcher,
    work: Mutex<Work>,
    changed: Condvar,
    /// Whether the warning that watches cannot be set was logged.
    warned_unwatched: AtomicBool,
    /// Bytes of Docker logs that were converted, of all containers since the start.
    read_bytes: AtomicU64,
}

#[derive(Default)]
struct Work {
    schedule: Schedule,
    stopped: bool,
}

impl Pool {
    /// Starts the workers, which run until [`Pool::stop`]. Called in a tokio runtime.
    pub(super) fn start() -> io::Result<Arc<Pool>> {
        let (watcher, events) = LogWatcher::new()?;
        let pool = Arc::new(Pool {
            watcher,
            work: Mutex::default(),
            changed: Condvar::new(),
            warned_unwatched: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
        });
        for number in 0..WORKERS {
            let pool = Arc::clone(&pool);
            std::thread::Builder::new().name(format!("logs-{number}")).spawn(move || pool.run_worker())?;
        }
        tokio::spawn(wake_on_events(Arc::downgrade(&pool), events));
        Ok(pool)
    }

    /// Makes a step of this log due soon.
    pub(super) fn wake(&self, log: &Arc<FollowedLog>) {
        self.work.lock().schedule.wake(log);
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.work.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    fn run_worker(&self) {
        let mut buffers = Buffers::new();
        let mut work = self.work.lock();
        while !work.stopped {
            match work.schedule.take() {
                Ok(log) => {
                    drop(work);
                    let next = self.step(&log, &mut buffers);
                    work = self.work.lock();
                    work.schedule.put_back(&log, next);
                }
                Err(Some(at)) => {
                    self.changed.wait_until(&mut work, at);
                }
                Err(None) => self.changed.wait(&mut work),
            }
        }
    }

    fn step(&self, log: &Arc<FollowedLog>, buffers: &mut Buffers) -> NextStep {
        if log.is_done() {
            return NextStep::Never;
        }
        let ending = log.is_ending();
        let watched = if ending { Ok(()) } else { self.watcher.watch(log) };
        let mut follower = log.follower.lock();
        let next = follower.step(buffers, ending);
        self.read_bytes.fetch_add(log.update_progress(&follower), Ordering::Relaxed);
        drop(follower);
        match (next, watched) {
            (NextStep::Never, _) => {
                self.watcher.unwatch(log);
                log.done.send_replace(true);
                NextStep::Never
            }
            (NextStep::OnWrite, Err(error)) => {
                if !self.warned_unwatched.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "could not watch Docker's logs (see fs.inotify.max_user_watches); reading them every second"
                    );
                }
                NextStep::At(Instant::now() + POLL_INTERVAL)
            }
            (next, _) => next,
        }
    }
}

/// Wakes the logs whose watches fire, until the pool is dropped.
async fn wake_on_events(pool: Weak<Pool>, mut events: WatchEvents) {
    while let Some(logs) = events.next().await {
        let Some(pool) = pool.upgrade() else { return };
        for log in &logs {
            pool.wake(log);
        }
    }
}
