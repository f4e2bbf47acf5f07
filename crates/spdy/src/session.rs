//! The server's end of one SPDY/3.1 connection, without the connection: bytes in, [`Event`]s and bytes out.
//!
//! Called by the streaming server's connection loop, for exec, attach and port-forward. It does no I/O and knows
//! nothing of Kubernetes. The peers are moby/spdystream clients of client-go, and two of their habits decide what
//! happens here: they drop data for a stream that was not answered yet, and they do no flow control. They never send
//! WINDOW_UPDATE, so a sender that kept to the window of the specification would stop for good after 64 KiB; what we
//! send is held back by TCP alone, and what they grant is ignored. For peers that do keep to it, we grant windows.
//!
//! What the peer can make us hold is bounded: streams by [`MAX_STREAMS`], and answers that it does not read by
//! [`MAX_REPLIES`]. Data is not held here at all.

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

/// Streams that may be open at a time; each forwarded connection takes two.
pub const MAX_STREAMS: usize = 1024;
/// Bytes of answers (to pings, to frames out of place) that may wait in the output. A peer of good will reads them;
/// one that does not could fill our memory with them.
pub const MAX_REPLIES: usize = 1 << 20;
/// Bytes that a peer with flow control sends, on one stream and on all of them, before it waits for a grant. The
/// specification has this for a stream; for the connection we never say anything else.
pub const WINDOW: usize = 64 << 10;

const MAX_DELTA: usize = 0x7fff_ffff;
/// The connection itself, in WINDOW_UPDATE.
const CONNECTION: StreamId = StreamId(0);

/// Why a connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// A header block is damaged, and with it all that follow.
    #[error(transparent)]
    Headers(#[from] headers::Error),
    /// Ids are all that tells streams apart. Whoever counts wrong once may mean anything by an id, and a reset of the
    /// id could hit a stream that is in use; so this ends the connection and not just the stream.
    #[error("could not open stream {stream}: the id must be odd and above {last}")]
    StreamId {
        /// The id that the client chose.
        stream: StreamId,
        /// The highest one that it chose before.
        last: StreamId,
    },
    /// The peer asks, and does not read the answers.
    #[error("could not answer the peer: it does not read, and {MAX_REPLIES} bytes of answers wait already")]
    Unread,
}

/// What the peer did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The client opened a stream; answer with [`Session::accept`] or [`Session::reset`].
    Opened {
        /// The new stream.
        stream: StreamId,
        /// What it is for.
        headers: Headers,
        /// The client will send nothing on it.
        fin: bool,
    },
    /// Bytes came; tell [`Session::consumed`] when they are used up.
    Data {
        /// Where.
        stream: StreamId,
        /// What; may be empty if `fin`.
        bytes: Bytes,
        /// The client will send no more on this stream.
        fin: bool,
    },
    /// The stream is gone: the client reset it, or we did because the client sent data after its end.
    Reset {
        /// Which stream.
        stream: StreamId,
    },
    /// The client will open no more streams; those that are open go on.
    GoAway,
}

#[derive(Debug, Default)]
struct Stream {
    accepted: bool,
    /// The client will send no more.
    received_all: bool,
    /// We will send no more.
    sent_all: bool,
    /// Bytes that were consumed since the last grant.
    consumed: usize,
}

/// One connection.
pub struct Session {
    parser: Parser,
    decoder: Decoder,
    encoder: Encoder,
    streams: HashMap<StreamId, Stream>,
    /// The highest id that the client used.
    last: StreamId,
    /// The highest id that was told to the caller.
    last_good: StreamId,
    /// The last id that was reset without ever having been opened.
    last_invalid: Option<StreamId>,
    /// Bytes on all streams that were consumed since the last grant.
    consumed: usize,
    /// Upper bound of the answers in `output`.
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
    /// A connection on which nothing was said yet, right after the upgrade from HTTP.
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

    /// Takes bytes off the front of `input` and returns the next event; `None` when all of it is used up that can be
    /// now, and more is needed. What stays in `input` then is less than one control frame. May add to the output.
    ///
    /// # Errors
    ///
    /// When the peer breaks the protocol. That is the end: the output has a last GOAWAY, and every further call
    /// returns the same error.
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

    /// Answers a stream that was opened (SYN_REPLY). Until then nothing can be sent on it.
    pub fn accept(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream).filter(|state| !state.accepted) else { return };
        state.accepted = true;
        match self.encoder.encode(&Headers::default()) {
            Ok(block) => self.reply(&Frame::SynReply { stream, fin: false, block: block.into() }),
            Err(error) => self.fail(error.into()),
        }
    }

    /// Ends a stream in both directions (RST_STREAM). What the peer still sends on it is dropped quietly.
    pub fn reset(&mut self, stream: StreamId, status: ResetStatus) {
        if self.streams.remove(&stream).is_some() {
            self.reply(&Frame::RstStream { stream, status: status as u32 });
        }
    }

    /// Sends data on a stream. Nothing is sent on one that is reset, finished, unknown or not accepted yet.
    pub fn send(&mut self, stream: StreamId, data: &[u8]) {
        if self.streams.get(&stream).is_some_and(Stream::can_send) {
            frame::put_data(&mut self.output, stream, data, false);
        }
    }

    /// Says that no more will be sent on a stream: an empty DATA frame with FIN, once, and as with
    /// [`send`](Session::send) only when the stream was accepted.
    pub fn finish(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream).filter(|state| state.can_send()) else { return };
        state.sent_all = true;
        frame::put_data(&mut self.output, stream, &[], true);
        self.forget_finished(stream);
    }

    /// Says that so many bytes from [`Event::Data`] were used up, so that a peer with flow control sends more. It
    /// counts for the connection even when the stream is gone: call it for every byte, or such a peer stops.
    pub fn consumed(&mut self, stream: StreamId, bytes: usize) {
        let state = self.streams.get_mut(&stream).filter(|state| !state.received_all);
        if let Some(delta) = state.and_then(|state| grant(&mut state.consumed, bytes)) {
            self.reply(&Frame::WindowUpdate { stream, delta });
        }
        self.consumed_on_connection(bytes);
    }

    /// Says that no stream will be answered that is opened from now on; those that are open go on.
    pub fn go_away(&mut self) {
        self.say_goaway(GoAwayStatus::Ok);
    }

    /// What has to be written to the peer, in order. Take off the front what was written. While much of it waits
    /// here, do not [`receive`](Session::receive): the peer's answers come in here as well.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// How many streams are neither reset nor finished by both sides.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Event>, Error> {
        match frame {
            Frame::SynStream { stream, fin, unidirectional, block } => {
                let headers = self.decoder.decode(&block)?;
                self.opened(stream, headers, fin, unidirectional)
            }
            // We opened no stream that this could be the answer for; but the decoder has to see it.
            Frame::SynReply { block, .. } => self.decoder.decode(&block).map(|_| None).map_err(Error::from),
            // Kubernetes sends none. Only the end of the stream, which may ride on it, must not be lost.
            Frame::Headers { stream, fin, block } => {
                self.decoder.decode(&block)?;
                Ok(if fin { self.received(stream, Bytes::new(), true) } else { None })
            }
            Frame::Data { stream, bytes, fin } => Ok(self.received(stream, bytes, fin)),
            Frame::RstStream { stream, .. } => Ok(self.streams.remove(&stream).map(|_| Event::Reset { stream })),
            Frame::Ping { id } => {
                // Even ids are ours, and we never ask. client-go drops a connection whose pings are not answered.
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
            // The client learns from our GOAWAY that nothing was done for it.
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
                // One that was open once may still be sent to by a peer that has not read of its end.
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

    /// Queues a frame that the peer can make us send as often as it likes.
    fn reply(&mut self, frame: &Frame) {
        // The caller takes bytes off the output without telling us, but no more answers can wait there than bytes.
        let before = self.output.len();
        frame.write(&mut self.output);
        self.replies = self.replies.min(before) + (self.output.len() - before);
        if self.replies > MAX_REPLIES {
            self.fail(Error::Unread);
        }
    }

    fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
        self.say_goaway(GoAwayStatus::ProtocolError);
    }

    fn say_goaway(&mut self, status: GoAwayStatus) {
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

/// Counts what was consumed; returns what to grant, for half a window and more, so that the peer neither waits nor
/// gets a grant for every few bytes.
fn grant(consumed: &mut usize, bytes: usize) -> Option<u32> {
    *consumed = consumed.saturating_add(bytes);
    (*consumed >= WINDOW / 2).then(|| std::mem::take(consumed).min(MAX_DELTA) as u32)
}
