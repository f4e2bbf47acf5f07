//! The server's side of one SPDY/3.1 connection, without I/O: bytes in, [`Event`]s and bytes out.
//!
//! The clients are client-go's, which use moby/spdystream. Two of its properties shape this module. It drops data on a
//! stream that has not been answered with SYN_REPLY, so nothing is sent before [`Session::accept`]. And it has no flow
//! control: it never sends WINDOW_UPDATE, so a sender that respected the specification's window would stop forever
//! after 64 KiB. Outgoing data is therefore limited by TCP alone and incoming WINDOW_UPDATEs are ignored; windows are
//! still granted to clients that respect them.
//!
//! What a client can make the server hold is bounded: streams by [`MAX_STREAMS`], unread replies by [`MAX_REPLIES`].
//! Data is not buffered here.

use std::collections::HashMap;

use bytes::Bytes;
use bytes::BytesMut;

use super::frame;
use super::frame::Frame;
use super::frame::GoAwayStatus;
use super::frame::Parser;
use super::frame::ResetStatus;
use super::frame::StreamId;
use super::headers;
use super::headers::Decoder;
use super::headers::Encoder;
use super::headers::Headers;

/// The most streams that may be open at once. A forwarded connection takes two.
pub const MAX_STREAMS: usize = 1024;
/// The most bytes of replies (to pings and misplaced frames) that may wait in the output. Without a limit, a client that
/// sends and never reads could exhaust memory.
pub const MAX_REPLIES: usize = 1 << 20;
/// The flow control window in bytes, of each stream and of the connection: the specification's initial value, which this
/// side never changes.
pub const WINDOW: usize = 64 << 10;

const MAX_DELTA: usize = 0x7fff_ffff;
/// The connection itself, in WINDOW_UPDATE.
const CONNECTION: StreamId = StreamId(0);

/// A violation of the protocol that ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// A header block is damaged. All later blocks depend on it.
    #[error(transparent)]
    Headers(#[from] headers::Error),
    /// A stream id that is even or not above all before it. The connection ends, not just the stream: resetting a reused id
    /// could hit a stream that is in use.
    #[error("could not open stream {stream}: the id must be odd and above {last}")]
    StreamId {
        /// The id in the SYN_STREAM.
        stream: StreamId,
        /// The highest id so far.
        last: StreamId,
    },
    /// More than [`MAX_REPLIES`] bytes of replies are unread.
    #[error("could not answer the peer: it does not read, and {MAX_REPLIES} bytes of answers wait already")]
    Unread,
}

/// Something the client did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The client opened a stream; answer with [`Session::accept`] or [`Session::reset`].
    Opened {
        /// The new stream.
        stream: StreamId,
        /// The headers of SYN_STREAM; Kubernetes puts `streamtype` and `port` there.
        headers: Headers,
        /// Whether the client has already closed its direction.
        fin: bool,
    },
    /// Data arrived. Call [`Session::consumed`] once it has been processed.
    Data {
        /// The stream.
        stream: StreamId,
        /// The data; may be empty if `fin` is set.
        bytes: Bytes,
        /// Whether the client closed its direction with this frame.
        fin: bool,
    },
    /// The stream no longer exists: the client reset it, or sent data after closing its direction.
    Reset {
        /// The stream.
        stream: StreamId,
    },
    /// The client will open no more streams. Open streams continue.
    GoAway,
}

#[derive(Debug, Default)]
struct Stream {
    accepted: bool,
    /// The client closed its direction.
    received_all: bool,
    /// This side closed its direction.
    sent_all: bool,
    /// Bytes consumed since the last WINDOW_UPDATE.
    consumed: usize,
}

/// The state of one connection; see the module's documentation.
pub struct Session {
    parser: Parser,
    decoder: Decoder,
    encoder: Encoder,
    streams: HashMap<StreamId, Stream>,
    /// The highest id of a SYN_STREAM.
    last: StreamId,
    /// The highest id returned to the caller as [`Event::Opened`]; GOAWAY carries it.
    last_good: StreamId,
    /// The last id that was reset although it was never opened.
    last_invalid: Option<StreamId>,
    /// Bytes consumed on all streams since the last WINDOW_UPDATE of the connection.
    consumed: usize,
    /// Upper bound of the bytes of replies in `output`.
    replies: usize,
    gone_away: bool,
    failed: Option<Error>,
    output: BytesMut,
}

impl Default for Session {
    fn default() -> Session {
        Session::new()
    }
}

impl Session {
    /// A new connection, as it is right after the HTTP upgrade.
    pub fn new() -> Session {
        Session {
            parser: Parser::default(),
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            streams: HashMap::new(),
            last: StreamId(0),
            last_good: StreamId(0),
            last_invalid: None,
            consumed: 0,
            replies: 0,
            gone_away: false,
            failed: None,
            output: BytesMut::new(),
        }
    }

    /// Consumes bytes from the front of `input` and returns the next event, or `None` when more input is needed; less than
    /// one control frame is left in `input` then. May append to the output.
    ///
    /// # Errors
    ///
    /// When the client violates the protocol. The output then ends with a GOAWAY, and every further call returns the same
    /// error.
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Error> {
        loop {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let taken = match self.parser.next(input) {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => self.take(frame),
                Err(error) => Err(error.into()),
            };
            match taken {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Accepts an opened stream with a SYN_REPLY. Nothing can be sent on it before.
    pub fn accept(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream).filter(|state| !state.accepted) else { return };
        state.accepted = true;
        match self.encoder.encode(&Headers::default()) {
            Ok(block) => self.reply(&Frame::SynReply { stream, fin: false, block: block.into() }),
            Err(error) => self.fail(error.into()),
        }
    }

    /// Closes a stream in both directions with RST_STREAM. Data that still arrives on it is dropped.
    pub fn reset(&mut self, stream: StreamId, status: ResetStatus) {
        if self.streams.remove(&stream).is_some() {
            self.reply(&Frame::RstStream { stream, status: status as u32 });
        }
    }

    /// Sends data on a stream. Does nothing if the stream is unknown, reset, finished or not accepted yet.
    pub fn send(&mut self, stream: StreamId, data: &[u8]) {
        if self.streams.get(&stream).is_some_and(Stream::can_send) {
            frame::put_data(&mut self.output, stream, data, false);
        }
    }

    /// Closes this side's direction of a stream with an empty DATA frame with FIN. Does nothing under the same conditions as
    /// [`send`](Session::send), or if the direction is closed already.
    pub fn finish(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream).filter(|state| state.can_send()) else { return };
        state.sent_all = true;
        frame::put_data(&mut self.output, stream, &[], true);
        self.forget_finished(stream);
    }

    /// Reports that bytes of an [`Event::Data`] have been processed, so that clients with flow control may send more. Call it
    /// for every byte, also for streams that no longer exist: the connection's window counts them too.
    pub fn consumed(&mut self, stream: StreamId, bytes: usize) {
        let state = self.streams.get_mut(&stream).filter(|state| !state.received_all);
        if let Some(delta) = state.and_then(|state| grant(&mut state.consumed, bytes)) {
            self.reply(&Frame::WindowUpdate { stream, delta });
        }
        self.consumed_on_connection(bytes);
    }

    /// Sends GOAWAY: streams opened from now on are ignored, open streams continue.
    pub fn go_away(&mut self) {
        self.send_goaway(GoAwayStatus::Ok);
    }

    /// The bytes to write to the client. The caller removes what it has written from the front, and should stop calling
    /// [`receive`](Session::receive) while much is unwritten: replies are appended here too.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// The number of streams that are neither reset nor closed in both directions.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Event>, Error> {
        match frame {
            Frame::SynStream { stream, fin, unidirectional, block } => {
                let headers = self.decoder.decode(&block)?;
                self.opened(stream, headers, fin, unidirectional)
            }
            // This side opens no streams, so the reply is ignored; but each block must pass through the decoder.
            Frame::SynReply { block, .. } => self.decoder.decode(&block).map(|_| None).map_err(Error::from),
            // Kubernetes sends none. The headers are ignored, but not a FIN.
            Frame::Headers { stream, fin, block } => {
                self.decoder.decode(&block)?;
                Ok(if fin { self.received(stream, Bytes::new(), true) } else { None })
            }
            Frame::Data { stream, bytes, fin } => Ok(self.received(stream, bytes, fin)),
            Frame::RstStream { stream, .. } => Ok(self.streams.remove(&stream).map(|_| Event::Reset { stream })),
            Frame::Ping { id } => {
                // Even ids would be replies to this side's pings, and it sends none. client-go drops a connection whose
                // pings are not answered.
                if id % 2 == 1 {
                    self.reply(&Frame::Ping { id });
                }
                Ok(None)
            }
            Frame::GoAway { .. } => Ok(Some(Event::GoAway)),
            Frame::Settings | Frame::WindowUpdate { .. } => Ok(None),
        }
    }

    fn opened(
        &mut self,
        stream: StreamId,
        headers: Headers,
        fin: bool,
        unidirectional: bool,
    ) -> Result<Option<Event>, Error> {
        if !stream.is_odd() || stream <= self.last {
            return Err(Error::StreamId { stream, last: self.last });
        }
        self.last = stream;
        if self.gone_away {
            // The GOAWAY before named the last stream that is processed.
            return Ok(None);
        }
        // Every stream of Kubernetes is answered, and a unidirectional one cannot be.
        if unidirectional || self.streams.len() == MAX_STREAMS {
            self.reply(&Frame::RstStream { stream, status: ResetStatus::RefusedStream as u32 });
            return Ok(None);
        }
        self.last_good = stream;
        self.streams.insert(stream, Stream { received_all: fin, ..Stream::default() });
        Ok(Some(Event::Opened { stream, headers, fin }))
    }

    fn received(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Option<Event> {
        match self.streams.get_mut(&stream) {
            Some(state) if !state.received_all => {
                state.received_all = fin;
                self.forget_finished(stream);
                (fin || !bytes.is_empty()).then_some(Event::Data { stream, bytes, fin })
            }
            Some(_) => {
                self.reset(stream, ResetStatus::StreamAlreadyClosed);
                self.consumed_on_connection(bytes.len());
                Some(Event::Reset { stream })
            }
            None => {
                // A stream that was open may still receive data which the client sent before it saw the reset.
                let was_open = stream.is_odd() && stream <= self.last;
                if !was_open && self.last_invalid.replace(stream) != Some(stream) {
                    self.reply(&Frame::RstStream { stream, status: ResetStatus::InvalidStream as u32 });
                }
                self.consumed_on_connection(bytes.len());
                None
            }
        }
    }

    fn forget_finished(&mut self, stream: StreamId) {
        if self.streams.get(&stream).is_some_and(|state| state.received_all && state.sent_all) {
            self.streams.remove(&stream);
        }
    }

    fn consumed_on_connection(&mut self, bytes: usize) {
        if let Some(delta) = grant(&mut self.consumed, bytes) {
            self.reply(&Frame::WindowUpdate { stream: CONNECTION, delta });
        }
    }

    /// Queues a frame that the client can provoke any number of times, which [`MAX_REPLIES`] limits.
    fn reply(&mut self, frame: &Frame) {
        // The caller removes bytes from the output unseen; what is left is an upper bound of the replies in it.
        let before = self.output.len();
        frame.write(&mut self.output);
        self.replies = self.replies.min(before) + (self.output.len() - before);
        if self.replies > MAX_REPLIES {
            self.fail(Error::Unread);
        }
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
        self.send_goaway(GoAwayStatus::ProtocolError);
    }

    fn send_goaway(&mut self, status: GoAwayStatus) {
        if !std::mem::replace(&mut self.gone_away, true) {
            Frame::GoAway { last_good: self.last_good, status: status as u32 }.write(&mut self.output);
        }
    }
}

impl Stream {
    fn can_send(&self) -> bool {
        self.accepted && !self.sent_all
    }
}

/// Adds to the consumed bytes and returns the size of the next WINDOW_UPDATE, if one is due: at half a window, so that the
/// client neither waits nor receives a grant for every few bytes.
fn grant(consumed: &mut usize, bytes: usize) -> Option<u32> {
    *consumed = consumed.saturating_add(bytes);
    (*consumed >= WINDOW / 2).then(|| std::mem::take(consumed).min(MAX_DELTA) as u32)
}
