//! Takes the output of a process apart: Docker puts standard output and standard error on one connection, in pieces that
//! say which they are of. Knows nothing of connections.

use std::io;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;

/// Docker puts one before each piece of output of a process without a terminal: the source, three zeros, and the
/// length as a big-endian number.
const HEADER: usize = 8;

/// Which output of a process a piece is from. One with a terminal has only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

/// Takes pieces of output apart from their headers. A piece is given on as it comes, not when it is complete: its
/// length says nothing of how soon the rest follows.
#[derive(Debug, Default)]
pub(super) struct Demux {
    /// The piece that is being received, and how much of it is to come.
    current: Option<(Source, usize)>,
}

impl Demux {
    /// The next bytes of output at the front of `received`.
    pub(super) fn take(&mut self, received: &mut BytesMut) -> io::Result<Option<(Source, Bytes)>> {
        loop {
            match self.current {
                Some((_, 0)) => self.current = None,
                Some(_) if received.is_empty() => return Ok(None),
                Some((source, left)) => {
                    let bytes = received.split_to(left.min(received.len())).freeze();
                    self.current = Some((source, left - bytes.len()));
                    return Ok(Some((source, bytes)));
                }
                None if received.len() < HEADER => return Ok(None),
                None => self.current = Some(header(received)?),
            }
        }
    }

    /// Whether the connection ended in the middle of a piece, if it ends here.
    pub(super) fn is_within(&self) -> bool {
        self.current.is_some_and(|(_, left)| left > 0)
    }
}

fn header(received: &mut BytesMut) -> io::Result<(Source, usize)> {
    let source = received.get_u8();
    received.advance(3);
    let length = received.get_u32();
    let source = match source {
        // Input that is echoed is output like any other.
        0 | 1 => Source::Stdout,
        2 => Source::Stderr,
        other => {
            let words = format!("Docker sent output of an unknown kind, {other}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
    };
    Ok((source, usize::try_from(length).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn pieces_come_out_whatever_way_they_were_cut() {
        let sent = [piece(1, "hello "), piece(2, "warning"), piece(1, ""), piece(1, "world")].concat();
        for chunk in 1..sent.len() {
            let (mut demux, mut received) = (Demux::default(), BytesMut::new());
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for bytes in sent.chunks(chunk) {
                received.extend_from_slice(bytes);
                while let Some((source, bytes)) = demux.take(&mut received).unwrap() {
                    match source {
                        Source::Stdout => stdout.extend(bytes),
                        Source::Stderr => stderr.extend(bytes),
                    }
                }
            }
            assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"hello world"[..], &b"warning"[..]));
            assert!(!demux.is_within() && received.is_empty());
        }
    }

    #[test]
    fn what_is_not_dockers_format_is_an_error() {
        let mut received = BytesMut::from(&piece(9, "x")[..]);
        assert!(Demux::default().take(&mut received).is_err());
    }
}
