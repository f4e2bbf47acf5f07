//! Frames of SPDY/3.1: bytes to [`Frame`]s and back.
//!
//! A control frame is parsed once it is complete; its payload has at most [`MAX_CONTROL`] bytes. A data frame can have
//! 16 MiB and is returned in pieces as they arrive. Fields that Kubernetes does not use (priority, slot, associated
//! stream, settings) are discarded.

use std::fmt;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

/// The longest payload of a control frame, in bytes. Kubernetes' SYN_STREAM has about 60.
pub const MAX_CONTROL: usize = 64 << 10;
/// The longest outgoing data frame, in bytes. Longer ones would delay other streams.
pub const MAX_DATA: usize = 32 << 10;
/// Pieces of data below this size are copied out of the read buffer, so that an unread key stroke does not keep the whole
/// buffer allocated.
const SMALL: usize = 8 << 10;

const HEADER: usize = 8;
const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
/// Stream ids, ping ids and window sizes have 31 bits.
const MASK: u32 = 0x7fff_ffff;

const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// The id of a stream. Clients open odd ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl StreamId {
    /// Whether a client may open it.
    pub fn is_odd(self) -> bool {
        self.0 % 2 == 1
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The status of an RST_STREAM frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetStatus {
    /// The stream does not exist.
    InvalidStream = 2,
    /// The stream was refused before it was processed.
    RefusedStream = 3,
    /// The sender no longer needs the stream.
    Cancel = 5,
    /// Data arrived after the sender had closed its direction.
    StreamAlreadyClosed = 9,
}

/// The status of a GOAWAY frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoAwayStatus {
    /// No error.
    Ok = 0,
    /// The peer violated the protocol.
    ProtocolError = 1,
}

/// Bytes that are not a valid frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control frame of another version of SPDY.
    #[error("could not read a frame: it is of version {0} of SPDY, not {VERSION}")]
    Version(u16),
    /// A control frame whose payload exceeds [`MAX_CONTROL`].
    #[error("could not read a {kind} frame: its length is {length}, more than {MAX_CONTROL}")]
    TooLong {
        /// The frame's type.
        kind: &'static str,
        /// The length in its header.
        length: usize,
    },
    /// A control frame whose length does not fit its fields.
    #[error("could not read a {kind} frame: its fields do not fit its length of {length}")]
    Length {
        /// The frame's type.
        kind: &'static str,
        /// The length in its header.
        length: usize,
    },
    /// A frame of a stream with stream id 0.
    #[error("could not read a {kind} frame: its stream id is 0")]
    NoStream {
        /// The frame's type.
        kind: &'static str,
    },
}

/// One frame, or a piece of a data frame. `block` is a compressed header block; `fin` closes the sender's direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: StreamId,
        /// The sender sends no data.
        fin: bool,
        /// The receiver must not send data.
        unidirectional: bool,
        /// The headers.
        block: Bytes,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        stream: StreamId,
        /// The sender sends no data.
        fin: bool,
        /// The headers.
        block: Bytes,
    },
    /// Closes a stream in both directions.
    RstStream {
        /// The stream.
        stream: StreamId,
        /// Why; see [`ResetStatus`].
        status: u32,
    },
    /// Settings of the connection, discarded.
    Settings,
    /// A ping, or the reply to one.
    Ping {
        /// Odd if the client asked.
        id: u32,
    },
    /// Ends the connection in order.
    GoAway {
        /// The last stream that was processed.
        last_good: StreamId,
        /// Why; see [`GoAwayStatus`].
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: StreamId,
        /// The sender sends no more data.
        fin: bool,
        /// The headers.
        block: Bytes,
    },
    /// Allows the receiver to send more.
    WindowUpdate {
        /// The stream, or 0 for the connection.
        stream: StreamId,
        /// How many more bytes.
        delta: u32,
    },
    /// Data of a stream.
    Data {
        /// The stream.
        stream: StreamId,
        /// The data, or a piece of it.
        bytes: Bytes,
        /// The sender sends no more data. Set on the last piece of the frame.
        fin: bool,
    },
}

/// Splits a byte stream into frames.
#[derive(Debug, Default)]
pub struct Parser {
    /// The data frame that is incomplete.
    data: Option<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    stream: StreamId,
    left: usize,
    fin: bool,
}

impl Parser {
    /// Removes the next frame, or piece of a data frame, from the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    ///
    /// When the bytes are not a valid frame. If the first eight bytes show it, they stay in `input`.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(data) = self.data.take() {
                return Ok(self.piece(data, input));
            }
            let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
            let mut header = &header[..];
            let (first, second, flags) = (header.get_u16(), header.get_u16(), header.get_u8());
            let length = header.get_uint(3) as usize;
            if first & CONTROL == 0 {
                let stream = StreamId(u32::from(first) << 16 | u32::from(second));
                let stream = some_stream(stream, "DATA")?;
                input.advance(HEADER);
                self.data = Some(Unfinished { stream, left: length, fin: flags & FIN != 0 });
                continue;
            }
            let (version, kind) = (first & !CONTROL, second);
            if version != VERSION {
                return Err(Error::Version(version));
            }
            if length > MAX_CONTROL {
                return Err(Error::TooLong { kind: name(kind), length });
            }
            if input.len() < HEADER + length {
                return Ok(None);
            }
            input.advance(HEADER);
            if let Some(frame) = control(kind, flags, input.split_to(length).freeze())? {
                return Ok(Some(frame));
            }
        }
    }

    /// The available part of a data frame. An empty frame is returned at once, for its `fin`.
    fn piece(&mut self, data: Unfinished, input: &mut BytesMut) -> Option<Frame> {
        let Unfinished { stream, left, fin } = data;
        let take = left.min(input.len());
        if take == 0 && left > 0 {
            self.data = Some(data);
            return None;
        }
        let piece = input.split_to(take);
        let bytes = if take < SMALL { Bytes::copy_from_slice(&piece) } else { piece.freeze() };
        if take < left {
            self.data = Some(Unfinished { stream, left: left - take, fin });
        }
        Some(Frame::Data { stream, bytes, fin: fin && take == left })
    }
}

/// Parses the fields of a control frame; `None` for unknown types, which the specification says to ignore.
fn control(kind: u16, flags: u8, mut payload: Bytes) -> Result<Option<Frame>, Error> {
    let length = payload.len();
    let fields: usize = match kind {
        SYN_STREAM => 10,
        SYN_REPLY | SETTINGS | PING | HEADERS => 4,
        RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
        _ => return Ok(None),
    };
    let rest = length.checked_sub(fields).ok_or(Error::Length { kind: name(kind), length })?;
    let first = payload.get_u32();
    let stream = StreamId(first & MASK);
    let fits = match kind {
        SYN_STREAM | SYN_REPLY | HEADERS => true,
        SETTINGS => rest as u64 == 8 * u64::from(first),
        _ => rest == 0,
    };
    if !fits {
        return Err(Error::Length { kind: name(kind), length });
    }
    if matches!(kind, SYN_STREAM | SYN_REPLY | RST_STREAM | HEADERS) {
        some_stream(stream, name(kind))?;
    }
    let fin = flags & FIN != 0;
    Ok(Some(match kind {
        SYN_STREAM => {
            // The associated stream, the priority and the slot.
            payload.advance(6);
            Frame::SynStream { stream, fin, unidirectional: flags & UNIDIRECTIONAL != 0, block: payload }
        }
        SYN_REPLY => Frame::SynReply { stream, fin, block: payload },
        RST_STREAM => Frame::RstStream { stream, status: payload.get_u32() },
        PING => Frame::Ping { id: first },
        GOAWAY => Frame::GoAway { last_good: stream, status: payload.get_u32() },
        HEADERS => Frame::Headers { stream, fin, block: payload },
        WINDOW_UPDATE => Frame::WindowUpdate { stream, delta: payload.get_u32() & MASK },
        _ => Frame::Settings,
    }))
}

fn some_stream(stream: StreamId, kind: &'static str) -> Result<StreamId, Error> {
    if stream.0 == 0 { Err(Error::NoStream { kind }) } else { Ok(stream) }
}

fn name(kind: u16) -> &'static str {
    match kind {
        SYN_STREAM => "SYN_STREAM",
        SYN_REPLY => "SYN_REPLY",
        RST_STREAM => "RST_STREAM",
        SETTINGS => "SETTINGS",
        PING => "PING",
        GOAWAY => "GOAWAY",
        HEADERS => "HEADERS",
        WINDOW_UPDATE => "WINDOW_UPDATE",
        _ => "control",
    }
}

impl Frame {
    /// Appends the frame's bytes.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Frame::SynStream { stream, fin, unidirectional, block } => {
                let flags = flag(*fin, FIN) | flag(*unidirectional, UNIDIRECTIONAL);
                // No associated stream, the highest priority, no slot.
                put_control(out, SYN_STREAM, flags, &[stream.0, 0], &[&[0, 0], &block[..]]);
            }
            Frame::SynReply { stream, fin, block } => {
                put_control(out, SYN_REPLY, flag(*fin, FIN), &[stream.0], &[block]);
            }
            Frame::RstStream { stream, status } => put_control(out, RST_STREAM, 0, &[stream.0, *status], &[]),
            Frame::Settings => put_control(out, SETTINGS, 0, &[0], &[]),
            Frame::Ping { id } => put_control(out, PING, 0, &[*id], &[]),
            Frame::GoAway { last_good, status } => put_control(out, GOAWAY, 0, &[last_good.0, *status], &[]),
            Frame::Headers { stream, fin, block } => {
                put_control(out, HEADERS, flag(*fin, FIN), &[stream.0], &[block]);
            }
            Frame::WindowUpdate { stream, delta } => put_control(out, WINDOW_UPDATE, 0, &[stream.0, *delta], &[]),
            Frame::Data { stream, bytes, fin } => put_data(out, *stream, bytes, *fin),
        }
    }
}

/// Appends data frames of at most [`MAX_DATA`] bytes, the last of them with FIN if `fin`; with `fin`, at least one.
pub(crate) fn put_data(out: &mut BytesMut, stream: StreamId, mut data: &[u8], fin: bool) {
    out.reserve(data.len() + HEADER * data.len().div_ceil(MAX_DATA).max(1));
    while !data.is_empty() || fin {
        let (piece, rest) = data.split_at(data.len().min(MAX_DATA));
        data = rest;
        let last = fin && data.is_empty();
        out.put_u32(stream.0);
        out.put_u32(u32::from(flag(last, FIN)) << 24 | piece.len() as u32);
        out.put_slice(piece);
        if last {
            break;
        }
    }
}

fn put_control(out: &mut BytesMut, kind: u16, flags: u8, fields: &[u32], rest: &[&[u8]]) {
    let length = fields.len() * 4 + rest.iter().map(|part| part.len()).sum::<usize>();
    debug_assert!(length <= MAX_CONTROL);
    out.reserve(HEADER + length);
    out.put_u16(CONTROL | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | length as u32);
    fields.iter().for_each(|field| out.put_u32(*field));
    rest.iter().for_each(|part| out.put_slice(part));
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::control;
    use super::*;

    #[test]
    fn bytes_that_are_no_frames_are_told_apart() {
        let length = |kind, length| Error::Length { kind, length };
        let no_stream = |kind| Error::NoStream { kind };
        let cases = [
            (control(2, 1, 0, &[0; 10]), Error::Version(2)),
            (vec![0x80, 3, 0, 1, 0, 1, 0, 1], Error::TooLong { kind: "SYN_STREAM", length: 65537 }),
            (vec![0x80, 3, 0, 99, 0, 0xff, 0xff, 0xff], Error::TooLong { kind: "control", length: 0x00ff_ffff }),
            (control(3, 1, 0, &[0; 9]), length("SYN_STREAM", 9)),
            (control(3, 2, 0, &[0; 3]), length("SYN_REPLY", 3)),
            (control(3, 3, 0, &[1; 7]), length("RST_STREAM", 7)),
            (control(3, 4, 0, &[0xff; 20]), length("SETTINGS", 20)),
            (control(3, 6, 0, &[1; 5]), length("PING", 5)),
            (control(3, 7, 0, &[0; 4]), length("GOAWAY", 4)),
            (control(3, 8, 0, &[]), length("HEADERS", 0)),
            (control(3, 9, 0, &[1; 9]), length("WINDOW_UPDATE", 9)),
            (control(3, 1, 0, &[0; 10]), no_stream("SYN_STREAM")),
            (control(3, 3, 0, &[0x80, 0, 0, 0, 0, 0, 0, 1]), no_stream("RST_STREAM")),
            (vec![0, 0, 0, 0, 0, 0, 0, 0], no_stream("DATA")),
        ];
        for (bytes, error) in cases {
            let mut parser = Parser::default();
            assert_eq!(parser.next(&mut BytesMut::from(&bytes[..7])), Ok(None), "{bytes:x?}");
            assert_eq!(parser.next(&mut BytesMut::from(&bytes[..])), Err(error), "{bytes:x?}");
        }
        assert_eq!(Error::Version(2).to_string(), "could not read a frame: it is of version 2 of SPDY, not 3");
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let (stream, block) = (StreamId(0x7fff_ffff), Bytes::from_static(b"block"));
        let frames = [
            Frame::SynStream { stream, fin: true, unidirectional: false, block: block.clone() },
            Frame::SynStream { stream, fin: false, unidirectional: true, block: Bytes::new() },
            Frame::SynReply { stream, fin: true, block: block.clone() },
            Frame::RstStream { stream, status: 5 },
            Frame::Settings,
            Frame::Ping { id: u32::MAX },
            Frame::GoAway { last_good: stream, status: 1 },
            Frame::Headers { stream, fin: false, block },
            Frame::WindowUpdate { stream, delta: MASK },
            Frame::Data { stream, bytes: vec![1; SMALL + 1].into(), fin: true },
            Frame::Data { stream, bytes: Bytes::new(), fin: true },
        ];
        let (mut bytes, mut parser) = (BytesMut::new(), Parser::default());
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        for frame in frames {
            assert_eq!(parser.next(&mut bytes), Ok(Some(frame)));
        }
        assert_eq!(parser.next(&mut bytes), Ok(None));
    }
}
