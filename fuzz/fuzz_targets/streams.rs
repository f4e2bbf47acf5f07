//! What else comes from outside on a stream: WebSocket messages of clients, and Docker's divided output.
#![no_main]

// Parts of these modules are for callers that are not here.
#[allow(dead_code)]
#[path = "../../src/docker/demux.rs"]
mod demux;
#[allow(dead_code)]
#[path = "../../src/stream/framing.rs"]
mod framing;

use bytes::Bytes;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

use demux::Demux;
use demux::Source;
use framing::Framing;
use framing::Incoming;
use framing::Outgoing;

const FRAMINGS: [Framing; 3] =
    [Framing::Binary { half_close: false }, Framing::Binary { half_close: true }, Framing::Base64];

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (bytes, cut) = input;
    messages(&bytes, cut);
    output(&bytes, usize::from(cut) + 1);
});

/// Any message is understood or refused; what is sent is understood as it was meant.
fn messages(bytes: &[u8], channel: u8) {
    for framing in FRAMINGS {
        if let Ok(Incoming::Data(_, data)) = framing.decode(&Bytes::copy_from_slice(bytes)) {
            assert!(data.len() < bytes.len());
        }
        let channel = u32::from(channel % 10);
        let sent = match framing.encode(channel, bytes) {
            Outgoing::Binary(message) => message,
            Outgoing::Text(message) => message.into(),
        };
        assert_eq!(framing.decode(&sent), Ok(Incoming::Data(channel, Bytes::copy_from_slice(bytes))));
    }
}

/// The same comes out whatever way it was cut, and never more than came in.
fn output(bytes: &[u8], chunk: usize) {
    let whole = demultiplex(bytes, bytes.len().max(1));
    assert_eq!(demultiplex(bytes, chunk), whole);
    let (stdout, stderr, _) = whole;
    assert!(stdout.len() + stderr.len() <= bytes.len());
}

fn demultiplex(bytes: &[u8], chunk: usize) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut demux, mut received) = (Demux::default(), BytesMut::new());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(chunk) {
        received.extend_from_slice(chunk);
        loop {
            match demux.take(&mut received) {
                Ok(Some((Source::Stdout, bytes))) => stdout.extend_from_slice(&bytes),
                Ok(Some((Source::Stderr, bytes))) => stderr.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(_) => return (stdout, stderr, true),
            }
        }
    }
    (stdout, stderr, false)
}
