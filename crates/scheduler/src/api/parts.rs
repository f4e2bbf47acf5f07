//! An answer that does not end, part by part: lines of JSON, or Protobuf with its length in front.

use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Encoding;
use super::Error;

/// The parts of an answer.
pub struct Parts {
    body: Incoming,
    encoding: Encoding,
    path: String,
    buffer: BytesMut,
    /// How much of the buffer is known to have no end of a line.
    searched: usize,
    silence: Duration,
}

/// Nothing that is watched is larger: etcd takes 1.5 MB, and JSON is some times that.
const LARGEST: usize = 64 << 20;
/// The length in front of a part.
const LENGTH: usize = 4;

impl Parts {
    /// The answer to `path`, which is dead when nothing was heard for as long as `silence`.
    pub(super) fn new(body: Incoming, encoding: Encoding, path: &str, silence: Duration) -> Parts {
        Parts { body, encoding, path: path.to_owned(), buffer: BytesMut::new(), searched: 0, silence }
    }

    /// How the parts are written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The next part; `None` when the server has ended the answer.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(part) = self.take()? {
                return Ok(Some(part));
            }
            let Ok(frame) = tokio::time::timeout(self.silence, self.body.frame()).await else {
                return Err(self.broken("nothing was heard for too long"));
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

    /// A part that is there in full.
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
        if length > LARGEST {
            return Err(self.broken("a part is too large to be one"));
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
