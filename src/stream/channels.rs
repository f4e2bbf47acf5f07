//! What a session and a connection have between them: channels of bytes, whatever carries them.
//!
//! A connection has one [`Driver`]; a session gets a [`Reader`] for what comes and a [`Writer`] for what goes on
//! each channel. Both directions are bounded: a writer waits while the client does not read, and a connection is not read
//! while its sessions have too much that they did not take.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// Bytes of one connection that came from the client and were not taken by their sessions. One channel that nobody
/// reads does not stop the others before that.
const RECEIVED_LIMIT: usize = 8 << 20;
/// What a piece costs besides its bytes: many small ones must not take more memory than a few large ones.
const PIECE_COST: usize = 128;
/// Pieces that wait to be sent; each is at most what one read gave.
const SENDING_LIMIT: usize = 16;

/// A channel's number: a stream of SPDY, or the first byte of a WebSocket message.
pub(super) type Channel = u32;

/// What a session asks a connection to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Tell the client that its stream is taken. To come before anything else on it.
    Accept(Channel),
    Write(Channel, Bytes),
    /// No more will be written.
    Finish(Channel),
    /// The channel ends at once, both ways.
    Reset(Channel),
}

/// What came on a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    /// The client will send no more.
    End,
    /// The client has given up the channel, or is gone.
    Broken,
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Whether the client is there, and may be.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    lost: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl Presence {
    /// Returns when the client is gone, or its sessions have to end.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Tells the sessions to end, and why. They may still write.
    pub(super) fn cut_off(&self, reason: String) {
        self.reason.get_or_init(|| reason);
        self.lost.cancel();
    }

    /// Why sessions have to end whose client is still there.
    pub(super) fn reason(&self) -> &str {
        self.reason.get().map_or("Dockside stops", String::as_str)
    }
}

enum Received {
    Data(Bytes, OwnedSemaphorePermit),
    End,
}

/// The connection's side.
pub(super) struct Driver {
    /// What sessions ask for, in order; ends when every session has.
    pub(super) commands: mpsc::Receiver<Command>,
    /// How much sessions took, of which channel.
    pub(super) taken: mpsc::UnboundedReceiver<(Channel, usize)>,
    /// Where to put what comes. The sessions hear that the client is gone when it is dropped.
    pub(super) inbound: Inbound,
}

/// What comes from the client, on its way to the sessions.
pub(super) struct Inbound {
    tell_taken: mpsc::UnboundedSender<(Channel, usize)>,
    /// Weak, so that the commands end with the sessions.
    ask: mpsc::WeakSender<Command>,
    room: Arc<Semaphore>,
    open: HashMap<Channel, mpsc::UnboundedSender<Received>>,
    pub(super) presence: Presence,
    _lost: DropGuard,
}

/// Makes the two sides of a connection. It lasts as long as the [`Sessions`] or a [`Writer`] of theirs; the client is lost
/// when it is gone, or by `stop`.
pub(super) fn channels(stop: &CancellationToken) -> (Driver, Sessions, Presence) {
    let (ask, commands) = mpsc::channel(SENDING_LIMIT);
    let (tell_taken, taken) = mpsc::unbounded_channel();
    let presence = Presence { lost: stop.child_token(), reason: Arc::default() };
    let inbound = Inbound {
        tell_taken,
        ask: ask.downgrade(),
        room: Arc::new(Semaphore::new(RECEIVED_LIMIT)),
        open: HashMap::new(),
        _lost: presence.lost.clone().drop_guard(),
        presence: presence.clone(),
    };
    (Driver { commands, taken, inbound }, Sessions { ask }, presence)
}

/// Keeps a connection open and makes writers for it.
#[derive(Clone)]
pub(super) struct Sessions {
    ask: mpsc::Sender<Command>,
}

impl Sessions {
    pub(super) fn writer(&self, channel: Channel) -> Writer {
        Writer { channel, ask: self.ask.clone() }
    }
}

impl Inbound {
    /// Opens a channel that the client may send on.
    pub(super) fn open(&mut self, channel: Channel) -> Reader {
        let (deliver, received) = mpsc::unbounded_channel();
        self.open.insert(channel, deliver);
        Reader { channel, received, tell_taken: self.tell_taken.clone(), taken: 0, room: None }
    }

    /// A writer for a channel; `None` when all sessions have ended.
    pub(super) fn writer(&self, channel: Channel) -> Option<Writer> {
        Some(Writer { channel, ask: self.ask.upgrade()? })
    }

    /// Room for so many bytes, if there is some now.
    pub(super) fn try_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_many_owned(permits(bytes)).ok()
    }

    /// Waits for room for so many bytes.
    pub(super) fn room(&self, bytes: usize) -> impl Future<Output = Option<OwnedSemaphorePermit>> + use<> {
        let room = Arc::clone(&self.room);
        async move { room.acquire_many_owned(permits(bytes)).await.ok() }
    }

    /// Hands bytes to whoever reads the channel; they are dropped when nobody does any more.
    pub(super) fn deliver(&mut self, channel: Channel, bytes: Bytes, room: OwnedSemaphorePermit) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let delivered = self.open.get(&channel).is_some_and(|reader| reader.send(Received::Data(bytes, room)).is_ok());
        if !delivered {
            // The connection may not care.
            let _ = self.tell_taken.send((channel, length));
        }
    }

    /// The client will send no more on the channel.
    pub(super) fn end(&mut self, channel: Channel) {
        if let Some(reader) = self.open.remove(&channel) {
            // The reader may have gone before.
            let _ = reader.send(Received::End);
        }
    }

    /// The client gave the channel up.
    pub(super) fn give_up(&mut self, channel: Channel) {
        self.open.remove(&channel);
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from((bytes + PIECE_COST).min(RECEIVED_LIMIT)).unwrap_or(u32::MAX)
}

/// What a client sends on one channel.
pub(super) struct Reader {
    channel: Channel,
    received: mpsc::UnboundedReceiver<Received>,
    tell_taken: mpsc::UnboundedSender<(Channel, usize)>,
    /// The bytes last given, and their room; asking for the next means that these were used.
    taken: usize,
    room: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// What comes next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Piece {
        if self.taken > 0 {
            // The connection may have gone.
            let _ = self.tell_taken.send((self.channel, self.taken));
            self.taken = 0;
            self.room = None;
        }
        match self.received.recv().await {
            Some(Received::Data(bytes, room)) => {
                self.taken = bytes.len();
                self.room = Some(room);
                Piece::Data(bytes)
            }
            Some(Received::End) => Piece::End,
            None => Piece::Broken,
        }
    }
}

impl Drop for Reader {
    /// What nobody will read counts as taken, or it would be missing in the connection's window for ever.
    fn drop(&mut self) {
        self.received.close();
        let mut left = self.taken;
        while let Ok(received) = self.received.try_recv() {
            if let Received::Data(bytes, _) = received {
                left += bytes.len();
            }
        }
        if left > 0 {
            // The connection may have gone.
            let _ = self.tell_taken.send((self.channel, left));
        }
    }
}

/// What a session sends on one channel.
#[derive(Clone)]
pub(super) struct Writer {
    channel: Channel,
    ask: mpsc::Sender<Command>,
}

impl Writer {
    /// Tells the client that its stream is taken.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn accept(&self) -> Result<(), Gone> {
        self.send(Command::Accept(self.channel)).await
    }

    /// Waits while the client does not read.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.send(Command::Write(self.channel, bytes.into())).await
    }

    /// Ends the channel after what was written. A client that is gone does not mind.
    pub(super) async fn finish(&self) {
        let _ = self.send(Command::Finish(self.channel)).await;
    }

    /// Ends the channel at once, both ways.
    pub(super) async fn reset(&self) {
        let _ = self.send(Command::Reset(self.channel)).await;
    }

    async fn send(&self, command: Command) -> Result<(), Gone> {
        self.ask.send(command).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_keep_their_room_until_the_next_is_asked_for() {
        let (mut driver, _sessions, _) = channels(&CancellationToken::new());
        let mut reader = driver.inbound.open(1);
        let room = driver.inbound.try_room(RECEIVED_LIMIT).unwrap();
        assert!(driver.inbound.try_room(1).is_none());
        driver.inbound.deliver(1, Bytes::from_static(b"x"), room);
        driver.inbound.end(1);
        assert_eq!(reader.next().await, Piece::Data(Bytes::from_static(b"x")));
        assert!(driver.taken.try_recv().is_err());
        assert_eq!(reader.next().await, Piece::End);
        assert_eq!(driver.taken.try_recv(), Ok((1, 1)));
        assert!(driver.inbound.try_room(1).is_some());
    }

    #[tokio::test]
    async fn a_session_that_does_not_read_loses_what_comes_but_blocks_nobody() {
        let (mut driver, _sessions, _) = channels(&CancellationToken::new());
        drop(driver.inbound.open(1));
        let room = driver.inbound.try_room(5).unwrap();
        driver.inbound.deliver(1, Bytes::from_static(b"hello"), room);
        assert_eq!(driver.taken.try_recv(), Ok((1, 5)));
        assert!(driver.inbound.try_room(RECEIVED_LIMIT).is_some());
    }

    #[test]
    fn many_small_pieces_take_no_more_room_than_a_few_large_ones() {
        let (driver, _sessions, _) = channels(&CancellationToken::new());
        let rooms: Vec<_> = std::iter::from_fn(|| driver.inbound.try_room(1)).collect();
        assert!(rooms.len() <= RECEIVED_LIMIT / PIECE_COST, "{}", rooms.len());
    }

    #[tokio::test]
    async fn each_side_sees_the_other_one_go() {
        let (mut driver, sessions, presence) = channels(&CancellationToken::new());
        let (mut reader, writer) = (driver.inbound.open(1), sessions.writer(1));
        drop(sessions);
        writer.finish().await;
        drop(writer);
        assert!(matches!(driver.commands.recv().await, Some(Command::Finish(1))));
        assert!(driver.commands.recv().await.is_none());
        assert!(!presence.lost.is_cancelled());
        drop(driver);
        assert!(presence.lost.is_cancelled());
        assert_eq!(reader.next().await, Piece::Broken);
    }
}
