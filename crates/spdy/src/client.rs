//! The client's side of a connection, for tests, examples and benchmarks: it sends what moby/spdystream would send.

use bytes::Bytes;
use bytes::BytesMut;

use crate::FrameError;
use crate::HeadersError;
use crate::frame::Frame;
use crate::frame::Parser;
use crate::frame::StreamId;
use crate::headers::Decoder;
use crate::headers::Encoder;
use crate::headers::Headers;

/// One client connection, without I/O.
pub struct Client {
    encoder: Encoder,
    decoder: Decoder,
    parser: Parser,
    next: u32,
    /// The bytes to write to the server.
    pub output: BytesMut,
}

/// A server's answer that the client cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that are not a valid frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A header block that is damaged.
    #[error(transparent)]
    Headers(#[from] HeadersError),
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Client {
    /// A new connection, as it is right after the HTTP upgrade.
    pub fn new() -> Client {
        Client {
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            parser: Parser::default(),
            next: 1,
            output: BytesMut::new(),
        }
    }

    /// Opens a stream with the next id; `fin` closes the client's direction at once.
    pub fn open(&mut self, headers: &[(&str, &str)], fin: bool) -> StreamId {
        let stream = StreamId(self.next);
        self.next += 2;
        let block = self.block(headers);
        self.write(&Frame::SynStream { stream, fin, unidirectional: false, block });
        stream
    }

    /// Sends data on a stream; `fin` closes the client's direction.
    pub fn data(&mut self, stream: StreamId, bytes: &[u8], fin: bool) {
        self.write(&Frame::Data { stream, bytes: Bytes::copy_from_slice(bytes), fin });
    }

    /// Sends any frame.
    pub fn write(&mut self, frame: &Frame) {
        frame.write(&mut self.output);
    }

    /// The connection's next header block. Blocks must be sent in the order in which they are made.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Bytes {
        // zlib fails only on a damaged state of its own; an empty block would then be refused by the server.
        self.encoder.encode(&headers.iter().copied().collect::<Headers>()).unwrap_or_default().into()
    }

    /// Removes all complete frames from the front of `server` and returns them. Consecutive data frames of one stream are
    /// joined, and the compressed block of a SYN_REPLY without headers is returned as empty.
    ///
    /// # Errors
    /// When the server's bytes are not valid frames or header blocks.
    pub fn read(&mut self, server: &mut BytesMut) -> Result<Vec<Frame>, Error> {
        let mut frames: Vec<Frame> = Vec::new();
        while let Some(mut frame) = self.parser.next(server)? {
            if let Frame::SynReply { block, .. } = &mut frame
                && self.decoder.decode(block)? == Headers::default()
            {
                *block = Bytes::new();
            }
            match (frames.last_mut(), frame) {
                (
                    Some(Frame::Data { stream, bytes, fin: last @ false }),
                    Frame::Data { stream: same, bytes: more, fin },
                ) if *stream == same => {
                    *bytes = [&bytes[..], &more[..]].concat().into();
                    *last = fin;
                }
                (_, frame) => frames.push(frame),
            }
        }
        Ok(frames)
    }
}
