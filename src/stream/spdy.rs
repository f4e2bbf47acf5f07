//! The driver of a SPDY connection: joins the state machine of the crate `spdy`, which does no I/O, to a socket and to the
//! sessions' channels. Reading and writing never wait for each other.

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

use super::backpressure::CONNECTION_READ_SIZE;
use super::backpressure::UNSENT_LIMIT;
use super::backpressure::UNSENT_READ_LIMIT;
use super::channels::Driver;
use super::channels::Frame;
use super::channels::Reader;
use super::channels::Writer;

/// How long the last frames may take on a connection that closes because of an error or a timeout.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream that the client opened; the session accepts or resets it.
pub(super) struct OpenedStream {
    pub(super) id: u32,
    pub(super) headers: Headers,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// The queue of streams to be accepted or reset. It holds as many as a client may have open, because a client may open
/// all of them at once.
pub(super) fn opened_streams() -> (mpsc::Sender<OpenedStream>, mpsc::Receiver<OpenedStream>) {
    mpsc::channel(MAX_STREAMS)
}

/// Why a connection closed.
#[derive(Debug, thiserror::Error)]
enum CloseReason {
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
    opened: mpsc::Sender<OpenedStream>,
    received: BytesMut,
    /// Data that waits for room in its session's channel; nothing is read meanwhile.
    blocked: Option<(StreamId, Bytes, bool)>,
    /// Whether something was written since the last flush: TLS and tunnels buffer bytes until then.
    unflushed: bool,
    /// Whether all sessions have ended, and only their last frames are still to be sent.
    draining: bool,
    /// When something was last received, or data sent. Pings count: kubectl sends them to keep a silent session open.
    last_activity: Instant,
    /// When a connection that was idle for too long closes.
    deadline: Option<Instant>,
}

/// Serves a connection until all sessions have ended and the client has received their last frames, or the client has
/// disconnected, or nothing was sent for `idle`. Streams that the client opens are sent to `opened`.
pub(super) async fn run(
    io: impl AsyncRead + AsyncWrite,
    driver: Driver,
    opened: mpsc::Sender<OpenedStream>,
    idle: Duration,
) {
    let (mut read, mut write) = tokio::io::split(io);
    let mut connection = Connection {
        session: Session::new(),
        driver,
        opened,
        received: BytesMut::with_capacity(CONNECTION_READ_SIZE),
        blocked: None,
        unflushed: false,
        draining: false,
        last_activity: Instant::now(),
        deadline: None,
    };
    let reason = connection.serve(&mut read, &mut write, idle).await;
    let streams = connection.session.open_streams();
    match reason {
        CloseReason::Sessions => {}
        CloseReason::Protocol(_) => {
            tracing::debug!(%reason, streams, "a SPDY connection closed");
            // The output ends with a GOAWAY.
            let _ = timeout(CLOSE_TIMEOUT, write.write_all_buf(connection.session.output())).await;
        }
        CloseReason::Closed | CloseReason::Idle(_) | CloseReason::Io(_) => {
            tracing::debug!(%reason, streams, "a SPDY connection closed")
        }
    }
    let _ = timeout(CLOSE_TIMEOUT, write.shutdown()).await;
    if matches!(reason, CloseReason::Sessions) {
        // Closing with unread input would make the kernel reset the connection and drop what is still in flight. A client
        // closes its side when it has read everything, which may be much later.
        let _ = timeout(idle, discard(&mut read)).await;
    }
}

async fn discard(read: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut rest = BytesMut::with_capacity(CONNECTION_READ_SIZE);
    while read.read_buf(&mut rest).await? > 0 {
        rest.clear();
    }
    Ok(())
}

/// Writes as much as the socket takes, or flushes when there is nothing to write. True when it must be called again. Cancel
/// safe.
async fn write_some(write: &mut (impl AsyncWrite + Unpin), output: &mut BytesMut) -> io::Result<bool> {
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
    ) -> CloseReason {
        loop {
            if let Err(reason) = self.process_received() {
                return reason;
            }
            self.received.reserve(CONNECTION_READ_SIZE);
            let unsent = self.session.output().len();
            if self.draining && unsent == 0 && !self.unflushed {
                return CloseReason::Sessions;
            }
            let blocked = self.blocked.as_ref().map(|(_, bytes, _)| bytes.len());
            tokio::select! {
                count = read.read_buf(&mut self.received), if blocked.is_none() && unsent < UNSENT_READ_LIMIT => match count {
                    Ok(0) => return CloseReason::Closed,
                    // While draining, only what the client receives counts.
                    Ok(_) if !self.draining => self.last_activity = Instant::now(),
                    Ok(_) => {}
                    Err(error) => return CloseReason::Io(error),
                },
                Some(room) = self.driver.inbound.reserve(blocked.unwrap_or_default()), if blocked.is_some() => {
                    if let Some((stream, bytes, fin)) = self.blocked.take() {
                        self.driver.inbound.deliver(stream.0, bytes, room);
                        self.half_close(stream, fin);
                    }
                }
                more = write_some(write, self.session.output()), if unsent > 0 || self.unflushed => match more {
                    Ok(more) => {
                        self.unflushed = more;
                        if self.draining {
                            self.last_activity = Instant::now();
                        }
                    }
                    Err(error) => return CloseReason::Io(error),
                },
                frame = self.driver.frames.recv(), if !self.draining && unsent < UNSENT_LIMIT => match frame {
                    Some(frame) => self.send_frame(frame),
                    None => {
                        self.session.go_away();
                        self.draining = true;
                    }
                },
                Some((channel, bytes)) = self.driver.consumed.recv() => self.note_consumed(channel, bytes),
                () = sleep_until(self.deadline.unwrap_or(self.last_activity + idle)) => {
                    if self.draining || self.deadline.is_some() {
                        return CloseReason::Idle(idle);
                    }
                    // The sessions may still send a last status.
                    self.driver.inbound.close_signal.close(format!("nothing was sent for {idle:?}"));
                    self.deadline = Some(Instant::now() + CLOSE_TIMEOUT);
                }
            }
        }
    }

    /// Reports everything that sessions have consumed so far at once: there may be many small messages.
    fn note_consumed(&mut self, channel: u32, bytes: usize) {
        self.session.consumed(StreamId(channel), bytes);
        while let Ok((channel, bytes)) = self.driver.consumed.try_recv() {
            self.session.consumed(StreamId(channel), bytes);
        }
    }

    /// Handles the received frames, until there is no room for more data.
    fn process_received(&mut self) -> Result<(), CloseReason> {
        while self.blocked.is_none() {
            match self.session.receive(&mut self.received)? {
                None => return Ok(()),
                Some(Event::Opened { stream, headers, fin }) => self.open(stream, headers, fin),
                Some(Event::Data { stream, bytes, fin }) => match self.driver.inbound.try_reserve(bytes.len()) {
                    Some(room) => {
                        self.driver.inbound.deliver(stream.0, bytes, room);
                        self.half_close(stream, fin);
                    }
                    None => self.blocked = Some((stream, bytes, fin)),
                },
                Some(Event::Reset { stream }) => self.driver.inbound.abort(stream.0),
                Some(Event::GoAway) => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, stream: StreamId, headers: Headers, fin: bool) {
        let reader = self.driver.inbound.open(stream.0);
        self.half_close(stream, fin);
        let refused = match self.driver.inbound.writer(stream.0) {
            Some(writer) => self.opened.try_send(OpenedStream { id: stream.0, headers, reader, writer }).is_err(),
            None => true,
        };
        if refused {
            self.driver.inbound.abort(stream.0);
            self.session.reset(stream, ResetStatus::RefusedStream);
        }
    }

    /// Half-closes the channel where the frame had FIN.
    fn half_close(&mut self, stream: StreamId, fin: bool) {
        if fin {
            self.driver.inbound.half_close(stream.0);
        }
    }

    fn send_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Accept(channel) => self.session.accept(StreamId(channel)),
            Frame::Data(channel, bytes) => {
                self.last_activity = Instant::now();
                self.session.send(StreamId(channel), &bytes);
            }
            Frame::HalfClose(channel) => self.session.finish(StreamId(channel)),
            Frame::Reset(channel) => {
                self.driver.inbound.abort(channel);
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
    use crate::stream::channels::CloseSignal;
    use crate::stream::channels::ConnectionHandle;
    use crate::stream::channels::Received;
    use crate::stream::channels::channels;
    use ::spdy::client::Client;

    const IDLE: Duration = Duration::from_secs(3600);

    /// A running server: its client's socket, and what its sessions get.
    fn serve() -> (DuplexStream, ConnectionHandle, mpsc::Receiver<OpenedStream>, CloseSignal) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (driver, connection, close_signal) = channels(&CancellationToken::new());
        let (opened, streams) = mpsc::channel(4);
        tokio::spawn(run(server, driver, opened, IDLE));
        (client, connection, streams, close_signal)
    }

    /// How many bytes the server reads before it stops reading.
    async fn bytes_read(client: &mut DuplexStream, bytes: &[u8]) -> usize {
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
    async fn a_session_that_does_not_consume_small_messages_stops_the_reading() {
        let (mut socket, _connection, mut streams, _close_signal) = serve();
        let mut client = Client::new();
        let stream = client.open(&[("streamtype", "stdin")], false);
        socket.write_all_buf(&mut client.output).await.unwrap();
        let mut opened = streams.recv().await.unwrap();
        const MESSAGES: usize = 200_000;
        for _ in 0..MESSAGES {
            client.data(stream, b"x", false);
        }
        let frame = client.output.len() / MESSAGES;
        let sent = bytes_read(&mut socket, &client.output).await;
        assert!(sent / frame < 100_000, "{} messages", sent / frame);
        // Reading continues as the session consumes them.
        let rest = client.output.split_off(sent);
        let writing = tokio::spawn(async move { socket.write_all(&rest).await.map(|()| socket) });
        for _ in 0..MESSAGES {
            assert_eq!(opened.reader.next().await, Received::Data(Bytes::from_static(b"x")));
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn streams_over_the_queues_limit_are_refused() {
        let (mut socket, _connection, mut streams, _close_signal) = serve();
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
        while streams.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, 4);
    }

    #[tokio::test]
    async fn streams_opened_at_once_are_all_delivered() {
        const STREAMS: usize = 200;
        let (mut socket, server) = tokio::io::duplex(64 << 10);
        let (driver, _connection, _) = channels(&CancellationToken::new());
        let (opened, mut arriving) = opened_streams();
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
    async fn the_last_data_waits_for_a_client_that_does_not_read() {
        let (mut socket, connection, mut streams, _close_signal) = serve();
        let mut client = Client::new();
        client.open(&[("streamtype", "stdout")], false);
        socket.write_all_buf(&mut client.output).await.unwrap();
        let opened = streams.recv().await.unwrap();
        opened.writer.accept().await.unwrap();
        let data = vec![7; 300 << 10];
        opened.writer.write(data.clone()).await.unwrap();
        opened.writer.half_close().await;
        drop((opened, connection));
        tokio::time::sleep(Duration::from_secs(600)).await;
        let mut received = BytesMut::new();
        while socket.read_buf(&mut received).await.unwrap() > 0 {}
        assert!(received.len() > data.len(), "{} bytes", received.len());
    }

    #[tokio::test(start_paused = true)]
    async fn pings_keep_a_connection_open() {
        let limit = Duration::from_secs(2);
        let (mut socket, server) = tokio::io::duplex(64 << 10);
        let (driver, _connection, close_signal) = channels(&CancellationToken::new());
        tokio::spawn(run(server, driver, opened_streams().0, limit));
        let mut client = Client::new();
        let mut answers = BytesMut::new();
        for number in 0..10 {
            tokio::time::sleep(limit / 2).await;
            client.write(&::spdy::Frame::Ping { id: 2 * number + 1 });
            socket.write_all_buf(&mut client.output).await.unwrap();
            socket.read_buf(&mut answers).await.unwrap();
        }
        assert!(timeout(limit / 2, close_signal.closed()).await.is_err());
        timeout(limit, close_signal.closed()).await.unwrap();
        assert_eq!(close_signal.reason(), "nothing was sent for 2s");
    }

    #[tokio::test]
    async fn a_disconnect_is_noticed() {
        let (socket, _connection, _streams, close_signal) = serve();
        drop(socket);
        timeout(Duration::from_secs(10), close_signal.closed()).await.unwrap();
    }
}
