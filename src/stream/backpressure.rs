//! Backpressure: how a slow reader makes the writer wait, and how many bytes are held on the way. All limits of a
//! connection are here.
//!
//! # Output: from a process to the client
//!
//! 1. The process writes into a pipe or a terminal. When that is full, the kernel blocks the process.
//! 2. containerd's shim and Docker copy the output to a unix socket. [`docker::Output::next`](crate::docker::Output::next)
//!    reads at most 64 KiB from it, and only when it is polled.
//! 3. [`ExecProcess::next_output`](crate::container::ExecProcess::next_output) (for an exec) and `session::attach` add the
//!    end of the output. They hold nothing; `futures_util::stream::try_unfold` makes a stream of the chunks.
//! 4. `session::output` keeps the chunks in a [`ReadAhead`] and stops reading from Docker at its limit.
//! 5. [`Writer::write`](super::channels::Writer::write) queues a chunk as a frame and waits while [`QUEUED_FRAMES`] are
//!    queued. All channels of the connection share that queue.
//! 6. The SPDY driver takes a frame from the queue while fewer than [`UNSENT_LIMIT`] bytes wait for the socket; the
//!    WebSocket driver takes the next one when the last is written.
//! 7. TCP blocks the socket while the client does not read. Clients' SPDY windows are ignored (see the crate `spdy`).
//!
//! Output of a forwarded port goes the same way from step 5 on; the port's own socket takes the place of steps 1 to 4.
//!
//! # Input: from the client to a process or port
//!
//! The driver reads the socket and reserves room for each message, with [`RECEIVED_OVERHEAD`], in the connection's
//! [`RECEIVED_LIMIT`]. The room is released when the session asks its [`Reader`](super::channels::Reader) for the next
//! message, which it does once the process or port has taken the last one. Without room the driver stops reading, and TCP
//! blocks the client. A SPDY client with flow control gets its window back at the same moment.
//!
//! # The exit of a process
//!
//! Docker handles a process's exit only after its output has been read, and drops what is not read within two seconds. A
//! client that does not read must neither delay the exit of a container nor lose output, so a [`ReadAhead`] no longer
//! waits for the client once the process has exited.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::container::ProcessState;
use crate::docker::Source;
use crate::error::Error;

/// Output held for a slow client while the process runs, in bytes.
pub(super) const READ_AHEAD_RUNNING: usize = 4 << 20;
/// Output held for a slow client when the process has exited, in bytes. Docker holds a few megabytes at that time;
/// processes left in the background may write more.
pub(super) const READ_AHEAD_EXITED: usize = 20 << 20;
/// Bytes held from which on the process's state is watched. This is less than [`READ_AHEAD_RUNNING`], because the pid must
/// be looked up early: Docker does not report it while it handles the exit.
const WATCH_PROCESS_FROM: usize = READ_AHEAD_RUNNING / 4;
/// What a held chunk of output costs in addition to its bytes.
const CHUNK_OVERHEAD: usize = 64;

/// Frames of a connection that are queued for its driver. Each holds at most what one read returned.
pub(super) const QUEUED_FRAMES: usize = 16;
/// Bytes waiting for a SPDY connection's socket above which no frame is taken from the queue.
pub(super) const UNSENT_LIMIT: usize = 256 << 10;
/// Bytes waiting for a SPDY connection's socket above which nothing is read from it: what is read causes replies.
pub(super) const UNSENT_READ_LIMIT: usize = 2 * UNSENT_LIMIT;

/// Received bytes of one connection that its sessions have not consumed yet. One channel that is not read does not
/// block the others until then.
pub(super) const RECEIVED_LIMIT: usize = 8 << 20;
/// What a received message costs in addition to its bytes, so that many small ones take no more memory than a few large
/// ones.
pub(super) const RECEIVED_OVERHEAD: usize = 128;

/// Bytes read at once from a SPDY connection.
pub(super) const CONNECTION_READ_SIZE: usize = 64 << 10;
/// Bytes read at once from a forwarded port.
pub(super) const PORT_READ_SIZE: usize = 32 << 10;

/// Output of a process that was read before the client took it. Decides when to read more, when to watch the process, and
/// what to drop.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    chunks: VecDeque<(Source, Bytes)>,
    /// Bytes of `chunks`, overhead included.
    held: usize,
    /// Bytes that came when there was no room; from the first of them on everything is dropped, so that the client gets
    /// no output with a gap.
    dropped: usize,
    /// The process's state; `None` until it is known.
    process: Option<ProcessState>,
    /// Whether the last chunk has been received.
    complete: bool,
    /// Why reading from Docker failed.
    error: Option<Error>,
}

impl ReadAhead {
    /// Whether to read the next chunk from Docker.
    pub(super) fn wants_output(&self) -> bool {
        let limit = match self.process {
            Some(ProcessState::Running) => READ_AHEAD_RUNNING,
            // It may have exited: there is some room, and nothing may be dropped.
            None => READ_AHEAD_EXITED,
            Some(ProcessState::Exited) => usize::MAX,
        };
        !self.complete && self.held < limit
    }

    /// Whether to wait for the next state of the process.
    pub(super) fn wants_process_state(&self) -> bool {
        self.held >= WATCH_PROCESS_FROM && !self.complete && self.process != Some(ProcessState::Exited)
    }

    /// Adds what Docker returned: a chunk, `None` after the last one, or an error, which is the last as well.
    pub(super) fn receive(&mut self, chunk: Option<Result<(Source, Bytes), Error>>) {
        match chunk {
            Some(Ok((_, bytes))) if self.dropped > 0 || self.held >= READ_AHEAD_EXITED => self.dropped += bytes.len(),
            Some(Ok((source, bytes))) => {
                self.held += bytes.len() + CHUNK_OVERHEAD;
                self.chunks.push_back((source, bytes));
            }
            None => self.complete = true,
            Some(Err(error)) => {
                self.complete = true;
                self.error = Some(error);
            }
        }
    }

    /// Notes the process's new state.
    pub(super) fn set_process_state(&mut self, state: ProcessState) {
        self.process = Some(state);
    }

    /// The chunk to send next.
    pub(super) fn front(&self) -> Option<&(Source, Bytes)> {
        self.chunks.front()
    }

    /// Removes the chunk at the front, which was sent.
    pub(super) fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.chunks.pop_front() {
            self.held -= bytes.len() + CHUNK_OVERHEAD;
        }
    }

    /// Whether everything has been received and sent.
    pub(super) fn is_finished(&self) -> bool {
        self.complete && self.chunks.is_empty()
    }

    /// Why the client did not get all output; `None` when it did.
    pub(super) fn failure(&self) -> Option<String> {
        let dropped = self.dropped;
        let too_slow = || format!("the last {dropped} bytes of output were dropped: the client read too slowly");
        self.error.as_ref().map(Error::to_string).or_else(|| (dropped > 0).then(too_slow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 64 << 10;

    fn chunk(length: usize) -> Option<Result<(Source, Bytes), Error>> {
        Some(Ok((Source::Stdout, Bytes::from(vec![7; length]))))
    }

    /// Receives chunks until no more are wanted, at most `limit` bytes; returns how many bytes that were.
    fn fill(ahead: &mut ReadAhead, limit: usize) -> usize {
        let mut received = 0;
        while ahead.wants_output() && received < limit {
            ahead.receive(chunk(CHUNK));
            received += CHUNK;
        }
        received
    }

    #[test]
    fn output_of_a_running_process_is_held_up_to_a_limit_until_the_client_reads() {
        let mut ahead = ReadAhead::default();
        ahead.set_process_state(ProcessState::Running);
        let received = fill(&mut ahead, usize::MAX);
        assert!((READ_AHEAD_RUNNING - CHUNK..=READ_AHEAD_RUNNING).contains(&received), "{received}");
        ahead.pop_front();
        assert!(ahead.wants_output());
        assert_eq!(ahead.failure(), None);
    }

    #[test]
    fn nothing_is_dropped_while_the_state_of_the_process_is_unknown() {
        let mut ahead = ReadAhead::default();
        let received = fill(&mut ahead, usize::MAX);
        assert!((READ_AHEAD_EXITED - CHUNK..=READ_AHEAD_EXITED).contains(&received), "{received}");
        assert_eq!(ahead.failure(), None);
    }

    #[test]
    fn output_of_an_exited_process_is_read_without_limit_and_dropped_from_one_point_on() {
        let mut ahead = ReadAhead::default();
        ahead.set_process_state(ProcessState::Exited);
        assert_eq!(fill(&mut ahead, 2 * READ_AHEAD_EXITED), 2 * READ_AHEAD_EXITED);
        let held = ahead.chunks.len();
        ahead.pop_front();
        // There is room again, but the output must not have a gap.
        ahead.receive(chunk(1));
        ahead.receive(None);
        assert_eq!(ahead.chunks.len(), held - 1);
        let dropped = 2 * READ_AHEAD_EXITED - held * CHUNK + 1;
        assert!(ahead.failure().is_some_and(|reason| reason.contains(&format!("{dropped} bytes"))));
    }

    #[test]
    fn the_process_is_watched_before_its_output_reaches_the_limit() {
        let mut ahead = ReadAhead::default();
        assert!(!ahead.wants_process_state());
        fill(&mut ahead, WATCH_PROCESS_FROM);
        assert!(ahead.wants_process_state());
        ahead.set_process_state(ProcessState::Running);
        assert!(ahead.wants_process_state());
        ahead.set_process_state(ProcessState::Exited);
        assert!(!ahead.wants_process_state());
    }

    #[test]
    fn small_chunks_count_with_their_overhead() {
        let mut ahead = ReadAhead::default();
        ahead.set_process_state(ProcessState::Running);
        let mut count = 0;
        while ahead.wants_output() {
            ahead.receive(chunk(1));
            count += 1;
        }
        assert!(count <= READ_AHEAD_RUNNING / CHUNK_OVERHEAD, "{count}");
    }

    #[test]
    fn an_error_ends_the_output_after_the_chunks_before_it() {
        let mut ahead = ReadAhead::default();
        ahead.receive(chunk(1));
        ahead.receive(Some(Err(Error::precondition("container a", "is gone"))));
        assert!(!ahead.wants_output() && !ahead.is_finished());
        ahead.pop_front();
        assert!(ahead.is_finished());
        assert_eq!(ahead.failure().as_deref(), Some("container a is gone"));
    }
}
