//! The client's end, for the tests: what moby/spdystream does with frames, as far as a server can tell.

use bytes::Bytes;
use bytes::BytesMut;

use super::frame::Frame;
use super::frame::Parser;
use super::frame::StreamId;
use super::headers::Decoder;
use super::headers::Encoder;
use super::headers::Headers;

/// One connection of a client.
pub struct Client {
    encoder: Encoder,
    decoder: Decoder,
    parser: Parser,
    next: u32,
    /// What has to be written to the server.
    pub output: BytesMut,
}

impl Client {
    pub fn new() -> Client {
        Client {
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            parser: Parser::default(),
            next: 1,
            output: BytesMut::new(),
        }
    }

    /// Opens a stream with the next id.
    pub fn open(&mut self, headers: &[(&str, &str)], fin: bool) -> StreamId {
        let stream = StreamId(self.next);
        self.next += 2;
        let block = self.block(headers);
        self.write(&Frame::SynStream { stream, fin, unidirectional: false, block });
        stream
    }

    pub fn data(&mut self, stream: StreamId, bytes: &[u8], fin: bool) {
        self.write(&Frame::Data { stream, bytes: Bytes::copy_from_slice(bytes), fin });
    }

    pub fn write(&mut self, frame: &Frame) {
        frame.write(&mut self.output);
    }

    /// The next header block of the connection.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Bytes {
        self.encoder.encode(&headers.iter().copied().collect::<Headers>()).unwrap().into()
    }

    /// What the server sent, all of which has to be whole; pieces of a data frame are one again, and so are the
    /// frames between two others.
    pub fn read(&mut self, server: &mut BytesMut) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        while let Some(mut frame) = self.parser.next(server).unwrap() {
            if let Frame::SynReply { block, .. } = &mut frame {
                assert_eq!(self.decoder.decode(block).unwrap(), Headers::default());
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
        assert!(server.is_empty(), "half a frame: {server:?}");
        frames
    }
}

/// A control frame of any kind and any version.
pub fn control(version: u8, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&[0x80, version, 0, kind, flags], &length[1..], payload].concat()
}
