//! Follows one container's log: reads what Docker wrote, converts it, and appends it to the CRI log.
//!
//! A step takes what Docker has written so far and never waits; `pool` decides when the next one runs. If a step fails,
//! the position stays where it was and the next step repeats the same.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::buffers::Buffers;
use super::checkpoint::Checkpoint;
use super::checkpoint::Checkpoints;
use super::checkpoint::WritePosition;
use super::convert::Converted;
use super::convert::convert_chunk;
use super::cri_log::CriLog;
use super::error::Error;
use super::paths::LogPaths;
use super::reader::Reader;
use super::resume;

/// Chunks per step, so that a busy container leaves the worker to others.
const CHUNKS_PER_STEP: usize = 8;
/// Between two checkpoints of a busy container.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// Between two attempts to write to a full disk: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// Docker's files that are held open: enough to lose none while Docker rotates fast. While the CRI log is stalled, no
/// more than the file being read and the next: an open file that Docker has removed still takes up disk space.
const OPEN_MAX: usize = 16;
const OPEN_MAX_STALLED: usize = 2;

/// When a follower needs its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// At once, after the other logs that are due.
    Now,
    /// When Docker writes.
    OnWrite,
    At(Instant),
    Never,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Follower {
    id: String,
    paths: LogPaths,
    checkpoints: Arc<Checkpoints>,
    state: State,
    reader: Reader,
    /// Bytes of the Docker log that were converted.
    bytes_read: u64,
    /// The time of the last line; empty before the first.
    last_time: String,
    saved_at: Instant,
    save_failed: bool,
    stall: Option<Stall>,
}

#[derive(Debug)]
enum State {
    /// The position after the last line has to be found first, from this checkpoint if there is one.
    Resuming(Option<Checkpoint>),
    Following(CriLog),
    Closed,
}

/// A step failed and is repeated until it succeeds.
#[derive(Debug)]
struct Stall {
    reason: String,
    /// Since when no byte was converted.
    since: Instant,
    /// [`Follower::bytes_read`] at that time.
    bytes_read: u64,
    retry: Duration,
    due: Instant,
}

impl Follower {
    /// Begins a log that has no checkpoint. The CRI log exists when this returns.
    pub(super) fn begin(id: &str, paths: &LogPaths, checkpoints: &Arc<Checkpoints>) -> Result<Follower, Error> {
        let cri_log = CriLog::open(paths)?;
        let mut follower = Follower::resuming(id, paths, checkpoints, None);
        follower.save(cri_log.position()?, false)?;
        follower.state = State::Following(cri_log);
        Ok(follower)
    }

    /// A follower that finds its position in its first step.
    pub(super) fn resuming(
        id: &str,
        paths: &LogPaths,
        checkpoints: &Arc<Checkpoints>,
        checkpoint: Option<Checkpoint>,
    ) -> Follower {
        Follower {
            id: id.to_owned(),
            paths: paths.clone(),
            checkpoints: Arc::clone(checkpoints),
            state: State::Resuming(checkpoint),
            reader: Reader::new(&paths.docker_file),
            bytes_read: 0,
            last_time: String::new(),
            saved_at: Instant::now(),
            save_failed: false,
            stall: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn paths(&self) -> &LogPaths {
        &self.paths
    }

    /// Why the log is stalled; `None` when it is not.
    pub(super) fn stall_reason(&self) -> Option<&str> {
        self.stall.as_ref().map(|stall| stall.reason.as_str())
    }

    /// Since when the log has been stalled; `None` when it is not.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stall.as_ref().map(|stall| stall.since)
    }

    /// How many bytes of the Docker log were converted since this follower was made.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Converts what Docker has written. With `ending` Docker writes no more, and the log is closed at its end.
    pub(super) fn step(&mut self, buffers: &mut Buffers, ending: bool) -> NextStep {
        if matches!(self.state, State::Closed) {
            return NextStep::Never;
        }
        if let Some(due) = self.stall.as_ref().map(|stall| stall.due).filter(|due| Instant::now() < *due) {
            if matches!(self.state, State::Following(_)) {
                // Docker may rotate meanwhile. A failure is reported by the next attempt.
                let _ = self.reader.open_new_files(OPEN_MAX_STALLED);
            }
            return NextStep::At(due);
        }
        match self.resume(buffers).and_then(|()| self.copy(buffers, ending)) {
            Ok(next) => {
                if let Some(stall) = self.stall.take() {
                    tracing::info!(container = self.id, after = stall.reason, "resumed writing a stalled log");
                }
                if next == NextStep::Never {
                    self.close();
                }
                next
            }
            Err(error) => NextStep::At(self.stall(&error)),
        }
    }

    /// Finds the position, if that was not done yet.
    pub(super) fn resume(&mut self, buffers: &mut Buffers) -> Result<(), Error> {
        let State::Resuming(checkpoint) = &self.state else { return Ok(()) };
        let resumed = resume::resume(&self.paths, checkpoint.as_ref(), buffers)?;
        let (read, last_time) =
            checkpoint.as_ref().map(|known| (known.read.clone(), known.last_time.clone())).unwrap_or_default();
        self.last_time = last_time;
        self.reader.seek(resumed.position.files, resumed.position.offset, read);
        if let Some(since) = resumed.gap_since {
            warn_of_gap(&self.id, &since, self.reader.next_time(buffers));
        }
        self.save(resumed.cri_log.position()?, false)?;
        tracing::debug!(container = self.id, offset = self.reader.offset(), "resumed a log");
        self.state = State::Following(resumed.cri_log);
        Ok(())
    }

    /// Continues in a new file at the same path. On an error nothing has changed.
    pub(super) fn reopen(&mut self, buffers: &mut Buffers) -> Result<(), Error> {
        self.resume(buffers)?;
        let mut checkpoint = self.checkpoint(self.cri_log()?.position()?, false)?;
        // If Dockside is killed before the second checkpoint, no lines of the old file have to be counted.
        self.checkpoints.write(&self.id, &checkpoint)?;
        let State::Following(cri_log) = &mut self.state else { return Err(self.not_followed()) };
        cri_log.reopen(&self.paths, |written| {
            checkpoint.written = written;
            self.checkpoints.write(&self.id, &checkpoint)
        })?;
        // The new file may be on a disk with free space.
        self.stall = None;
        Ok(())
    }

    /// Writes a checkpoint, if the log is being followed.
    pub(super) fn save_position(&mut self) -> Result<(), Error> {
        match &self.state {
            State::Following(cri_log) => self.save(cri_log.position()?, false),
            _ => Ok(()),
        }
    }

    /// Closes all files, whatever has not been read yet.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.stall = None;
        self.reader.close();
    }

    fn copy(&mut self, buffers: &mut Buffers, ending: bool) -> Result<NextStep, Error> {
        for _ in 0..CHUNKS_PER_STEP {
            // Before the read: a file that has a successor by now was complete before that read.
            self.reader.open_new_files(OPEN_MAX)?;
            let chunk = self.reader.read(&mut buffers.chunk)?;
            let converted = convert_chunk(chunk, &mut buffers.lines, u64::MAX);
            if converted.consumed > 0 {
                self.write(chunk, converted, &mut buffers.lines)?;
            } else if self.reader.rewind_if_truncated()? {
                tracing::warn!(
                    container = self.id,
                    since = self.last_time,
                    "another process truncated Docker's log; reading it from its beginning"
                );
            } else if self.reader.has_next_file() {
                self.next_file(buffers);
            } else if ending {
                self.warn_of_torn_entry();
                self.save_or_warn(true);
                return Ok(NextStep::Never);
            } else {
                return Ok(NextStep::OnWrite);
            }
        }
        Ok(NextStep::Now)
    }

    /// Appends the lines that a chunk was converted to, and advances by as much of it as was written.
    fn write(&mut self, chunk: &[u8], converted: Converted, lines: &mut Vec<u8>) -> Result<(), Error> {
        let State::Following(cri_log) = &mut self.state else { return Err(self.not_followed()) };
        if let Err(failure) = cri_log.write(lines) {
            if failure.whole_lines > 0 {
                self.advance(convert_chunk(chunk, lines, failure.whole_lines));
            }
            return Err(failure.error);
        }
        self.advance(converted);
        if self.saved_at.elapsed() >= SAVE_EVERY {
            self.save_or_warn(false);
        }
        Ok(())
    }

    fn advance(&mut self, converted: Converted) {
        if let Some((at, count)) = converted.damaged {
            let offset = self.reader.offset() + at as u64;
            tracing::warn!(
                container = self.id,
                offset,
                count,
                "Docker's log is damaged: left out what is not a log entry"
            );
        }
        self.reader.advance(converted.consumed);
        self.bytes_read += converted.consumed as u64;
        if let Some(time) = converted.last_time {
            self.last_time = time;
        }
    }

    /// Leaves a file that was read to its end.
    fn next_file(&mut self, buffers: &mut Buffers) {
        self.warn_of_torn_entry();
        self.save_or_warn(false);
        if self.reader.next_file() {
            warn_of_gap(&self.id, &self.last_time, self.reader.next_time(buffers));
        }
    }

    /// Logs that the file ends in the middle of an entry: Docker was interrupted and wrote nothing after it.
    fn warn_of_torn_entry(&self) {
        let bytes = self.reader.unread_bytes();
        if bytes > 0 {
            tracing::warn!(
                container = self.id,
                offset = self.reader.offset(),
                bytes,
                "Docker's log ends in the middle of an entry, which was left out"
            );
        }
    }

    fn checkpoint(&mut self, written: WritePosition, finished: bool) -> Result<Checkpoint, Error> {
        let mut checkpoint = Checkpoint::new(&self.paths, written);
        checkpoint.read = self.reader.position()?;
        checkpoint.last_time.clone_from(&self.last_time);
        checkpoint.finished = finished;
        Ok(checkpoint)
    }

    fn save(&mut self, written: WritePosition, finished: bool) -> Result<(), Error> {
        let checkpoint = self.checkpoint(written, finished)?;
        self.saved_at = Instant::now();
        self.checkpoints.write(&self.id, &checkpoint)
    }

    /// Writes a checkpoint. The log continues without: an older checkpoint only means that more lines are counted.
    fn save_or_warn(&mut self, finished: bool) {
        let written = self.cri_log().and_then(CriLog::position);
        let outcome = written.and_then(|written| self.save(written, finished));
        if let Err(error) = &outcome
            && !self.save_failed
        {
            tracing::warn!(container = self.id, %error, "could not save the position in a log");
        }
        self.save_failed = outcome.is_err();
    }

    /// Records that a step failed. Returns when to try again.
    fn stall(&mut self, error: &Error) -> Instant {
        let (now, reason, bytes_read) = (Instant::now(), error.to_string(), self.bytes_read);
        let before = self.stall.take();
        let retry = before.as_ref().map_or(RETRY_FIRST, |stall| (stall.retry * 2).min(RETRY_LAST));
        let since = before.as_ref().filter(|stall| stall.bytes_read == bytes_read).map_or(now, |stall| stall.since);
        if before.is_none_or(|stall| stall.reason != reason) {
            tracing::warn!(
                container = self.id,
                reason,
                "a log is stalled; retrying until it can be written (Docker keeps the new entries)"
            );
        }
        let due = now + retry;
        self.stall = Some(Stall { reason, since, bytes_read, retry, due });
        due
    }

    fn cri_log(&self) -> Result<&CriLog, Error> {
        match &self.state {
            State::Following(cri_log) => Ok(cri_log),
            _ => Err(self.not_followed()),
        }
    }

    fn not_followed(&self) -> Error {
        Error::NotFollowed { id: self.id.clone() }
    }
}

fn warn_of_gap(id: &str, from: &str, until: Option<String>) {
    let until = until.unwrap_or_else(|| "now".to_owned());
    tracing::warn!(
        container = id,
        from,
        until,
        "a log has a gap: Docker dropped lines between these times, since it keeps no more than container-log-max-size and container-log-max-files allow"
    );
}
