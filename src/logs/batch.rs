//! The buffers of one worker, shared by all containers in turn.

use std::io;

use super::convert::Converted;
use super::convert::convert;
use super::source::Source;

/// What is read at a time. Docker's longest record has 16 KiB of text, of which each byte may take six.
const CHUNK: usize = 256 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) input: Vec<u8>,
    /// CRI lines; never longer than the records they were made from.
    pub(super) output: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch { input: vec![0; CHUNK], output: Vec::with_capacity(CHUNK) }
    }

    /// Reads a chunk, and makes of it the lines of at most `limit` records. Nothing is consumed at the end of the file,
    /// be it in the middle of a record.
    ///
    /// Every chunk begins where a line begins, so that the same file always falls into the same lines.
    pub(super) fn fill(&mut self, source: &Source, offset: u64, limit: u64) -> io::Result<Converted> {
        self.output.clear();
        let read = source.read_at(&mut self.input, offset)?;
        let mut done = convert(&self.input[..read], &mut self.output, limit);
        if done.consumed == 0 && read == CHUNK && limit > 0 {
            // No record is this long.
            done.consumed = read;
            done.damaged = Some((0, 1));
        }
        Ok(done)
    }
}
