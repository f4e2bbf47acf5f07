//! One SPDY connection: reads from the socket into the protocol's state machine, writes what that wants written, and
//! passes bytes between it and the sessions' channels. Reading and writing never wait for each other.

use std::io;
use std::time::Duration;

use ::spdy::Event;
use ::spdy::Headers;
use ::spdy::MAX_STREAMS;
use ::spdy::ResetStatus;
use ::spdy::Session;
use ::spdy::StreamId;
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

use super::channels::Command;
use super::channels::Driver;
use super::channels::Reader;
use super::channels::Writer;

/// How much is read at once.
const READ_SIZE: usize = 64 << 10;
/// With more than this waiting to be written, sessions wait.
const HIGH_WATER: usize = 256 << 10;
/// How long the last words on a connection may take that ends in disorder.
const FAREWELL: Duration = Duration::from_secs(5);
/// A stream that the client opened, to be accepted or reset.
pub(super) struct Opened {
    pub(super) id: u32,
    pub(super) headers: Headers,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Where streams wait to be accepted or reset: there is room for all that a client may have open, as it may open them in
/// one go.
pub(super) fn arrivals() -> (mpsc::Sender<Opened>, mpsc::Receiver<Opened>) {
    mpsc::channel(MAX_STREAMS)
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("all sessions ended")]
    Sessions,
    #[error("the client closed the connection")]
    Closed,
    #[error("nothing was sent for {0:?}")]
    Idle(Duration),
    #[error(transparent)]
    Protocol(#[from] ::spdy::SessionError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

struct Connection {
    session: Session,
    driver: Driver,
    opened: mpsc::Sender<Opened>,
    received: BytesMut,
    /// Data for which there is no room yet.
    held: Option<(StreamId, Bytes, bool)>,
    /// Whether something was written since the last flush: TLS and tunnels keep bytes back until then.
    unflushed: bool,
    /// Whether all sessions have ended, and only what they wrote is still to be sent.
    over: bool,
    /// When anything last came, or data was sent. Pings count: by them, kubectl says that somebody is there though silent.
    active: Instant,
    /// The end of a connection on which nothing was sent for too long.
    deadline: Option<Instant>,
}

/// Serves a connection until all sessions have ended and the client has taken the rest, or the client is gone, or nothing
/// was sent for `idle`. Streams that the client opens go to `opened`.
pub(super) async fn run(io: impl AsyncRead + AsyncWrite, driver: Driver, opened: mpsc::Sender<Opened>, idle: Duration) {
    let (mut read, mut write) = tokio::io::split(io);
    let mut connection = Connection {
        session: Session::new(),
        driver,
        opened,
        received: BytesMut::with_capacity(READ_SIZE),
        held: None,
        unflushed: false,
        over: false,
        active: Instant::now(),
        deadline: None,
    };
    let end = connection.serve(&mut read, &mut write, idle).await;
    let streams = connection.session.open_streams();
    match end {
        End::Sessions => {}
        End::Protocol(_) => {
            tracing::debug!(reason = %end, streams, "a SPDY connection ended");
            // The client hears of it by a GOAWAY.
            let _ = timeout(FAREWELL, write.write_all_buf(connection.session.output())).await;
        }
        End::Closed | End::Idle(_) | End::Io(_) => tracing::debug!(reason = %end, streams, "a SPDY connection ended"),
    }
    let _ = timeout(FAREWELL, write.shutdown()).await;
    if matches!(end, End::Sessions) {
        // Closing with unread input would make the kernel reset the connection, and what it has not delivered would be
        // lost. A client closes its side when it has read everything, which may be long after.
        let _ = timeout(idle, discard(&mut read)).await;
    }
}

async fn discard(read: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
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
    ) -> End {
        loop {
            if let Err(end) = self.take_in() {
                return end;
            }
            self.received.reserve(READ_SIZE);
            let unsent = self.session.output().len();
            if self.over && unsent == 0 && !self.unflushed {
                return End::Sessions;
            }
            let wanted = self.held.as_ref().map(|(_, bytes, _)| bytes.len());
            tokio::select! {
                count = read.read_buf(&mut self.received), if wanted.is_none() && unsent < HIGH_WATER * 2 => match count {
                    Ok(0) => return End::Closed,
                    // Once all is over, the client has to take the rest and not just to live.
                    Ok(_) if !self.over => self.active = Instant::now(),
                    Ok(_) => {}
                    Err(error) => return End::Io(error),
                },
                Some(room) = self.driver.inbound.room(wanted.unwrap_or_default()), if wanted.is_some() => {
                    if let Some((stream, bytes, fin)) = self.held.take() {
                        self.driver.inbound.deliver(stream.0, bytes, room);
                        self.end(stream, fin);
                    }
                }
                more = send_some(write, self.session.output()), if unsent > 0 || self.unflushed => match more {
                    Ok(more) => {
                        self.unflushed = more;
                        if self.over {
                            self.active = Instant::now();
                        }
                    }
                    Err(error) => return End::Io(error),
                },
                command = self.driver.commands.recv(), if !self.over && unsent < HIGH_WATER => match command {
                    Some(command) => self.obey(command),
                    None => {
                        self.session.go_away();
                        self.over = true;
                    }
                },
                Some((channel, bytes)) = self.driver.taken.recv() => self.note_taken(channel, bytes),
                () = sleep_until(self.deadline.unwrap_or(self.active + idle)) => {
                    if self.over || self.deadline.is_some() {
                        return End::Idle(idle);
                    }
                    // The sessions hear of it, and may say a last word.
                    self.driver.inbound.presence.cut_off(format!("nothing was sent for {idle:?}"));
                    self.deadline = Some(Instant::now() + FAREWELL);
                }
            }
        }
    }

    /// All that sessions took so far, in one go: there may be many small pieces.
    fn note_taken(&mut self, channel: u32, bytes: usize) {
        self.session.consumed(StreamId(channel), bytes);
        while let Ok((channel, bytes)) = self.driver.taken.try_recv() {
            self.session.consumed(StreamId(channel), bytes);
        }
    }

    /// Handles all that was received, until there is no room for more.
    fn take_in(&mut self) -> Result<(), End> {
        while self.held.is_none() {
            match self.session.receive(&mut self.received)? {
                None => return Ok(()),
                Some(Event::Opened { stream, headers, fin }) => self.open(stream, headers, fin),
                Some(Event::Data { stream, bytes, fin }) => match self.driver.inbound.try_room(bytes.len()) {
                    Some(room) => {
                        self.driver.inbound.deliver(stream.0, bytes, room);
                        self.end(stream, fin);
                    }
                    None => self.held = Some((stream, bytes, fin)),
                },
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
            Some(writer) => self.opened.try_send(Opened { id: stream.0, headers, reader, writer }).is_err(),
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

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::stream::channels::Piece;
    use crate::stream::channels::Presence;
    use crate::stream::channels::Sessions;
    use crate::stream::channels::channels;
    use ::spdy::Frame;
    use ::spdy::client::Client;

    const IDLE: Duration = Duration::from_secs(3600);

    /// A server that runs, with the socket of its client.
    fn serve() -> (DuplexStream, Sessions, mpsc::Receiver<Opened>, Presence) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (driver, sessions, presence) = channels(&CancellationToken::new());
        let (opened, arriving) = mpsc::channel(4);
        tokio::spawn(run(server, driver, opened, IDLE));
        (client, sessions, arriving, presence)
    }

    /// How many bytes a server takes before it takes none for a while.
    async fn taken(client: &mut DuplexStream, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match timeout(Duration::from_millis(200), client.write(&bytes[sent..])).await {
                Ok(count) => sent += count.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }

    #[tokio::test]
    async fn small_pieces_that_nobody_reads_are_not_taken_without_end() {
        let (mut socket, _sessions, mut arriving, _presence) = serve();
        let mut client = Client::new();
        let stream = client.open(&[("streamtype", "stdin")], false);
        socket.write_all_buf(&mut client.output).await.unwrap();
        let mut opened = arriving.recv().await.unwrap();
        const PIECES: usize = 200_000;
        for _ in 0..PIECES {
            client.data(stream, b"x", false);
        }
        let frame = client.output.len() / PIECES;
        let sent = taken(&mut socket, &client.output).await;
        assert!(sent / frame < 100_000, "{} pieces", sent / frame);
        // They go on coming when they are read.
        let rest = client.output.split_off(sent);
        let writing = tokio::spawn(async move { socket.write_all(&rest).await.map(|()| socket) });
        for _ in 0..PIECES {
            assert_eq!(opened.reader.next().await, Piece::Data(Bytes::from_static(b"x")));
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn streams_that_nobody_accepts_are_refused() {
        let (mut socket, _sessions, mut arriving, _presence) = serve();
        let mut client = Client::new();
        for _ in 0..100 {
            client.open(&[("streamtype", "data")], false);
        }
        socket.write_all_buf(&mut client.output).await.unwrap();
        let mut answers = BytesMut::new();
        while answers.len() < 96 * 16 {
            socket.read_buf(&mut answers).await.unwrap();
        }
        let mut waiting = 0;
        while arriving.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, 4);
    }

    #[tokio::test]
    async fn streams_that_come_in_one_go_are_all_taken() {
        const STREAMS: usize = 200;
        let (mut socket, server) = tokio::io::duplex(64 << 10);
        let (driver, _sessions, _) = channels(&CancellationToken::new());
        let (opened, mut arriving) = arrivals();
        let mut client = Client::new();
        let streams: Vec<StreamId> = (0..STREAMS).map(|_| client.open(&[("streamtype", "data")], false)).collect();
        socket.write_all_buf(&mut client.output).await.unwrap();
        tokio::spawn(run(server, driver, opened, IDLE));
        for stream in streams {
            let opened = timeout(Duration::from_secs(10), arriving.recv()).await.unwrap().unwrap();
            assert_eq!(opened.id, stream.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_words_wait_for_a_client_that_does_not_read() {
        let (mut socket, sessions, mut arriving, _presence) = serve();
        let mut client = Client::new();
        client.open(&[("streamtype", "stdout")], false);
        socket.write_all_buf(&mut client.output).await.unwrap();
        let opened = arriving.recv().await.unwrap();
        opened.writer.accept().await.unwrap();
        let words = vec![7; 300 << 10];
        opened.writer.write(words.clone()).await.unwrap();
        opened.writer.finish().await;
        drop((opened, sessions));
        tokio::time::sleep(Duration::from_secs(600)).await;
        let mut received = BytesMut::new();
        while socket.read_buf(&mut received).await.unwrap() > 0 {}
        assert!(received.len() > words.len(), "{} bytes", received.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_pings_is_there() {
        let limit = Duration::from_secs(2);
        let (mut socket, server) = tokio::io::duplex(64 << 10);
        let (driver, _sessions, presence) = channels(&CancellationToken::new());
        tokio::spawn(run(server, driver, arrivals().0, limit));
        let mut client = Client::new();
        let mut answers = BytesMut::new();
        for number in 0..10 {
            tokio::time::sleep(limit / 2).await;
            client.write(&Frame::Ping { id: 2 * number + 1 });
            socket.write_all_buf(&mut client.output).await.unwrap();
            socket.read_buf(&mut answers).await.unwrap();
        }
        assert!(timeout(limit / 2, presence.lost()).await.is_err());
        timeout(limit, presence.lost()).await.unwrap();
        assert_eq!(presence.reason(), "nothing was sent for 2s");
    }

    #[tokio::test]
    async fn a_client_that_goes_is_noticed() {
        let (socket, _sessions, _arriving, presence) = serve();
        drop(socket);
        timeout(Duration::from_secs(10), presence.lost()).await.unwrap();
    }
}
