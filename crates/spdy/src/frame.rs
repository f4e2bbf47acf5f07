//! Frames of SPDY/3.1: bytes to [`Frame`]s and back.
//!
//! Called by [`session`](super::session). A control frame is read when all of it is there, at most [`MAX_CONTROL`]
//! bytes. A data frame may be 16 MiB long, so its bytes are handed on as they come. Flags and fields that a server
//! of Kubernetes has no use for (priority, slot, associated stream, window sizes, settings) are not kept.

use std::fmt;

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

/// Bytes of a control frame after its first eight, at most. SYN_STREAM of Kubernetes has about 60.
pub const MAX_CONTROL: usize = 64 << 10;
/// Bytes in one data frame that we send: large ones would keep other streams waiting.
pub const MAX_DATA: usize = 32 << 10;
/// Smaller pieces of data are copied, so that a key stroke that waits to be read does not keep a whole read buffer.
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

/// The number of a stream; those that a client opens are odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl StreamId {
    /// Whether it is for clients to choose.
    pub fn is_odd(self) -> bool {
        self.0 % 2 == 1
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a stream is reset, with the numbers of RST_STREAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetStatus {
    /// There is no such stream.
    InvalidStream = 2,
    /// Nothing was done for the stream yet, and nothing will be.
    RefusedStream = 3,
    /// Nobody is interested any more.
    Cancel = 5,
    /// The peer had said that it would send no more.
    StreamAlreadyClosed = 9,
}

/// Why the connection ends, with the numbers of GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoAwayStatus {
    Ok = 0,
    ProtocolError = 1,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control frame of another version.
    #[error("could not read a frame: it is of version {0} of SPDY, not {VERSION}")]
    Version(u16),
    /// A control frame longer than [`MAX_CONTROL`].
    #[error("could not read a {kind} frame: its length is {length}, more than {MAX_CONTROL}")]
    TooLong {
        /// Which frame.
        kind: &'static str,
        /// What it says its length is.
        length: usize,
    },
    /// A control frame whose length does not fit its fields.
    #[error("could not read a {kind} frame: its fields do not fit its length of {length}")]
    Length {
        /// Which frame.
        kind: &'static str,
        /// What it says its length is.
        length: usize,
    },
    /// A frame that needs a stream, without one.
    #[error("could not read a {kind} frame: its stream id is 0")]
    NoStream {
        /// Which frame.
        kind: &'static str,
    },
}

/// One frame, or a piece of a data frame. `block` is a compressed header block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        stream: StreamId,
        fin: bool,
        unidirectional: bool,
        block: Bytes,
    },
    SynReply {
        stream: StreamId,
        fin: bool,
        block: Bytes,
    },
    RstStream {
        stream: StreamId,
        status: u32,
    },
    Settings,
    Ping {
        id: u32,
    },
    GoAway {
        last_good: StreamId,
        status: u32,
    },
    Headers {
        stream: StreamId,
        fin: bool,
        block: Bytes,
    },
    WindowUpdate {
        stream: StreamId,
        delta: u32,
    },
    /// `fin` comes with the last piece of its frame.
    Data {
        stream: StreamId,
        bytes: Bytes,
        fin: bool,
    },
}

/// Cuts what the peer sends into frames.
#[derive(Debug, Default)]
pub struct Parser {
    /// The data frame whose end has not come yet.
    data: Option<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    stream: StreamId,
    left: usize,
    fin: bool,
}

impl Parser {
    /// Takes the next frame, or piece of a data frame, off the front of `input`; `None` when more has to come first.
    ///
    /// # Errors
    ///
    /// When the bytes are no frame. They are left where they are if the frame's first eight bytes say so already.
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

    /// What there is of a data frame. An empty one is told at once, for its `fin`.
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

/// Reads the fields of a control frame; `None` when its kind is not one that we know.
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

/// Appends data frames of at most [`MAX_DATA`] bytes, the last of them with FIN if `fin`; one at least if `fin`.
pub fn put_data(out: &mut BytesMut, stream: StreamId, mut data: &[u8], fin: bool) {
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
    use super::super::client::control;
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
