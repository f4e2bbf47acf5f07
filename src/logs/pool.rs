//! A few threads that take the steps of all followers, and the clock that says when.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Condvar;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Place;
use super::batch::Scratch;
use super::follower::Follower;
use super::follower::Next;
use super::signs::Signs;

/// More threads would wait for the same disk.
const WORKERS: usize = 2;
/// Between two steps of one container that keeps writing: each then has more to do, and costs less for a line.
const PACE: Duration = Duration::from_millis(10);
/// Between two looks at a file that cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(1);

/// One followed container.
pub(super) struct Entry {
    pub(super) id: String,
    /// Tells one follower of a container from a later one.
    number: u64,
    pub(super) place: Place,
    pub(super) follower: Mutex<Follower>,
    /// Docker will write no more.
    pub(super) ending: AtomicBool,
    /// Somebody has waited for the end in vain.
    pub(super) gave_up: AtomicBool,
    /// Whether the follower has come to its end.
    pub(super) done: watch::Sender<bool>,
    condition: Mutex<Condition>,
}

/// How a log does, as of its last step.
struct Condition {
    trouble: Option<String>,
    stalled_since: Option<Instant>,
    copied: u64,
    moved_at: Instant,
}

impl Entry {
    pub(super) fn new(id: &str, place: &Place, follower: Follower) -> Arc<Entry> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Arc::new(Entry {
            id: id.to_owned(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            place: place.clone(),
            follower: Mutex::new(follower),
            ending: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            done: watch::Sender::new(false),
            condition: Mutex::new(Condition {
                trouble: None,
                stalled_since: None,
                copied: 0,
                moved_at: Instant::now(),
            }),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        *self.done.borrow()
    }

    /// For how long nothing could be written; `None` when it can.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.condition.lock().stalled_since.map(|since| since.elapsed())
    }

    /// Why the log cannot go on now.
    pub(super) fn trouble(&self) -> Option<String> {
        self.condition.lock().trouble.clone()
    }

    /// For how long the log has not got on, for somebody who has waited for it since `asked`. Before that there may
    /// have been nothing to do; only what could not be written counts from its beginning.
    pub(super) fn stuck_for(&self, asked: Instant) -> Duration {
        let condition = self.condition.lock();
        condition.stalled_since.unwrap_or_else(|| condition.moved_at.max(asked)).elapsed()
    }

    /// Returns how many bytes it got on.
    fn note(&self, follower: &Follower) -> u64 {
        let mut condition = self.condition.lock();
        condition.trouble = follower.trouble().map(str::to_owned);
        condition.stalled_since = follower.stalled_since();
        let copied = follower.copied();
        let more = copied.saturating_sub(condition.copied);
        if condition.copied != copied {
            condition.copied = copied;
            condition.moved_at = Instant::now();
        }
        more
    }
}

/// See the module's documentation.
pub(super) struct Pool {
    pub(super) signs: Signs,
    clock: Mutex<Clock>,
    changed: Condvar,
    /// A watch could not be set, and it was said.
    unwatched: AtomicBool,
    /// Bytes of Docker's files that were done with, of all logs since the start.
    pub(super) read_bytes: AtomicU64,
}

#[derive(Default)]
struct Clock {
    queue: VecDeque<Arc<Entry>>,
    /// By time, and a number that keeps two of the same time apart.
    timers: BTreeMap<(Instant, u64), Arc<Entry>>,
    turns: HashMap<u64, Turn>,
    number: u64,
    stopped: bool,
}

/// Where an entry stands.
#[derive(Default)]
struct Turn {
    state: State,
    /// Woken while its step was taken.
    again: bool,
    timer: Option<(Instant, u64)>,
    last: Option<Instant>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Queued,
    Running,
}

impl Clock {
    fn enqueue(&mut self, entry: &Arc<Entry>) {
        let turn = self.turns.entry(entry.number).or_default();
        match turn.state {
            State::Idle => {
                turn.state = State::Queued;
                if let Some(timer) = turn.timer.take() {
                    self.timers.remove(&timer);
                }
                self.queue.push_back(Arc::clone(entry));
            }
            State::Running => turn.again = true,
            State::Queued => {}
        }
    }

    /// Makes the entry due at `at`, unless it is earlier.
    fn schedule(&mut self, entry: &Arc<Entry>, at: Instant) {
        self.number += 1;
        let turn = self.turns.entry(entry.number).or_default();
        match turn.timer {
            Some((due, _)) if due <= at => return,
            Some(later) => {
                self.timers.remove(&later);
            }
            None => {}
        }
        turn.timer = Some((at, self.number));
        self.timers.insert((at, self.number), Arc::clone(entry));
    }

    /// The next entry whose step is due, else the time at which one will be.
    fn take(&mut self) -> Result<Arc<Entry>, Option<Instant>> {
        let now = Instant::now();
        while let Some(first) = self.timers.first_entry().filter(|first| first.key().0 <= now) {
            let entry = first.remove();
            self.turns.entry(entry.number).or_default().timer = None;
            self.enqueue(&entry);
        }
        let Some(entry) = self.queue.pop_front() else {
            return Err(self.timers.first_key_value().map(|((at, _), _)| *at));
        };
        let turn = self.turns.entry(entry.number).or_default();
        (turn.state, turn.again) = (State::Running, false);
        Ok(entry)
    }

    fn put_back(&mut self, entry: &Arc<Entry>, next: Next) {
        let now = Instant::now();
        let turn = self.turns.entry(entry.number).or_default();
        (turn.state, turn.last) = (State::Idle, Some(now));
        let again = std::mem::take(&mut turn.again);
        match next {
            Next::Again => self.enqueue(entry),
            Next::At(at) => self.schedule(entry, at),
            Next::Idle if again && entry.ending.load(Ordering::Acquire) => self.enqueue(entry),
            Next::Idle if again => self.schedule(entry, now + PACE),
            Next::Idle => {}
            Next::Done => self.forget(entry),
        }
    }

    fn forget(&mut self, entry: &Arc<Entry>) {
        if let Some(Turn { timer: Some(timer), .. }) = self.turns.remove(&entry.number) {
            self.timers.remove(&timer);
        }
    }
}

impl Pool {
    /// Starts the workers. They end after [`Pool::stop`].
    pub(super) fn start(signs: Signs) -> io::Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            signs,
            clock: Mutex::default(),
            changed: Condvar::new(),
            unwatched: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
        });
        for number in 0..WORKERS {
            let pool = Arc::clone(&pool);
            std::thread::Builder::new().name(format!("logs-{number}")).spawn(move || pool.work())?;
        }
        Ok(pool)
    }

    /// Asks for a step, soon.
    pub(super) fn wake(&self, entry: &Arc<Entry>) {
        let mut clock = self.clock.lock();
        let last = clock.turns.get(&entry.number).and_then(|turn| turn.last);
        match last.map(|last| last + PACE).filter(|at| *at > Instant::now()) {
            Some(at) if !entry.ending.load(Ordering::Acquire) => clock.schedule(entry, at),
            _ => clock.enqueue(entry),
        }
        self.changed.notify_one();
    }

    /// Asks for a step of every entry that had one, when it is not known whose turn it is.
    pub(super) fn wake_all(&self) {
        for entry in self.signs.all() {
            self.wake(&entry);
        }
    }

    pub(super) fn stop(&self) {
        self.clock.lock().stopped = true;
        self.changed.notify_all();
    }

    fn work(&self) {
        let mut scratch = Scratch::new();
        let mut clock = self.clock.lock();
        while !clock.stopped {
            match clock.take() {
                Ok(entry) => {
                    drop(clock);
                    let next = self.step(&entry, &mut scratch);
                    clock = self.clock.lock();
                    clock.put_back(&entry, next);
                }
                Err(Some(at)) => {
                    self.changed.wait_until(&mut clock, at);
                }
                Err(None) => self.changed.wait(&mut clock),
            }
        }
    }

    fn step(&self, entry: &Arc<Entry>, scratch: &mut Scratch) -> Next {
        if entry.is_done() {
            return Next::Done;
        }
        let ending = entry.ending.load(Ordering::Acquire);
        let watched = if ending { Ok(()) } else { self.signs.arm(entry) };
        let mut follower = entry.follower.lock();
        let next = follower.step(scratch, ending);
        self.read_bytes.fetch_add(entry.note(&follower), Ordering::Relaxed);
        drop(follower);
        match (next, watched) {
            (Next::Done, _) => {
                self.signs.disarm(entry);
                entry.done.send_replace(true);
                Next::Done
            }
            (Next::Idle, Err(error)) => {
                if !self.unwatched.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "logs cannot be watched (fs.inotify.max_user_watches?); they are looked at every second");
                }
                Next::At(Instant::now() + UNWATCHED)
            }
            (next, _) => next,
        }
    }
}
