//! Hijacked connections: after `101 UPGRADED` a connection carries a process's input one way and its output the other.

use std::io;

use bollard::errors::Error as Bollard;
use bytes::Bytes;
use bytes::BytesMut;
use http::StatusCode;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::OwnedWriteHalf;

use super::Error;
use super::demux::Demux;
use super::demux::Source;
use super::transport::success;

/// How many bytes are read at once: the capacity of a pipe (pipe(7)).
const READ_SIZE: usize = 64 << 10;

/// A process's input and output.
#[derive(Debug)]
pub struct Hijacked {
    /// Standard input.
    pub input: Input,
    /// Standard output and standard error.
    pub output: Output,
}

/// A process's standard input. Dropping it has the effect of [`Input::close`].
#[derive(Debug)]
pub struct Input(OwnedWriteHalf);

/// A process's output, until Docker closes the connection.
#[derive(Debug)]
pub struct Output {
    /// The exec or container, for messages.
    object: String,
    connection: OwnedReadHalf,
    received: BytesMut,
    demux: Option<Demux>,
}

impl Hijacked {
    /// Takes over the connection behind an answer about the exec or container `object`. `terminal`: the process has
    /// one, and its output is not multiplexed.
    pub(super) async fn from_answer(
        answer: http::Response<Incoming>,
        object: &str,
        terminal: bool,
    ) -> Result<Hijacked, Bollard> {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status_code = success(answer).await?.status().as_u16();
            let message = "Docker did not hijack the connection".to_owned();
            return Err(Bollard::DockerResponseServerError { status_code, message });
        }
        let upgraded = hyper::upgrade::on(answer).await?;
        // The transport makes connections of this type only.
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .map_err(|_| io::Error::other("the connection is not a unix socket"))?;
        let (read, write) = parts.io.into_inner().into_split();
        let output = Output {
            object: object.to_owned(),
            connection: read,
            received: BytesMut::from(&*parts.read_buf),
            demux: (!terminal).then(Demux::default),
        };
        Ok(Hijacked { input: Input(write), output })
    }
}

impl Input {
    /// Writes bytes to the process; waits while it does not read.
    ///
    /// # Errors
    /// When the process has exited or Docker is down.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Closes the input: the process reads end-of-file after what was written.
    pub async fn close(&mut self) {
        // It fails only when the connection is closed already.
        let _ = self.0.shutdown().await;
    }
}

impl Output {
    /// The next piece of output; `None` after the last. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Cause::Unavailable`](super::Cause::Unavailable) when the connection breaks, or its content is malformed.
    pub async fn next(&mut self) -> Result<Option<(Source, Bytes)>, Error> {
        self.receive().await.map_err(|source| Error::unavailable("read the output of", &self.object, source))
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
