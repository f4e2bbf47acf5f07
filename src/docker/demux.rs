//! Docker's multiplexed stream: standard output and standard error of a process on one connection, in frames that name
//! their source. Does no I/O.

use std::io;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;

/// The size of a frame's header in bytes: the source, three zeros, and the length as a 32-bit big-endian number
/// (Docker's API, `ContainerAttach`).
const HEADER: usize = 8;

/// Which output of a process a piece is from. A process with a terminal has only standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes the headers out of the stream. The content of a frame is passed on as it arrives, not when the frame is
/// complete: the rest may arrive much later.
#[derive(Debug, Default)]
pub(super) struct Demux {
    /// The source of the frame that is being received, and how many bytes of it are missing.
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

    /// Whether a frame is incomplete: the connection must not be closed here.
    pub(super) fn is_within(&self) -> bool {
        self.current.is_some_and(|(_, left)| left > 0)
    }
}

fn header(received: &mut BytesMut) -> io::Result<(Source, usize)> {
    let source = received.get_u8();
    received.advance(3);
    let length = received.get_u32();
    let source = match source {
        // 0 is standard input, which Docker may echo.
        0 | 1 => Source::Stdout,
        2 => Source::Stderr,
        other => {
            let message = format!("Docker sent output of an unknown source, {other}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    };
    Ok((source, usize::try_from(length).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![source, 0, 0, 0];
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn output_does_not_depend_on_how_it_was_cut() {
        let sent = [frame(1, "hello "), frame(2, "warning"), frame(1, ""), frame(1, "world")].concat();
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
    fn an_unknown_source_is_an_error() {
        let mut received = BytesMut::from(&frame(9, "x")[..]);
        assert!(Demux::default().take(&mut received).is_err());
    }
}
