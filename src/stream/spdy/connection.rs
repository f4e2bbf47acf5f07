//! One SPDY connection: reads from the socket into the protocol's state machine, writes what that wants written, and
//! passes bytes between it and the sessions' channels. Reading and writing never wait for each other.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

use super::Event;
use super::Headers;
use super::ResetStatus;
use super::Session;
use super::StreamId;
use crate::stream::channels::Command;
use crate::stream::channels::Driver;
use crate::stream::channels::Reader;
use crate::stream::channels::Writer;

/// How much is read at once.
const READ_SIZE: usize = 64 << 10;
/// With more than this waiting to be written, sessions wait.
const HIGH_WATER: usize = 256 << 10;
/// How long a client has to take the last bytes, and then to close its side. Closing with unread input would make the
/// kernel reset the connection, and the client could lose the end.
const LINGER: Duration = Duration::from_secs(5);

/// A stream that the client opened, to be accepted or reset.
pub(in crate::stream) struct Opened {
    pub(in crate::stream) id: u32,
    pub(in crate::stream) headers: Headers,
    pub(in crate::stream) reader: Reader,
    pub(in crate::stream) writer: Writer,
}

/// Why a connection ended, when it was not the sessions' end.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client closed the connection")]
    Closed,
    #[error("nothing was sent for {0:?}")]
    Idle(Duration),
    #[error(transparent)]
    Protocol(#[from] super::session::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

struct Connection {
    session: Session,
    driver: Driver,
    opened: mpsc::UnboundedSender<Opened>,
    received: BytesMut,
    /// Data for which there is no room yet.
    held: Option<(StreamId, Bytes, bool)>,
    /// Whether something was written since the last flush: TLS and tunnels keep bytes back until then.
    unflushed: bool,
    /// When data was last sent either way. Pings do not count: clients send them by themselves.
    active: Instant,
}

/// Serves a connection until all sessions have ended, or the client is gone, or nothing was sent for `idle`. Streams that
/// the client opens go to `opened`.
///
pub(in crate::stream) async fn run(
    io: impl AsyncRead + AsyncWrite,
    driver: Driver,
    opened: mpsc::UnboundedSender<Opened>,
    idle: Duration,
) {
    let (mut read, mut write) = tokio::io::split(io);
    let mut connection = Connection {
        session: Session::new(),
        driver,
        opened,
        received: BytesMut::with_capacity(READ_SIZE),
        held: None,
        unflushed: false,
        active: Instant::now(),
    };
    let served = connection.serve(&mut read, &mut write, idle).await;
    match &served {
        Ok(()) => connection.session.go_away(),
        Err(reason) => tracing::debug!(%reason, streams = connection.session.open_streams(), "a SPDY connection ended"),
    }
    // A client that broke the protocol hears of it by a GOAWAY that the state machine has left in the output.
    if !matches!(served, Err(End::Closed | End::Io(_))) {
        let _ = timeout(LINGER, linger(&mut read, &mut write, connection.session.output())).await;
    }
}

async fn linger(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    output: &mut BytesMut,
) -> io::Result<()> {
    write.write_all_buf(output).await?;
    write.shutdown().await?;
    let mut rest = BytesMut::with_capacity(READ_SIZE);
    while read.read_buf(&mut rest).await? > 0 {
        rest.clear();
    }
    Ok(())
}

/// Writes what the socket takes, and flushes when there is nothing left. True when it has to be called again. Dropping
/// the future loses nothing.
async fn send_some(write: &mut (impl AsyncWrite + Unpin), output: &mut BytesMut) -> io::Result<bool> {
    if output.is_empty() {
        write.flush().await?;
        return Ok(false);
    }
    write.write_buf(output).await?;
    Ok(true)
}

impl Connection {
    async fn serve(
        &mut self,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut (impl AsyncWrite + Unpin),
        idle: Duration,
    ) -> Result<(), End> {
        loop {
            self.take_in()?;
            self.received.reserve(READ_SIZE);
            let unsent = self.session.output().len();
            let wanted = self.held.as_ref().map(|(_, bytes, _)| bytes.len());
            tokio::select! {
                count = read.read_buf(&mut self.received), if wanted.is_none() && unsent < HIGH_WATER * 2 => {
                    if count? == 0 {
                        return Err(End::Closed);
                    }
                }
                Some(room) = self.driver.inbound.room(wanted.unwrap_or_default()), if wanted.is_some() => {
                    if let Some((stream, bytes, fin)) = self.held.take() {
                        self.driver.inbound.deliver(stream.0, bytes, room);
                        self.end(stream, fin);
                    }
                }
                more = send_some(write, self.session.output()), if unsent > 0 || self.unflushed => {
                    self.unflushed = more?;
                }
                command = self.driver.commands.recv(), if unsent < HIGH_WATER => match command {
                    Some(command) => self.obey(command),
                    None => return Ok(()),
                },
                Some((channel, bytes)) = self.driver.taken.recv() => self.session.consumed(StreamId(channel), bytes),
                () = sleep_until(self.active + idle) => return Err(End::Idle(idle)),
            }
        }
    }

    /// Handles all that was received, until there is no room for more.
    fn take_in(&mut self) -> Result<(), End> {
        while self.held.is_none() {
            match self.session.receive(&mut self.received)? {
                None => return Ok(()),
                Some(Event::Opened { stream, headers, fin }) => self.open(stream, headers, fin),
                Some(Event::Data { stream, bytes, fin }) => {
                    self.active = Instant::now();
                    match self.driver.inbound.try_room(bytes.len()) {
                        Some(room) => {
                            self.driver.inbound.deliver(stream.0, bytes, room);
                            self.end(stream, fin);
                        }
                        None => self.held = Some((stream, bytes, fin)),
                    }
                }
                Some(Event::Reset { stream }) => self.driver.inbound.give_up(stream.0),
                Some(Event::GoAway) => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, stream: StreamId, headers: Headers, fin: bool) {
        let reader = self.driver.inbound.open(stream.0);
        self.end(stream, fin);
        let refused = match self.driver.inbound.writer(stream.0) {
            Some(writer) => self.opened.send(Opened { id: stream.0, headers, reader, writer }).is_err(),
            None => true,
        };
        if refused {
            self.driver.inbound.give_up(stream.0);
            self.session.reset(stream, ResetStatus::RefusedStream);
        }
    }

    fn end(&mut self, stream: StreamId, fin: bool) {
        if fin {
            self.driver.inbound.end(stream.0);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Accept(channel) => self.session.accept(StreamId(channel)),
            Command::Write(channel, bytes) => {
                self.active = Instant::now();
                self.session.send(StreamId(channel), &bytes);
            }
            Command::Finish(channel) => self.session.finish(StreamId(channel)),
            Command::Reset(channel) => {
                self.driver.inbound.give_up(channel);
                self.session.reset(StreamId(channel), ResetStatus::Cancel);
            }
        }
    }
}
