//! Splits the body of a watch into events: lines of JSON, or length-prefixed Protobuf frames.

use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Encoding;
use super::Error;

/// The events of a watch, still encoded.
pub(crate) struct WatchStream {
    body: Incoming,
    encoding: Encoding,
    path: String,
    buffer: BytesMut,
    /// The length of the buffer's beginning that contains no newline.
    searched: usize,
    idle_timeout: Duration,
}

/// The largest frame: etcd limits objects to 1.5 MB, and JSON is a few times larger.
const MAX_FRAME: usize = 64 << 20;
/// The size of a frame's length prefix.
const LENGTH: usize = 4;

impl WatchStream {
    /// The response to `path`; it fails when nothing is received for `idle_timeout`.
    pub(super) fn new(body: Incoming, encoding: Encoding, path: &str, idle_timeout: Duration) -> WatchStream {
        WatchStream { body, encoding, path: path.to_owned(), buffer: BytesMut::new(), searched: 0, idle_timeout }
    }

    /// The encoding of the events.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The next event; `None` when the server has closed the watch.
    ///
    /// # Errors
    /// The watch ended otherwise.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            let Ok(frame) = tokio::time::timeout(self.idle_timeout, self.body.frame()).await else {
                return Err(self.broken("nothing was received for too long"));
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.broken(&error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// A complete event in the buffer.
    fn take(&mut self) -> Result<Option<Bytes>, Error> {
        match self.encoding {
            Encoding::Json => Ok(self.take_line()),
            Encoding::Protobuf => self.take_frame(),
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }

    fn take_frame(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(self.broken("a frame exceeds the size limit"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Broken { path: self.path.clone(), reason: reason.to_owned() }
    }
}
