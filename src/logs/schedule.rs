//! Which log's step is due next: a queue of those due now, and timers of those due later.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::followed_log::FollowedLog;
use super::follower::NextStep;

/// The least time between two steps of one container that keeps writing: each step then has more to do, and costs less
/// for a line.
const PACE: Duration = Duration::from_millis(10);

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Schedule {
    queue: VecDeque<Arc<FollowedLog>>,
    /// By time, and a number that keeps two of the same time apart.
    timers: BTreeMap<(Instant, u64), Arc<FollowedLog>>,
    /// By [`FollowedLog::number`].
    turns: HashMap<u64, Turn>,
    timer_number: u64,
}

/// The scheduling state of one log.
#[derive(Default)]
struct Turn {
    state: State,
    /// Woken while its step was running.
    again: bool,
    timer: Option<(Instant, u64)>,
    /// When its last step finished.
    last: Option<Instant>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Queued,
    Running,
}

impl Schedule {
    /// Makes a step due: at once, or [`PACE`] after the last one.
    pub(super) fn wake(&mut self, log: &Arc<FollowedLog>) {
        let last = self.turns.get(&log.number).and_then(|turn| turn.last);
        match last.map(|last| last + PACE).filter(|at| *at > Instant::now()) {
            Some(at) if !log.is_ending() => self.schedule(log, at),
            _ => self.enqueue(log),
        }
    }

    /// Takes the next log whose step is due. Otherwise returns the time at which one will be, if any is scheduled.
    pub(super) fn take(&mut self) -> Result<Arc<FollowedLog>, Option<Instant>> {
        let now = Instant::now();
        while let Some(first) = self.timers.first_entry().filter(|first| first.key().0 <= now) {
            let log = first.remove();
            self.turns.entry(log.number).or_default().timer = None;
            self.enqueue(&log);
        }
        let Some(log) = self.queue.pop_front() else {
            return Err(self.timers.first_key_value().map(|((at, _), _)| *at));
        };
        let turn = self.turns.entry(log.number).or_default();
        (turn.state, turn.again) = (State::Running, false);
        Ok(log)
    }

    /// Takes back a log whose step has run.
    pub(super) fn put_back(&mut self, log: &Arc<FollowedLog>, next: NextStep) {
        let now = Instant::now();
        let turn = self.turns.entry(log.number).or_default();
        (turn.state, turn.last) = (State::Idle, Some(now));
        let again = std::mem::take(&mut turn.again);
        match next {
            NextStep::Now => self.enqueue(log),
            NextStep::At(at) => self.schedule(log, at),
            NextStep::OnWrite if again && log.is_ending() => self.enqueue(log),
            NextStep::OnWrite if again => self.schedule(log, now + PACE),
            NextStep::OnWrite => {}
            NextStep::Never => self.forget(log),
        }
    }

    fn enqueue(&mut self, log: &Arc<FollowedLog>) {
        let turn = self.turns.entry(log.number).or_default();
        match turn.state {
            State::Idle => {
                turn.state = State::Queued;
                if let Some(timer) = turn.timer.take() {
                    self.timers.remove(&timer);
                }
                self.queue.push_back(Arc::clone(log));
            }
            State::Running => turn.again = true,
            State::Queued => {}
        }
    }

    /// Makes the log due at `at`, unless it is due earlier.
    fn schedule(&mut self, log: &Arc<FollowedLog>, at: Instant) {
        self.timer_number += 1;
        let turn = self.turns.entry(log.number).or_default();
        match turn.timer {
            Some((due, _)) if due <= at => return,
            Some(later) => {
                self.timers.remove(&later);
            }
            None => {}
        }
        turn.timer = Some((at, self.timer_number));
        self.timers.insert((at, self.timer_number), Arc::clone(log));
    }

    fn forget(&mut self, log: &Arc<FollowedLog>) {
        if let Some(Turn { timer: Some(timer), .. }) = self.turns.remove(&log.number) {
            self.timers.remove(&timer);
        }
    }
}
