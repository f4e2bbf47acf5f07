//! One container's log: from Docker's files to the CRI file, step by step.
//!
//! A step takes what is there and never waits; `pool` says when the next one is due. Whatever goes wrong on the way
//! leaves the position where it was, so that the next step tries the same again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Error;
use super::Place;
use super::batch::Scratch;
use super::checkpoint::Checkpoint;
use super::checkpoint::Checkpoints;
use super::checkpoint::ReadMark;
use super::convert::Converted;
use super::resume;
use super::resume::Located;
use super::sink::Sink;
use super::source::After;
use super::source::Chain;
use super::source::Source;

/// Chunks of one step, so that a busy container leaves the worker to others.
const CHUNKS: usize = 8;
/// Between two checkpoints of a busy container.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// Between two attempts to write to a full disk: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// Files of Docker's that are held open: enough to lose none while it rotates fast, but while the CRI file takes
/// nothing, no more of what Docker has removed already than the file being read and the next.
const HELD: usize = 16;
const HELD_STALLED: usize = 2;

/// When a follower wants its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// At once, after others had their turn.
    Again,
    /// When Docker writes.
    Idle,
    At(Instant),
    /// Never.
    Done,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Follower {
    id: String,
    place: Place,
    checkpoints: Arc<Checkpoints>,
    stage: Stage,
    stall: Option<Stall>,
}

#[derive(Debug)]
enum Stage {
    /// The position has to be found first.
    Resuming(Option<Checkpoint>),
    Following(Box<Following>),
    Closed,
}

/// Why nothing can be written, and since when.
#[derive(Debug)]
struct Stall {
    reason: String,
    since: Instant,
    /// How much was done when it began.
    copied: u64,
    retry: Duration,
    due: Instant,
}

impl Follower {
    /// Begins a log that has no checkpoint: the CRI file is there when this returns.
    pub(super) fn begin(id: &str, place: &Place, checkpoints: &Arc<Checkpoints>) -> Result<Follower, Error> {
        let opened = Sink::open(place)?;
        let mut follower = Follower::resuming(id, place, checkpoints, None);
        let nowhere = Located { files: VecDeque::new(), offset: 0, gap: false };
        let mut following = Following::new(&follower, opened.sink, nowhere, None);
        following.save(false)?;
        follower.stage = Stage::Following(Box::new(following));
        Ok(follower)
    }

    /// A follower that finds its position in its first step.
    pub(super) fn resuming(
        id: &str,
        place: &Place,
        checkpoints: &Arc<Checkpoints>,
        checkpoint: Option<Checkpoint>,
    ) -> Follower {
        Follower {
            id: id.to_owned(),
            place: place.clone(),
            checkpoints: Arc::clone(checkpoints),
            stage: Stage::Resuming(checkpoint),
            stall: None,
        }
    }

    /// Why the CRI file cannot be written now.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.stall.as_ref().map(|stall| stall.reason.as_str())
    }

    /// Since when nothing could be written; `None` when it can.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stall.as_ref().map(|stall| stall.since)
    }

    /// How many bytes of Docker's were done with, so that two looks tell whether the log gets on.
    pub(super) fn copied(&self) -> u64 {
        match &self.stage {
            Stage::Following(following) => following.copied,
            _ => 0,
        }
    }

    /// Finds the position, if that was not done yet.
    pub(super) fn resume(&mut self, scratch: &mut Scratch) -> Result<(), Error> {
        let Stage::Resuming(checkpoint) = &self.stage else { return Ok(()) };
        let checkpoint = checkpoint.clone();
        let mut sink = Sink::open(&self.place)?.sink;
        let chain = Chain::new(&self.place.docker_file);
        let named = checkpoint.as_ref().map(|checkpoint| checkpoint.written.file).filter(|file| *file != sink.id);
        let mut renamed = named.and_then(|file| Sink::find(&self.place, file));
        // Without the file that was written last, one in its place may be a copy of it.
        let copied = sink.len().map_err(Error::io("look at", &self.place.cri_file()))? > 0;
        let last = match &mut renamed {
            None if named.is_none() || copied => Some(&mut sink),
            other => other.as_mut(),
        };
        let located = resume::locate(&chain, checkpoint.as_ref(), last, scratch).map_err(self.reading())?;
        if located.gap {
            let until = resume::first_time(located.files.front(), located.offset, scratch);
            let last_line = renamed.as_ref().unwrap_or(&sink).last_line().ok().flatten();
            let from = last_line.and_then(|line| line_time(&line));
            let from = from.or_else(|| checkpoint.as_ref().map(|checkpoint| checkpoint.last_time.clone()));
            warn_of_gap(&self.id, &from.unwrap_or_default(), until);
        }
        let mut following = Following::new(self, sink, located, checkpoint);
        following.save(false)?;
        tracing::debug!(container = self.id, offset = following.offset, "resumed a log");
        self.stage = Stage::Following(Box::new(following));
        Ok(())
    }

    /// Takes what Docker has written. With `ending` nothing more will come, and the log is closed at its end.
    pub(super) fn step(&mut self, scratch: &mut Scratch, ending: bool) -> Next {
        if let Some(stall) = &self.stall
            && Instant::now() < stall.due
        {
            let due = stall.due;
            if let Stage::Following(following) = &mut self.stage {
                // Docker may rotate meanwhile; a failed look is repeated with the next step.
                let _ = following.notice(HELD_STALLED);
            }
            return Next::At(due);
        }
        let outcome = self.resume(scratch).and_then(|()| match &mut self.stage {
            Stage::Following(following) => following.copy(scratch, ending),
            _ => Ok(Next::Done),
        });
        match outcome {
            Ok(next) => {
                if let Some(stall) = self.stall.take() {
                    tracing::info!(container = self.id, after = stall.reason, "the log goes on");
                }
                if next == Next::Done {
                    self.close();
                }
                next
            }
            Err(error) => Next::At(self.stalled(&error)),
        }
    }

    fn stalled(&mut self, error: &Error) -> Instant {
        let reason = error.to_string();
        let (now, copied) = (Instant::now(), self.copied());
        let retry = self.stall.as_ref().map_or(RETRY_FIRST, |stall| (stall.retry * 2).min(RETRY_LAST));
        let since = self.stall.as_ref().filter(|stall| stall.copied == copied).map_or(now, |stall| stall.since);
        if self.stall.as_ref().is_none_or(|stall| stall.reason != reason) {
            tracing::warn!(
                container = self.id,
                reason,
                "a log cannot go on; it is tried again, and Docker keeps what comes"
            );
        }
        let due = now + retry;
        self.stall = Some(Stall { reason, since, copied, retry, due });
        due
    }

    /// Goes on in a new file at the same path. On an error all is as it was.
    pub(super) fn reopen(&mut self, scratch: &mut Scratch) -> Result<(), Error> {
        self.resume(scratch)?;
        match &mut self.stage {
            Stage::Following(following) => following.reopen()?,
            _ => return Err(Error::NotFollowed { id: self.id.clone() }),
        }
        // The new file may be where there is space.
        self.stall = None;
        Ok(())
    }

    /// Notes the position for the next process.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        match &mut self.stage {
            Stage::Following(following) => following.save(false),
            _ => Ok(()),
        }
    }

    /// Closes all files. What was not taken yet never will be.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Closed;
    }

    fn reading(&self) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::io("read", &self.place.docker_file)
    }
}

/// A log whose position is known.
#[derive(Debug)]
struct Following {
    id: String,
    place: Place,
    checkpoints: Arc<Checkpoints>,
    chain: Chain,
    sink: Sink,
    /// The file being read, and those that came after it.
    files: VecDeque<Source>,
    /// Files whose predecessor may have been missed.
    after_gap: VecDeque<bool>,
    offset: u64,
    /// Bytes of all files that were done with.
    copied: u64,
    /// The last position after a record, for the checkpoint.
    read: Option<ReadMark>,
    last_time: String,
    saved_at: Instant,
    save_failed: bool,
}

impl Following {
    fn new(owner: &Follower, sink: Sink, at: Located, checkpoint: Option<Checkpoint>) -> Following {
        let (read, last_time) = checkpoint.map(|known| (known.read, known.last_time)).unwrap_or_default();
        Following {
            id: owner.id.clone(),
            place: owner.place.clone(),
            checkpoints: Arc::clone(&owner.checkpoints),
            chain: Chain::new(&owner.place.docker_file),
            sink,
            after_gap: at.files.iter().map(|_| false).collect(),
            files: at.files,
            offset: at.offset,
            copied: 0,
            read,
            last_time,
            saved_at: Instant::now(),
            save_failed: false,
        }
    }

    fn copy(&mut self, scratch: &mut Scratch, ending: bool) -> Result<Next, Error> {
        for _ in 0..CHUNKS {
            // Before the read: a file that has a successor now was complete before that read.
            self.notice(HELD).map_err(self.reading())?;
            let Some(source) = self.files.front() else {
                return Ok(if ending { self.finish() } else { Next::Idle });
            };
            let done = scratch.fill(source, self.offset, u64::MAX).map_err(self.reading())?;
            if done.consumed > 0 {
                self.write(scratch, done)?;
            } else if source.len().map_err(self.reading())? < self.offset {
                tracing::warn!(
                    container = self.id,
                    since = self.last_time,
                    "Docker's log was cut short by somebody; going on at its beginning"
                );
                self.offset = 0;
            } else if self.files.len() > 1 {
                self.leave_file(scratch);
            } else {
                return Ok(if ending { self.finish() } else { Next::Idle });
            }
        }
        Ok(Next::Again)
    }

    /// Appends the lines that `scratch` has, and goes on behind their records.
    fn write(&mut self, scratch: &mut Scratch, done: Converted) -> Result<(), Error> {
        match self.sink.append(&scratch.output) {
            Ok(()) => self.advance(done),
            Err(short) => {
                if let Some(source) = self.files.front()
                    && short.lines > 0
                {
                    let part = scratch.fill(source, self.offset, short.lines).map_err(self.reading())?;
                    self.advance(part);
                }
                return Err(Error::io("write", &self.place.cri_file())(short.source));
            }
        }
        if self.saved_at.elapsed() >= SAVE_EVERY {
            self.save_or_warn(false);
        }
        Ok(())
    }

    fn advance(&mut self, done: Converted) {
        if let Some((at, count)) = done.damaged {
            let offset = self.offset + at as u64;
            tracing::warn!(
                container = self.id,
                offset,
                count,
                "Docker's log is damaged; what is no record was left out"
            );
        }
        self.offset += done.consumed as u64;
        self.copied += done.consumed as u64;
        if let Some(time) = done.last_time {
            self.last_time = time;
        }
    }

    /// Looks whether Docker writes another file by now.
    fn notice(&mut self, limit: usize) -> io::Result<()> {
        let Some(newest) = self.chain.newest()? else { return Ok(()) };
        let (files, gap) = match self.files.back() {
            Some(last) if last.id == newest || self.files.len() >= limit => return Ok(()),
            Some(last) => match self.chain.after(last.id)? {
                After::These(files) => (files, false),
                After::Broken(files) => (files, true),
            },
            None => (self.chain.all()?, false),
        };
        let room = limit - self.files.len();
        for (index, file) in files.into_iter().take(room).enumerate() {
            self.files.push_back(file);
            self.after_gap.push_back(gap && index == 0);
        }
        Ok(())
    }

    /// Leaves a file that was read to its end. The checkpoint names that end until something of the next file is
    /// done: an empty position would not tell which file it is in.
    fn leave_file(&mut self, scratch: &mut Scratch) {
        self.warn_of_tail();
        self.save_or_warn(false);
        self.files.pop_front();
        self.after_gap.pop_front();
        self.offset = 0;
        if self.after_gap.front() == Some(&true) {
            let until = resume::first_time(self.files.front(), 0, scratch);
            warn_of_gap(&self.id, &self.last_time, until);
        }
    }

    fn finish(&mut self) -> Next {
        self.warn_of_tail();
        self.save_or_warn(true);
        Next::Done
    }

    /// Docker was cut off in a record and wrote nothing after it.
    fn warn_of_tail(&self) {
        let length = self.files.front().and_then(|source| source.len().ok()).unwrap_or(0);
        if length > self.offset {
            let bytes = length - self.offset;
            tracing::warn!(
                container = self.id,
                offset = self.offset,
                bytes,
                "Docker's log ends in the middle of a record, which was left out"
            );
        }
    }

    fn save(&mut self, finished: bool) -> Result<(), Error> {
        if let Some(source) = self.files.front()
            && self.offset > 0
        {
            self.read = Some(ReadMark::new(source, self.offset).map_err(self.reading())?);
        }
        let written = self.sink.mark().map_err(Error::io("look at", &self.place.cri_file()))?;
        let mut checkpoint = Checkpoint::new(self.place.clone(), written);
        checkpoint.read.clone_from(&self.read);
        checkpoint.last_time.clone_from(&self.last_time);
        checkpoint.finished = finished;
        self.saved_at = Instant::now();
        self.checkpoints.write(&self.id, &checkpoint)
    }

    /// The log goes on without: an old checkpoint only means that more is counted.
    fn save_or_warn(&mut self, finished: bool) {
        let outcome = self.save(finished);
        if let Err(error) = &outcome
            && !self.save_failed
        {
            tracing::warn!(container = self.id, %error, "could not note how far a log got");
        }
        self.save_failed = outcome.is_err();
    }

    fn reopen(&mut self) -> Result<(), Error> {
        // If we are killed between the new file and the note of it, nothing is to be counted in the old one.
        self.save(false)?;
        let mut opened = Sink::open(&self.place)?;
        if opened.sink.id == self.sink.id {
            return Ok(());
        }
        std::mem::swap(&mut self.sink, &mut opened.sink);
        if let Err(error) = self.save(false) {
            std::mem::swap(&mut self.sink, &mut opened.sink);
            opened.undo();
            return Err(error);
        }
        Ok(())
    }

    fn reading(&self) -> impl Fn(io::Error) -> Error + use<> {
        let path = self.place.docker_file.clone();
        move |source| Error::Io { doing: "read", path: path.clone(), source }
    }
}

fn line_time(line: &[u8]) -> Option<String> {
    let end = memchr::memchr(b' ', line)?;
    Some(String::from_utf8_lossy(&line[..end]).into_owned())
}

fn warn_of_gap(id: &str, from: &str, until: Option<String>) {
    let until = until.unwrap_or_else(|| "now".to_owned());
    tracing::warn!(
        container = id,
        from,
        until,
        "a log has a gap: Docker keeps no more of it than container-log-max-size and container-log-max-files say, and has dropped lines between these times"
    );
}
