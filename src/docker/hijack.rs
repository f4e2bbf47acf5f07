//! Connections that Docker gives over: after `101 UPGRADED` they carry a process's input one way and its output the
//! other.

use std::io;

use bollard::errors::Error as Bollard;
use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::StatusCode;
use hyper::body::Incoming;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::OwnedWriteHalf;

use super::Error;
use super::system::success;
use super::transport::UnixConnection;

/// How much is read at once: what a pipe holds.
const READ_SIZE: usize = 64 << 10;
/// Docker puts one before each piece of output of a process without a terminal: the source, three zeros, and the
/// length as a big-endian number.
const HEADER: usize = 8;

/// Which output of a process a piece is from. One with a terminal has only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

/// A process's input and output.
#[derive(Debug)]
pub struct Hijacked {
    pub input: Input,
    pub output: Output,
}

/// A process's standard input. Dropping it closes it, as [`Input::close`] does.
#[derive(Debug)]
pub struct Input(OwnedWriteHalf);

/// A process's output, until Docker closes the connection.
#[derive(Debug)]
pub struct Output {
    /// The command or container, for messages.
    of: String,
    connection: OwnedReadHalf,
    received: BytesMut,
    demux: Option<Demux>,
}

impl Hijacked {
    /// Takes over the connection behind an answer about the command or container `of`. `terminal`: the process has one,
    /// and its output is not divided into pieces.
    pub(super) async fn from_answer(
        answer: http::Response<Incoming>,
        of: &str,
        terminal: bool,
    ) -> Result<Hijacked, Bollard> {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status_code = success(answer).await?.status().as_u16();
            let message = "the connection was not given over".to_owned();
            return Err(Bollard::DockerResponseServerError { status_code, message });
        }
        let upgraded = hyper::upgrade::on(answer).await?;
        // This program opened the connection, so it is of no other type.
        let parts = upgraded
            .downcast::<UnixConnection>()
            .map_err(|_| io::Error::other("the connection is not a unix socket"))?;
        let (read, write) = parts.io.into_inner().into_split();
        let output = Output {
            of: of.to_owned(),
            connection: read,
            received: BytesMut::from(&*parts.read_buf),
            demux: (!terminal).then(Demux::default),
        };
        Ok(Hijacked { input: Input(write), output })
    }
}

impl Input {
    /// Hands bytes to the process; waits while it does not read.
    ///
    /// # Errors
    /// When the process, or Docker, is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// The process reads the end of its input after what was written.
    pub async fn close(&mut self) {
        // It fails only when there is nobody left to tell.
        let _ = self.0.shutdown().await;
    }
}

impl Output {
    /// The next piece; `None` after the last. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection breaks, or what comes is not Docker's format.
    pub async fn next(&mut self) -> Result<Option<(Source, Bytes)>, Error> {
        self.receive().await.map_err(|source| Error::unavailable("read the output of", &self.of, source))
    }

    async fn receive(&mut self) -> io::Result<Option<(Source, Bytes)>> {
        loop {
            let piece = match &mut self.demux {
                Some(demux) => demux.take(&mut self.received)?,
                None if self.received.is_empty() => None,
                None => Some((Source::Stdout, self.received.split().freeze())),
            };
            if piece.is_some() {
                return Ok(piece);
            }
            self.received.reserve(READ_SIZE);
            if self.connection.read_buf(&mut self.received).await? == 0 {
                return match self.demux.as_ref().is_some_and(Demux::is_within) || !self.received.is_empty() {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => Ok(None),
                };
            }
        }
    }
}

/// Takes pieces of output apart from their headers. A piece is given on as it comes, not when it is complete: its
/// length says nothing of how soon the rest follows.
#[derive(Debug, Default)]
pub(super) struct Demux {
    /// The piece that is being received, and how much of it is to come.
    current: Option<(Source, usize)>,
}

impl Demux {
    /// The next bytes of output at the front of `received`.
    pub(super) fn take(&mut self, received: &mut BytesMut) -> io::Result<Option<(Source, Bytes)>> {
        loop {
            match self.current {
                Some((_, 0)) => self.current = None,
                Some(_) if received.is_empty() => return Ok(None),
                Some((source, left)) => {
                    let bytes = received.split_to(left.min(received.len())).freeze();
                    self.current = Some((source, left - bytes.len()));
                    return Ok(Some((source, bytes)));
                }
                None if received.len() < HEADER => return Ok(None),
                None => self.current = Some(header(received)?),
            }
        }
    }

    fn is_within(&self) -> bool {
        self.current.is_some_and(|(_, left)| left > 0)
    }
}

fn header(received: &mut BytesMut) -> io::Result<(Source, usize)> {
    let source = received.get_u8();
    received.advance(3);
    let length = received.get_u32();
    let source = match source {
        // Input that is echoed is output like any other.
        0 | 1 => Source::Stdout,
        2 => Source::Stderr,
        other => {
            let words = format!("Docker sent output of an unknown kind, {other}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
    };
    Ok((source, usize::try_from(length).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn pieces_come_out_whatever_way_they_were_cut() {
        let sent = [piece(1, "hello "), piece(2, "warning"), piece(1, ""), piece(1, "world")].concat();
        for chunk in 1..sent.len() {
            let (mut demux, mut received) = (Demux::default(), BytesMut::new());
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for bytes in sent.chunks(chunk) {
                received.extend_from_slice(bytes);
                while let Some((source, bytes)) = demux.take(&mut received).unwrap() {
                    match source {
                        Source::Stdout => stdout.extend(bytes),
                        Source::Stderr => stderr.extend(bytes),
                    }
                }
            }
            assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"hello world"[..], &b"warning"[..]));
            assert!(!demux.is_within() && received.is_empty());
        }
    }

    #[test]
    fn what_is_not_dockers_format_is_an_error() {
        let mut received = BytesMut::from(&piece(9, "x")[..]);
        assert!(Demux::default().take(&mut received).is_err());
    }
}
