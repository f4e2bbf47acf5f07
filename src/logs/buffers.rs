//! The memory that a step works in. Each worker has one set and uses it for all containers in turn, so following a
//! log costs no memory and a line no allocation.

/// Bytes read at a time. Docker's longest entry has 16 KiB of text, of which each byte takes at most six in JSON.
pub(super) const CHUNK_SIZE: usize = 256 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Buffers {
    /// What was read from the Docker log.
    pub(super) chunk: Vec<u8>,
    /// The CRI lines it was converted to; never longer than the entries they came from.
    pub(super) lines: Vec<u8>,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers { chunk: vec![0; CHUNK_SIZE], lines: Vec::with_capacity(CHUNK_SIZE) }
    }
}
