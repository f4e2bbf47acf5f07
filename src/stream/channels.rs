//! Channels: the byte streams between sessions and the connection that carries them, whatever its protocol.
//!
//! The connection's driver (`spdy` or `websocket`) owns a [`Driver`]; a session gets a [`Reader`] for each channel it
//! receives on and a [`Writer`] for each it sends on. Both directions are bounded, as described in `backpressure`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::backpressure::QUEUED_FRAMES;
use super::backpressure::RECEIVED_LIMIT;
use super::backpressure::RECEIVED_OVERHEAD;

/// A channel's number: a SPDY stream id, or the first byte of a WebSocket message.
pub(super) type Channel = u32;

/// What a session sends on a connection.
#[derive(Debug)]
pub(super) enum Frame {
    /// Accepts the stream that the client opened; the first frame of a SPDY stream.
    Accept(Channel),
    Data(Channel, Bytes),
    /// No more data follows on the channel.
    HalfClose(Channel),
    /// Closes the channel at once, in both directions.
    Reset(Channel),
}

/// What a session receives on a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Data(Bytes),
    /// The client sends no more data.
    HalfClosed,
    /// The client reset the channel or disconnected.
    Aborted,
}

/// The error of a write when the client has disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disconnected;

/// Signals a connection's sessions that it closes, and why.
#[derive(Debug, Clone)]
pub(super) struct CloseSignal {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl CloseSignal {
    /// Resolves when the client has disconnected, or the sessions must end.
    pub(super) async fn closed(&self) {
        self.token.cancelled().await;
    }

    /// Makes the sessions end, for a reason. They may still write.
    pub(super) fn close(&self, reason: String) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Why the sessions must end.
    pub(super) fn reason(&self) -> &str {
        self.reason.get().map_or("Dockside is shutting down", String::as_str)
    }
}

enum Delivery {
    Data(Bytes, OwnedSemaphorePermit),
    HalfClosed,
}

/// The driver's side of a connection.
pub(super) struct Driver {
    /// Frames to send, in order; ends when every session has ended.
    pub(super) frames: mpsc::Receiver<Frame>,
    /// Bytes that sessions consumed, by channel.
    pub(super) consumed: mpsc::UnboundedReceiver<(Channel, usize)>,
    /// Takes what the client sends. Dropping it closes the connection's sessions.
    pub(super) inbound: Inbound,
}

/// Delivers what the client sends to the sessions.
pub(super) struct Inbound {
    consumed: mpsc::UnboundedSender<(Channel, usize)>,
    /// Weak, so that the frames end with the sessions.
    frames: mpsc::WeakSender<Frame>,
    room: Arc<Semaphore>,
    open: HashMap<Channel, mpsc::UnboundedSender<Delivery>>,
    pub(super) close_signal: CloseSignal,
    _close_on_drop: DropGuard,
}

/// Makes both sides of a connection. It lasts as long as the [`ConnectionHandle`] or a [`Writer`] made from it; `stop`
/// closes it.
pub(super) fn channels(stop: &CancellationToken) -> (Driver, ConnectionHandle, CloseSignal) {
    let (frames_sender, frames) = mpsc::channel(QUEUED_FRAMES);
    let (consumed_sender, consumed) = mpsc::unbounded_channel();
    let close_signal = CloseSignal { token: stop.child_token(), reason: Arc::default() };
    let inbound = Inbound {
        consumed: consumed_sender,
        frames: frames_sender.downgrade(),
        room: Arc::new(Semaphore::new(RECEIVED_LIMIT)),
        open: HashMap::new(),
        _close_on_drop: close_signal.token.clone().drop_guard(),
        close_signal: close_signal.clone(),
    };
    (Driver { frames, consumed, inbound }, ConnectionHandle { frames: frames_sender }, close_signal)
}

/// Keeps a connection open and makes writers for it.
#[derive(Clone)]
pub(super) struct ConnectionHandle {
    frames: mpsc::Sender<Frame>,
}

impl ConnectionHandle {
    pub(super) fn writer(&self, channel: Channel) -> Writer {
        Writer { channel, frames: self.frames.clone() }
    }
}

impl Inbound {
    /// Opens a channel that the client may send on.
    pub(super) fn open(&mut self, channel: Channel) -> Reader {
        let (sender, deliveries) = mpsc::unbounded_channel();
        self.open.insert(channel, sender);
        Reader { channel, deliveries, consumed: self.consumed.clone(), in_use: 0, room: None }
    }

    /// A writer for a channel; `None` when all sessions have ended.
    pub(super) fn writer(&self, channel: Channel) -> Option<Writer> {
        Some(Writer { channel, frames: self.frames.upgrade()? })
    }

    /// Reserves room for a message of `bytes` bytes, if there is enough now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(permits(bytes)).ok()
    }

    /// Waits for room for a message of `bytes` bytes and reserves it.
    pub(super) fn reserve(&self, bytes: usize) -> impl Future<Output = Option<OwnedSemaphorePermit>> + use<> {
        let room = Arc::clone(&self.room);
        async move { room.acquire_many_owned(permits(bytes)).await.ok() }
    }

    /// Delivers bytes to the channel's reader. Without one they are dropped and count as consumed.
    pub(super) fn deliver(&mut self, channel: Channel, bytes: Bytes, room: OwnedSemaphorePermit) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let delivered = self.open.get(&channel).is_some_and(|reader| reader.send(Delivery::Data(bytes, room)).is_ok());
        if !delivered {
            // Fails only when the driver does not use these counts.
            let _ = self.consumed.send((channel, length));
        }
    }

    /// The client sends no more on the channel.
    pub(super) fn half_close(&mut self, channel: Channel) {
        if let Some(reader) = self.open.remove(&channel) {
            // Fails only when the reader was dropped.
            let _ = reader.send(Delivery::HalfClosed);
        }
    }

    /// The channel is closed in both directions.
    pub(super) fn abort(&mut self, channel: Channel) {
        self.open.remove(&channel);
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from((bytes + RECEIVED_OVERHEAD).min(RECEIVED_LIMIT)).unwrap_or(u32::MAX)
}

/// Receives what a client sends on one channel.
pub(super) struct Reader {
    channel: Channel,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    consumed: mpsc::UnboundedSender<(Channel, usize)>,
    /// The length of the message returned last, and its room; both are released with the next one.
    in_use: usize,
    room: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// The next message; the last one counts as consumed from now on. Cancel safe.
    pub(super) async fn next(&mut self) -> Received {
        if self.in_use > 0 {
            // Fails only when the connection is closed.
            let _ = self.consumed.send((self.channel, self.in_use));
            self.in_use = 0;
            self.room = None;
        }
        match self.deliveries.recv().await {
            Some(Delivery::Data(bytes, room)) => {
                self.in_use = bytes.len();
                self.room = Some(room);
                Received::Data(bytes)
            }
            Some(Delivery::HalfClosed) => Received::HalfClosed,
            None => Received::Aborted,
        }
    }
}

impl Drop for Reader {
    /// Unread bytes count as consumed; otherwise they would reduce the connection's window for ever.
    fn drop(&mut self) {
        self.deliveries.close();
        let mut unread = self.in_use;
        while let Ok(delivery) = self.deliveries.try_recv() {
            if let Delivery::Data(bytes, _) = delivery {
                unread += bytes.len();
            }
        }
        if unread > 0 {
            // Fails only when the connection is closed.
            let _ = self.consumed.send((self.channel, unread));
        }
    }
}

/// Sends on one channel.
#[derive(Clone)]
pub(super) struct Writer {
    channel: Channel,
    frames: mpsc::Sender<Frame>,
}

impl Writer {
    /// Accepts the stream that the client opened.
    ///
    /// # Errors
    /// [`Disconnected`].
    pub(super) async fn accept(&self) -> Result<(), Disconnected> {
        self.send(Frame::Accept(self.channel)).await
    }

    /// Sends bytes; waits while the client does not read.
    ///
    /// # Errors
    /// [`Disconnected`].
    pub(super) async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), Disconnected> {
        self.send(Frame::Data(self.channel, bytes.into())).await
    }

    /// Half-closes the channel after what was written. A client that has disconnected is ignored.
    pub(super) async fn half_close(&self) {
        let _ = self.send(Frame::HalfClose(self.channel)).await;
    }

    /// Closes the channel at once, in both directions. A client that has disconnected is ignored.
    pub(super) async fn reset(&self) {
        let _ = self.send(Frame::Reset(self.channel)).await;
    }

    async fn send(&self, frame: Frame) -> Result<(), Disconnected> {
        self.frames.send(frame).await.map_err(|_| Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_keep_their_room_until_the_next_message_is_requested() {
        let (mut driver, _connection, _) = channels(&CancellationToken::new());
        let mut reader = driver.inbound.open(1);
        let room = driver.inbound.try_reserve(RECEIVED_LIMIT).unwrap();
        assert!(driver.inbound.try_reserve(1).is_none());
        driver.inbound.deliver(1, Bytes::from_static(b"x"), room);
        driver.inbound.half_close(1);
        assert_eq!(reader.next().await, Received::Data(Bytes::from_static(b"x")));
        assert!(driver.consumed.try_recv().is_err());
        assert_eq!(reader.next().await, Received::HalfClosed);
        assert_eq!(driver.consumed.try_recv(), Ok((1, 1)));
        assert!(driver.inbound.try_reserve(1).is_some());
    }

    #[tokio::test]
    async fn bytes_for_a_dropped_reader_count_as_consumed() {
        let (mut driver, _connection, _) = channels(&CancellationToken::new());
        drop(driver.inbound.open(1));
        let room = driver.inbound.try_reserve(5).unwrap();
        driver.inbound.deliver(1, Bytes::from_static(b"hello"), room);
        assert_eq!(driver.consumed.try_recv(), Ok((1, 5)));
        assert!(driver.inbound.try_reserve(RECEIVED_LIMIT).is_some());
    }

    #[test]
    fn small_messages_count_with_their_overhead() {
        let (driver, _connection, _) = channels(&CancellationToken::new());
        let rooms: Vec<_> = std::iter::from_fn(|| driver.inbound.try_reserve(1)).collect();
        assert!(rooms.len() <= RECEIVED_LIMIT / RECEIVED_OVERHEAD, "{}", rooms.len());
    }

    #[tokio::test]
    async fn each_side_notices_when_the_other_is_dropped() {
        let (mut driver, connection, close_signal) = channels(&CancellationToken::new());
        let (mut reader, writer) = (driver.inbound.open(1), connection.writer(1));
        drop(connection);
        writer.half_close().await;
        drop(writer);
        assert!(matches!(driver.frames.recv().await, Some(Frame::HalfClose(1))));
        assert!(driver.frames.recv().await.is_none());
        assert!(!close_signal.token.is_cancelled());
        drop(driver);
        assert!(close_signal.token.is_cancelled());
        assert_eq!(reader.next().await, Received::Aborted);
    }
}
