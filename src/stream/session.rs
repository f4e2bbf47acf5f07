//! Exec and attach sessions: a client's channels joined to a process, until one of them ends.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream::try_unfold;
use serde::Deserialize;
use tokio::time::timeout;

use crate::container::Containers;
use crate::container::ExecOutcome;
use crate::container::ExecProcess;
use crate::container::ProcessState;
use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::Input;
use crate::docker::Output;
use crate::docker::Source;
use crate::docker::TerminalSize;
use crate::error::Error;
use crate::state::Container;

use super::channels::Gone;
use super::channels::Piece;
use super::channels::Presence;
use super::channels::Reader;
use super::channels::Writer;
use super::verdict::Verdict;
use super::verdict::Wording;

/// A message about a size is two small numbers; what grows beyond this is none.
const RESIZE_LIMIT: usize = 4 << 10;
/// How much output is kept for a client that is slow.
const READ_AHEAD: usize = 4 << 20;
/// How much is kept when the process has ended: what Docker has of it is some megabytes, but what the process left behind
/// may go on writing for a while.
const REST_LIMIT: usize = 20 << 20;
/// With so much kept, the process is looked for: early, as Docker does not tell which it is while it clears up after it.
const LOOK_FROM: usize = READ_AHEAD / 4;
/// What a piece costs besides its bytes.
const PIECE_COST: usize = 64;
/// How long a terminal may take to be resized before the next size is looked at.
const RESIZE_DEADLINE: Duration = Duration::from_secs(10);

/// What a client has open.
pub(super) struct Channels {
    pub(super) stdin: Option<Reader>,
    pub(super) stdout: Option<Writer>,
    pub(super) stderr: Option<Writer>,
    pub(super) resize: Option<Reader>,
    pub(super) error: Writer,
    pub(super) wording: Wording,
    pub(super) presence: Presence,
}

/// Runs a command for a client. One whose client goes away reads the end of its input; with a terminal, it is hung up.
pub(super) async fn exec(containers: &Containers, container: &str, spec: &ExecSpec, mut channels: Channels) {
    let (command, io) = match containers.start_exec(container, spec).await {
        Ok(begun) => begun,
        Err(error) => return channels.conclude(&Verdict::Failure(error.to_string())).await,
    };
    let Hijacked { mut input, mut output } = io;
    let (stdin, resize) = (channels.stdin.take(), channels.resize.take());
    let ended = tokio::select! {
        ended = run_to_end(&command, &mut output, &channels) => ended,
        () = channels.presence.lost() => Err(Gone),
        never = feed(stdin, &mut input, !spec.terminal) => match never {},
        never = follow_sizes(resize, Terminal::Command(&command)) => match never {},
    };
    match ended {
        Ok(verdict) => channels.conclude(&verdict).await,
        Err(Gone) => {
            drop(input);
            if spec.terminal {
                command.hang_up().await;
            }
            channels.cut_off().await;
        }
    }
}

/// Joins a client to a container's own process. It goes on when the client leaves.
pub(super) async fn attach(containers: &Containers, container: &str, spec: &ExecSpec, mut channels: Channels) {
    let (joined, io) = match containers.attach(container, spec).await {
        Ok(joined) => joined,
        Err(error) => return channels.conclude(&Verdict::Failure(error.to_string())).await,
    };
    let Hijacked { mut input, mut output } = io;
    let config = &joined.record.config;
    let (stdin, resize) = (channels.stdin.take(), channels.resize.take());
    let ended = tokio::select! {
        ended = listen(containers, &joined, &mut output, &channels) => ended,
        () = channels.presence.lost() => Err(Gone),
        never = feed(stdin, &mut input, !(config.stdin_once && config.tty)) => match never {},
        never = follow_sizes(resize, Terminal::Container(containers, &joined.record.id)) => match never {},
    };
    match ended {
        Ok(verdict) => channels.conclude(&verdict).await,
        Err(Gone) => channels.cut_off().await,
    }
}

/// Passes on a command's output and learns how it ended.
async fn run_to_end(command: &ExecProcess, output: &mut Output, channels: &Channels) -> Result<Verdict, Gone> {
    let pieces = try_unfold(output, |output| async move {
        let piece = command.next_output(output).await?;
        Ok::<_, Error>(piece.map(|piece| (piece, output)))
    });
    if let Some(failure) = pass_on(pieces, command.states(), channels).await? {
        return Ok(failure);
    }
    Ok(match command.outcome().await {
        // The reason why it never ran was its output.
        Ok(ExecOutcome::Exited(code) | ExecOutcome::NotStarted(code)) => Verdict::of_exit(code),
        Err(error) => Verdict::Failure(error.to_string()),
    })
}

/// Passes on a container's output until Docker ends it, or until nothing comes any more once the container has ended.
async fn listen(
    containers: &Containers,
    container: &Container,
    output: &mut Output,
    channels: &Channels,
) -> Result<Verdict, Gone> {
    let left_behind = Box::pin(containers.output_drain_deadline(&container.record.id));
    let pieces = try_unfold((output, left_behind), |(output, mut left_behind)| async move {
        let piece = tokio::select! {
            biased;
            piece = output.next() => piece?,
            () = &mut left_behind => None,
        };
        Ok::<_, Error>(piece.map(|piece| (piece, (output, left_behind))))
    });
    let failure = pass_on(pieces, containers.process_states(container), channels).await?;
    Ok(failure.unwrap_or(Verdict::Success))
}

/// Passes on output until there is no more; returns what went wrong. `lives` tells what becomes of the process.
///
/// Output is read ahead of a client that is slow, and when that is too much, the process waits for the client. But Docker
/// gets to the process's end only when its last output is taken, and it throws away what is not taken in two seconds. So
/// from the end on, all of the rest is read.
async fn pass_on(
    pieces: impl Stream<Item = Result<(Source, Bytes), Error>>,
    lives: impl Stream<Item = ProcessState>,
    channels: &Channels,
) -> Result<Option<Verdict>, Gone> {
    let (mut pieces, mut lives) = (pin!(pieces), pin!(lives));
    let (mut waiting, mut held, mut lost) = (VecDeque::new(), 0, 0);
    let (mut complete, mut failure, mut life) = (false, None, None);
    while !complete || !waiting.is_empty() {
        let limit = match life {
            Some(ProcessState::Running) => READ_AHEAD,
            // It may have ended: nothing is thrown away for that, and there is some room.
            None => REST_LIMIT,
            Some(ProcessState::Exited) => usize::MAX,
        };
        tokio::select! {
            piece = pieces.next(), if !complete && held < limit => match piece {
                Some(Ok((_, bytes))) if lost > 0 || held >= REST_LIMIT => lost += bytes.len(),
                Some(Ok((source, bytes))) => {
                    held += bytes.len() + PIECE_COST;
                    waiting.push_back((source, bytes));
                }
                None => complete = true,
                Some(Err(error)) => (complete, failure) = (true, Some(error.to_string())),
            },
            written = channels.write(waiting.front()), if !waiting.is_empty() => {
                written?;
                held -= waiting.pop_front().map_or(0, |(_, bytes): (Source, Bytes)| bytes.len() + PIECE_COST);
            }
            Some(now) = lives.next(), if held >= LOOK_FROM && !complete && life != Some(ProcessState::Exited) => life = Some(now),
        }
    }
    let words =
        || format!("the last {lost} bytes of output were lost: the client did not take what came before in time");
    Ok(failure.or_else(|| (lost > 0).then(words)).map(Verdict::Failure))
}

/// Passes on what the client types. Afterwards the process goes on, so this does not return.
///
/// `close`: Docker is told where the client's input ends. A command without a terminal, and a container that takes input
/// once, read the end there; from a container whose input stays open for the next client, Docker cuts this one off, which
/// is what `kubectl run --leave-stdin-open` waits for. With a terminal the output could be cut off too early.
async fn feed(stdin: Option<Reader>, input: &mut Input, close: bool) -> Infallible {
    if let Some(mut stdin) = stdin {
        while let Piece::Data(bytes) = stdin.next().await {
            if input.write(&bytes).await.is_err() {
                break;
            }
        }
        if close {
            input.close().await;
        }
    }
    std::future::pending().await
}

/// Passes on the sizes of the client's terminal, those that come before the process has begun included.
async fn follow_sizes(sizes: Option<Reader>, terminal: Terminal<'_>) -> Infallible {
    if let Some(mut sizes) = sizes {
        let mut received = Vec::new();
        while let Piece::Data(bytes) = sizes.next().await {
            received.extend_from_slice(&bytes);
            for size in take_sizes(&mut received) {
                match timeout(RESIZE_DEADLINE, terminal.resize(size)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "could not resize a terminal"),
                    Err(_) => tracing::debug!("a terminal was not resized in time"),
                }
            }
        }
    }
    std::future::pending().await
}

/// Whose terminal is resized.
enum Terminal<'a> {
    Command(&'a ExecProcess),
    Container(&'a Containers, &'a str),
}

impl Terminal<'_> {
    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        match self {
            Terminal::Command(command) => command.resize(size).await,
            Terminal::Container(containers, id) => containers.resize(id, size).await,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// The sizes at the front of `received`: JSON objects, one after the other. A size of zero is that of no terminal.
fn take_sizes(received: &mut Vec<u8>) -> Vec<TerminalSize> {
    let mut objects = serde_json::Deserializer::from_slice(received).into_iter::<Size>();
    let mut sizes = Vec::new();
    let broken = loop {
        match objects.next() {
            Some(Ok(Size { width, height })) if width > 0 && height > 0 => sizes.push(TerminalSize { width, height }),
            Some(Ok(_)) => {}
            Some(Err(error)) if error.is_eof() => break false,
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    let used = objects.byte_offset();
    if broken || received.len() - used > RESIZE_LIMIT {
        received.clear();
    } else {
        received.drain(..used);
    }
    sizes
}

impl Channels {
    /// Waits while the client does not read. When the future is dropped, the piece was not written.
    async fn write(&self, piece: Option<&(Source, Bytes)>) -> Result<(), Gone> {
        let (channel, bytes) = match piece {
            Some((Source::Stdout, bytes)) => (&self.stdout, bytes),
            Some((Source::Stderr, bytes)) => (&self.stderr, bytes),
            None => return Ok(()),
        };
        match channel {
            Some(channel) => channel.write(bytes.clone()).await,
            None => Ok(()),
        }
    }

    /// For a client that is still there when its session ends before the process; one that left does not hear it. Without
    /// a word, clients would take the end of the connection for success.
    async fn cut_off(&self) {
        let reason = self.presence.reason();
        self.conclude(&Verdict::Failure(format!("the session was ended before the process: {reason}"))).await;
    }

    /// Ends the outputs, and says how the session ended.
    pub(super) async fn conclude(&self, verdict: &Verdict) {
        for output in [&self.stdout, &self.stderr].into_iter().flatten() {
            output.finish().await;
        }
        let message = verdict.message(self.wording);
        if !message.is_empty() && self.error.write(message).await.is_err() {
            return;
        }
        self.error.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::super::channels;
    use super::super::channels::Driver;
    use super::*;

    const PIECE: usize = 64 << 10;

    /// A client with an output, and what it has of the session.
    fn client() -> (Driver, Channels) {
        let (driver, sessions, presence) = channels::channels(&CancellationToken::new());
        let channels = Channels {
            stdin: None,
            stdout: Some(sessions.writer(1)),
            stderr: None,
            resize: None,
            error: sessions.writer(3),
            wording: Wording::Json,
            presence,
        };
        (driver, channels)
    }

    /// So many pieces of output, and how many of them were asked for.
    fn output(pieces: usize) -> (impl Stream<Item = Result<(Source, Bytes), Error>>, watch::Receiver<usize>) {
        let (taken, all_taken) = watch::channel(0);
        let pieces = futures_util::stream::iter(0..=pieces).filter_map(move |number| {
            taken.send_replace(number);
            let piece = (number < pieces).then(|| Ok((Source::Stdout, Bytes::from_static(&[7; PIECE]))));
            std::future::ready(piece)
        });
        (pieces, all_taken)
    }

    /// Passes on pieces of a process that has ended to a client that reads none until all are taken; returns what went
    /// wrong, and how many it got.
    async fn passed(pieces: usize) -> (Option<Verdict>, usize) {
        let (mut driver, channels) = client();
        let (output, mut taken) = output(pieces);
        let reading = async {
            taken.wait_for(|taken| *taken == pieces).await.unwrap();
            let mut count = 0;
            while let Some(channels::Command::Write(1, bytes)) = driver.commands.recv().await {
                count += 1;
                assert_eq!(bytes.len(), PIECE);
            }
            count
        };
        let passing = async {
            let failure =
                pass_on(output, stream::iter([ProcessState::Running, ProcessState::Exited]), &channels).await.unwrap();
            drop(channels);
            failure
        };
        timeout(Duration::from_secs(10), async { tokio::join!(passing, reading) }).await.unwrap()
    }

    #[tokio::test]
    async fn the_rest_of_a_process_that_has_ended_is_taken_from_docker_at_once() {
        let pieces = 2 * READ_AHEAD / PIECE;
        assert_eq!(passed(pieces).await, (None, pieces));
    }

    #[tokio::test]
    async fn what_is_too_much_for_a_client_that_does_not_read_is_not_lost_in_silence() {
        let pieces = 2 * REST_LIMIT / PIECE;
        let (failure, got) = passed(pieces).await;
        assert!((REST_LIMIT - PIECE..REST_LIMIT + READ_AHEAD).contains(&(got * PIECE)), "{got} pieces");
        let Some(Verdict::Failure(words)) = failure else { panic!("{failure:?}") };
        assert!(words.contains(&format!("{} bytes", (pieces - got) * PIECE)), "{words}");
    }

    #[tokio::test]
    async fn a_process_that_goes_on_waits_for_its_client() {
        let (_driver, channels) = client();
        let (output, taken) = output(2 * REST_LIMIT / PIECE);
        let passing = pass_on(output, stream::iter([ProcessState::Running]).chain(stream::pending()), &channels);
        assert!(timeout(Duration::from_millis(300), passing).await.is_err());
        let taken = *taken.borrow() * PIECE;
        assert!((READ_AHEAD..2 * READ_AHEAD).contains(&taken), "{taken}");
    }

    #[tokio::test]
    async fn a_process_of_which_nothing_is_known_loses_nothing() {
        let (mut driver, channels) = client();
        let (output, taken) = output(2 * REST_LIMIT / PIECE);
        let passing = pass_on(output, stream::pending(), &channels);
        let mut passing = std::pin::pin!(passing);
        assert!(timeout(Duration::from_millis(300), &mut passing).await.is_err());
        let (before, limit) = (*taken.borrow() * PIECE, REST_LIMIT - PIECE..2 * REST_LIMIT);
        assert!(limit.contains(&before), "{before}");
        let reading = async {
            let mut count = 0;
            while count < 2 * REST_LIMIT / PIECE {
                count += usize::from(matches!(driver.commands.recv().await, Some(channels::Command::Write(1, _))));
            }
        };
        let (failure, ()) = timeout(Duration::from_secs(10), async { tokio::join!(passing, reading) }).await.unwrap();
        assert_eq!(failure.unwrap(), None);
    }

    #[tokio::test]
    async fn what_came_before_docker_went_away_is_passed_on() {
        let (mut driver, channels) = client();
        let pieces = stream::iter([
            Ok((Source::Stdout, Bytes::from_static(b"last words"))),
            Err(Error::precondition("container a", "is gone")),
        ]);
        let failure = pass_on(pieces, stream::pending(), &channels).await.unwrap();
        assert_eq!(failure, Some(Verdict::Failure("container a is gone".to_owned())));
        let Some(channels::Command::Write(1, bytes)) = driver.commands.recv().await else { panic!("no output") };
        assert_eq!(bytes, "last words");
    }

    fn sizes(text: &str) -> (Vec<TerminalSize>, String) {
        let mut received = text.as_bytes().to_vec();
        let sizes = take_sizes(&mut received);
        (sizes, String::from_utf8(received).unwrap())
    }

    #[test]
    fn sizes_come_one_after_the_other_and_may_be_cut_anywhere() {
        let (found, rest) = sizes(r#"{"Width":80,"Height":24}{"Width":0,"Height":0}{"Width":120,"Hei"#);
        assert_eq!(found, [TerminalSize { width: 80, height: 24 }]);
        let (found, rest) = sizes(&format!("{rest}ght\":40}}"));
        assert_eq!((found, rest.as_str()), (vec![TerminalSize { width: 120, height: 40 }], ""));
    }

    #[test]
    fn what_is_no_size_is_dropped() {
        assert_eq!(sizes("hello"), (vec![], String::new()));
        assert_eq!(sizes(&format!("{{\"Width\":{}", " ".repeat(RESIZE_LIMIT))), (vec![], String::new()));
    }
}
