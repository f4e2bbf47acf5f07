//! Exec and attach sessions: a client's channels joined to a process, until one of them ends.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use crate::container::Command;
use crate::container::CommandEnd;
use crate::container::Containers;
use crate::docker::ExecSpec;
use crate::docker::Hijacked;
use crate::docker::Input;
use crate::docker::Output;
use crate::docker::Source;
use crate::docker::TerminalSize;
use crate::error::Error;

use super::channels::Gone;
use super::channels::Piece;
use super::channels::Presence;
use super::channels::Reader;
use super::channels::Writer;
use super::verdict::Verdict;
use super::verdict::Wording;

/// A message about a size is two small numbers; what grows beyond this is none.
const RESIZE_LIMIT: usize = 4 << 10;
/// How much of a command's output is kept for a client that is slow.
const READ_AHEAD: usize = 4 << 20;
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
    let (command, io) = match containers.begin_command(container, spec).await {
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
        ended = listen(&mut output, &channels, containers.left_behind(&joined.record.id)) => ended,
        () = channels.presence.lost() => Err(Gone),
        never = feed(stdin, &mut input, !(config.stdin_once && config.tty)) => match never {},
        never = follow_sizes(resize, Terminal::Container(containers, &joined.record.id)) => match never {},
    };
    match ended {
        Ok(verdict) => channels.conclude(&verdict).await,
        Err(Gone) => channels.cut_off().await,
    }
}

/// Passes on a command's output and learns how it ended. Output is read ahead of a client that is slow: Docker waits two
/// seconds for what a command has left when it ends, and then throws it away.
async fn run_to_end(command: &Command, output: &mut Output, channels: &Channels) -> Result<Verdict, Gone> {
    let (mut waiting, mut held) = (VecDeque::new(), 0);
    let mut complete = false;
    while !complete || !waiting.is_empty() {
        tokio::select! {
            piece = command.next(output), if !complete && held < READ_AHEAD => match piece {
                Ok(Some((source, bytes))) => {
                    held += bytes.len();
                    waiting.push_back((source, bytes));
                }
                Ok(None) => complete = true,
                Err(error) => return Ok(Verdict::Failure(error.to_string())),
            },
            written = channels.write(waiting.front()), if !waiting.is_empty() => {
                written?;
                held -= waiting.pop_front().map_or(0, |(_, bytes): (Source, Bytes)| bytes.len());
            }
        }
    }
    Ok(match command.ended().await {
        // The reason why it never ran was its output.
        Ok(CommandEnd::Exited(code) | CommandEnd::NeverRan(code)) => Verdict::of_exit(code),
        Err(error) => Verdict::Failure(error.to_string()),
    })
}

/// Passes on a container's output until Docker ends it, or until nothing comes any more once it is `over`.
async fn listen(output: &mut Output, channels: &Channels, over: impl Future<Output = ()>) -> Result<Verdict, Gone> {
    let mut over = pin!(over);
    loop {
        let piece = tokio::select! {
            biased;
            piece = output.next() => piece,
            () = &mut over => return Ok(Verdict::Success),
        };
        match piece {
            Ok(Some(piece)) => channels.write(Some(&piece)).await?,
            Ok(None) => return Ok(Verdict::Success),
            Err(error) => return Ok(Verdict::Failure(error.to_string())),
        }
    }
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
    Command(&'a Command),
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
    use super::*;

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
