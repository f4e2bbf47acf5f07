//! A server's SPDY session with arbitrary input in arbitrary pieces, and arbitrary calls by the server.
#![no_main]

use bytes::Bytes;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

use spdy::Encoder;
use spdy::Event;
use spdy::Frame;
use spdy::Headers;
use spdy::MAX_CONTROL;
use spdy::MAX_HEADERS;
use spdy::MAX_STREAMS;
use spdy::ResetStatus;
use spdy::Session;
use spdy::StreamId;

/// The most bytes that one call of the server can send.
const SENT: usize = 40_000;

fuzz_target!(|input: (Vec<u8>, Vec<(u8, u8)>)| {
    let (bytes, steps) = input;
    Run::new(bytes).play(&steps);
});

struct Run {
    session: Session,
    /// Compresses valid header blocks, which random bytes would hardly ever be.
    client: Encoder,
    next: u32,
    /// Raw bytes that are still to be sent.
    raw: BytesMut,
    input: BytesMut,
    /// Bytes passed to the session, and bytes of data events.
    received: usize,
    delivered: usize,
    /// The upper bound of the output's length.
    allowed: usize,
    over: bool,
}

impl Run {
    fn new(bytes: Vec<u8>) -> Run {
        Run {
            session: Session::new(),
            client: Encoder::new(),
            next: 1,
            raw: BytesMut::from(&bytes[..]),
            input: BytesMut::new(),
            received: 0,
            delivered: 0,
            allowed: 100,
            over: false,
        }
    }

    fn play(&mut self, steps: &[(u8, u8)]) {
        for (what, which) in steps {
            let stream = StreamId(u32::from(*which % 16));
            let size = usize::from(*which);
            match what % 12 {
                0 | 1 => {
                    let piece = self.raw.split_to(size.min(self.raw.len()));
                    self.receive(&piece);
                }
                2 | 3 => self.open(*which),
                4 => self.write(&Frame::Data { stream, bytes: vec![0; size * 40].into(), fin: size.is_multiple_of(4) }),
                // The beginning of a data frame; raw bytes may follow as its rest.
                5 => self.receive(&[0, 0, 0, *which % 16, *which >> 7, 0, *which, 0]),
                6 => self.answer(|session| session.accept(stream)),
                7 => self.answer(|session| session.send(stream, &vec![0; size * SENT / 255])),
                8 => self.answer(|session| session.finish(stream)),
                9 => self.answer(|session| session.reset(stream, ResetStatus::Cancel)),
                10 => self.answer(|session| session.consumed(stream, size << (size % 60))),
                _ if size == 0 => self.answer(Session::go_away),
                _ => {
                    let output = self.session.output();
                    let written = output.split_to(output.len().min(size * 100)).len();
                    self.allowed -= written.min(self.allowed - 100);
                }
            }
        }
        let rest = self.raw.split();
        self.receive(&rest);
    }

    fn open(&mut self, which: u8) {
        let stream = StreamId(self.next);
        self.next += 2;
        let port = which.to_string();
        let headers: Headers = [("streamtype", "data"), ("port", &port)].into_iter().collect();
        let block = Bytes::from(self.client.encode(&headers).unwrap_or_default());
        let (fin, unidirectional) = (which.is_multiple_of(4), which % 32 == 1);
        self.write(&match which % 8 {
            6 => Frame::Headers { stream: StreamId(u32::from(which % 16) + 1), fin, block },
            7 => Frame::SynReply { stream, fin, block },
            _ => Frame::SynStream { stream, fin, unidirectional, block },
        });
    }

    fn write(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.write(&mut bytes);
        self.receive(&bytes);
    }

    fn answer(&mut self, act: impl FnOnce(&mut Session)) {
        act(&mut self.session);
        self.allowed += SENT + 100;
        self.check();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.received += bytes.len();
        // A frame of 8 bytes can cause a reply of 16.
        self.allowed += 2 * bytes.len();
        loop {
            match self.session.receive(&mut self.input) {
                Ok(Some(Event::Data { bytes, fin, .. })) => {
                    assert!(fin || !bytes.is_empty());
                    self.delivered += bytes.len();
                }
                Ok(Some(Event::Opened { stream, headers, .. })) => {
                    assert!(stream.0 % 2 == 1 && headers.iter().count() <= MAX_HEADERS);
                }
                Ok(Some(Event::Reset { .. } | Event::GoAway)) => {}
                Ok(None) => {
                    assert!(!self.over && self.input.len() < MAX_CONTROL + 8);
                    break;
                }
                Err(error) => {
                    assert_eq!(self.session.receive(&mut self.input), Err(error));
                    self.input.clear();
                    self.over = true;
                    break;
                }
            }
        }
        self.check();
    }

    fn check(&mut self) {
        assert!(self.delivered <= self.received);
        assert!(self.session.open_streams() <= MAX_STREAMS);
        let waiting = self.session.output().len();
        assert!(waiting <= self.allowed, "{waiting} of {}", self.allowed);
    }
}
