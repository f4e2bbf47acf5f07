//! Compressed header blocks, as SYN_STREAM, SYN_REPLY and HEADERS carry them.
//!
//! Each direction of a connection is one zlib stream with a sync flush after each block, so every block must pass through
//! its [`Decoder`] in order, also those that are ignored. Decompression stops at [`MAX_BLOCK`] bytes, so that a small
//! frame cannot expand without limit.

use bytes::BufMut;
use flate2::Compress;
use flate2::Compression;
use flate2::Decompress;
use flate2::FlushCompress;
use flate2::FlushDecompress;
use flate2::Status;

use super::dictionary::DICTIONARY;

/// The longest block after decompression, in bytes. Kubernetes' have about 60.
pub const MAX_BLOCK: usize = 64 << 10;
/// The most headers of one block. Kubernetes' have at most 3.
pub const MAX_HEADERS: usize = 32;
/// By how many bytes the output buffer grows while compressing; one step is usually enough.
const STEP: usize = 512;

/// A header block that could not be read or written. The zlib stream cannot be used afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// zlib reported an error; not known to happen.
    #[error("could not compress a header block: {0}")]
    Compress(String),
    /// The block is not in zlib's format, or compressed with another dictionary.
    #[error("could not decompress a header block: {0}")]
    Decompress(String),
    /// The zlib stream, which must last as long as the connection, was ended.
    #[error("could not decompress a header block: its zlib stream ends")]
    Ended,
    /// The decompressed block is longer than [`MAX_BLOCK`].
    #[error("could not decompress a header block: it is longer than {MAX_BLOCK} bytes")]
    TooLong,
    /// The block has more than [`MAX_HEADERS`] headers.
    #[error("could not read a header block: it has more than {MAX_HEADERS} headers")]
    TooMany,
    /// The block ends inside a header.
    #[error("could not read a header block: it ends inside a header")]
    Truncated,
    /// Bytes follow the announced number of headers.
    #[error("could not read a header block: {0} bytes follow the last header")]
    Trailing(usize),
}

/// Headers in their order on the wire, names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    pairs: Vec<(String, String)>,
}

impl Headers {
    /// The first value of a header; the case of `name` does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values; a header with several values is returned once for each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Parses a decompressed block. Invalid UTF-8 becomes U+FFFD: it can only be in values that are not used, and is no
    /// reason to end the connection.
    fn parse(text: &[u8]) -> Result<Headers, Error> {
        let mut headers = Headers::default();
        let (count, mut text) = number(text)?;
        if count > MAX_HEADERS {
            return Err(Error::TooMany);
        }
        for _ in 0..count {
            let (name, rest) = string(text)?;
            let (values, rest) = string(rest)?;
            text = rest;
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            for value in values.split(|byte| *byte == 0) {
                if headers.pairs.len() == MAX_HEADERS {
                    return Err(Error::TooMany);
                }
                headers.pairs.push((name.clone(), String::from_utf8_lossy(value).into_owned()));
            }
        }
        if text.is_empty() { Ok(headers) } else { Err(Error::Trailing(text.len())) }
    }

    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        text.put_u32(self.pairs.len() as u32);
        for (name, value) in self.iter() {
            for string in [name, value] {
                text.put_u32(string.len() as u32);
                text.put_slice(string.as_bytes());
            }
        }
        text
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Headers {
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Headers { pairs: pairs.collect() }
    }
}

/// A 32-bit number, and what follows it.
fn number(text: &[u8]) -> Result<(usize, &[u8]), Error> {
    let (number, rest) = text.split_first_chunk().ok_or(Error::Truncated)?;
    Ok((u32::from_be_bytes(*number) as usize, rest))
}

/// A string after its length, and what follows it.
fn string(text: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (length, rest) = number(text)?;
    rest.split_at_checked(length).ok_or(Error::Truncated)
}

/// Decompresses the header blocks of one direction.
pub struct Decoder {
    zlib: Decompress,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// For a new connection.
    pub fn new() -> Decoder {
        Decoder { zlib: Decompress::new(true) }
    }

    /// Reads the next block of the connection.
    ///
    /// # Errors
    /// When the block is damaged or exceeds a limit; the decoder cannot be used afterwards.
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, Error> {
        Headers::parse(&self.decompress(block)?)
    }

    fn decompress(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Error> {
        // One byte above the limit: if it is used, the block is too long.
        let mut text = Vec::with_capacity(MAX_BLOCK + 1);
        loop {
            let before = (self.zlib.total_in(), text.len());
            let outcome = self.zlib.decompress_vec(block, &mut text, FlushDecompress::Sync);
            block = &block[(self.zlib.total_in() - before.0) as usize..];
            if text.len() > MAX_BLOCK {
                return Err(Error::TooLong);
            }
            match outcome {
                Ok(Status::StreamEnd) => return Err(Error::Ended),
                Ok(_) if block.is_empty() => return Ok(text),
                Ok(_) if (self.zlib.total_in(), text.len()) == before => {
                    return Err(Error::Decompress("it makes no progress".to_owned()));
                }
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(DICTIONARY).map_err(|error| Error::Decompress(error.to_string()))?;
                }
                Err(error) => return Err(Error::Decompress(error.to_string())),
            }
        }
    }
}

/// Compresses the header blocks of one direction.
pub struct Encoder {
    zlib: Compress,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// For a new connection.
    pub fn new() -> Encoder {
        let mut zlib = Compress::new(Compression::best(), true);
        // It can fail only after something was compressed. Without the dictionary the block is larger, and still valid.
        let _ = zlib.set_dictionary(DICTIONARY);
        Encoder { zlib }
    }

    /// Writes the next block of the connection. It ends in a sync flush, without which spdystream waits for more.
    ///
    /// # Errors
    /// When zlib fails, which is not known to happen.
    pub fn encode(&mut self, headers: &Headers) -> Result<Vec<u8>, Error> {
        let (text, begin) = (headers.text(), self.zlib.total_in());
        let mut block = Vec::new();
        loop {
            block.reserve(STEP);
            let rest = &text[(self.zlib.total_in() - begin) as usize..];
            self.zlib
                .compress_vec(rest, &mut block, FlushCompress::Sync)
                .map_err(|error| Error::Compress(error.to_string()))?;
            if block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::MAX_CONTROL;
    use super::*;

    /// Blocks of one client, in order, as CPython's zlib compresses them (level 9, our dictionary, sync flush).
    const FROM_CLIENT: [(&str, &[(&str, &str)]); 6] = [
        ("78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff", &[("streamtype", "error")]),
        ("c22e555c02cc2e00000000ffff", &[("streamtype", "stdin")]),
        ("c22a054ce729f9a52500000000ffff", &[("streamtype", "stdout")]),
        ("02b21800000000ffff", &[]),
        (
            "0225650c795001950829eb8bc0d9cac2c0c20048731641d2462628cf301a00000000ffff",
            &[("streamtype", "data"), ("port", "8080"), ("requestid", "0")],
        ),
        // Two values in one, and a byte that is no UTF-8.
        (
            "02e557906915c022270f94edd881c50f4349793e8859a19b54590229c9fe271e5e02000000ffff",
            &[("x-many", "one"), ("x-many", "two"), ("x-bytes", "\u{fffd}aä")],
        ),
    ];
    /// The same for a server.
    const FROM_SERVER: [(&str, &[(&str, &str)]); 4] = [
        ("78f9e3c6a7c202a6230600000000ffff", &[]),
        ("020100000000ffff", &[]),
        ("02e51212d22a000000ffff", &[("status", "200 OK"), ("version", "HTTP/1.1")]),
        ("02a907000000ffff", &[]),
    ];
    const SYNC_FLUSH: &[u8] = &[0, 0, 0xff, 0xff];

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn header_blocks_of_another_zlib_are_read() {
        for blocks in [&FROM_CLIENT[..], &FROM_SERVER] {
            let mut decoder = Decoder::new();
            for (block, expected) in blocks {
                let headers = decoder.decode(&unhex(block)).unwrap();
                assert_eq!(headers.iter().collect::<Vec<_>>(), *expected);
            }
        }
    }

    /// Not compared with bytes: which ones an encoder chooses may change with every version of it.
    #[test]
    fn header_blocks_are_written_as_the_specification_wants_them() {
        let (mut encoder, mut zlib) = (Encoder::new(), Decompress::new(true));
        for (number, pairs) in [&[("port", "80"), ("streamtype", "data")][..], &[], &[]].iter().enumerate() {
            let block = encoder.encode(&pairs.iter().copied().collect()).unwrap();
            assert!(block.ends_with(SYNC_FLUSH), "{block:x?}");
            let mut rest = &block[..];
            if number == 0 {
                assert_eq!(block[..6], [0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2], "a zlib header with the dictionary's id");
                assert!(
                    zlib.decompress(rest, &mut [], FlushDecompress::Sync).unwrap_err().needs_dictionary().is_some()
                );
                zlib.set_dictionary(DICTIONARY).unwrap();
                rest = &block[6..];
            }
            let mut text = Vec::with_capacity(1000);
            zlib.decompress_vec(rest, &mut text, FlushDecompress::Sync).unwrap();
            let expected: &[u8] = if number == 0 {
                b"\0\0\0\x02\0\0\0\x04port\0\0\0\x0280\0\0\0\x0astreamtype\0\0\0\x04data"
            } else {
                &[0; 4]
            };
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn names_of_headers_are_found_in_any_case() {
        let text = b"\0\0\0\x02\0\0\0\x0astreamType\0\0\0\x04data\0\0\0\x04Port\0\0\0\x0580\x0081";
        let headers = Decoder::new().decode(&compress(text)).unwrap();
        assert_eq!(headers.get("StreamType"), Some("data"));
        assert_eq!((headers.get("port"), headers.get("ports")), (Some("80"), None), "the first value");
        assert_eq!(headers.iter().next(), Some(("streamtype", "data")));
    }

    /// A first header block with this text.
    fn compress(text: &[u8]) -> Vec<u8> {
        let (mut zlib, mut block) = (Compress::new(Compression::best(), true), Vec::with_capacity(text.len() + 1000));
        zlib.set_dictionary(DICTIONARY).unwrap();
        zlib.compress_vec(text, &mut block, FlushCompress::Sync).unwrap();
        block
    }

    #[test]
    fn damaged_header_blocks_are_told_apart() {
        let decode = |block: &[u8]| Decoder::new().decode(block).unwrap_err();
        let many = |count: usize| [&(count as u32).to_be_bytes()[..], &vec![0; 8 * count]].concat();
        assert_eq!(Decoder::new().decode(&compress(&many(MAX_HEADERS))).unwrap().iter().count(), MAX_HEADERS);
        assert_eq!(decode(&compress(&many(MAX_HEADERS + 1))), Error::TooMany);
        let values = [b"\0\0\0\x01\0\0\0\x01n\0\0\0\x20".as_slice(), &[0; 32]].concat();
        assert_eq!(decode(&compress(&values)), Error::TooMany);
        for text in [b"".as_slice(), b"\0\0\0", b"\0\0\0\x01\xff\xff\xff\xffname", b"\0\0\0\x01\0\0\0\x01n"] {
            assert_eq!(decode(&compress(text)), Error::Truncated, "{text:?}");
        }
        assert_eq!(decode(&compress(b"\0\0\0\0??")), Error::Trailing(2));
        assert_eq!(decode(b""), Error::Truncated);
        assert!(matches!(decode(b"no zlib at all"), Error::Decompress(_)));
        assert!(matches!(decode(b"\x78\xf9\0\0\0\x01"), Error::Decompress(_)), "another dictionary");
        let mut ended = Vec::with_capacity(100);
        Compress::new(Compression::best(), true).compress_vec(&[0; 4], &mut ended, FlushCompress::Finish).unwrap();
        assert_eq!(decode(&ended), Error::Ended);
    }

    #[test]
    fn a_header_block_that_swells_is_given_up_early() {
        let bomb = compress(&vec![0; 2 << 20]);
        assert!(bomb.len() < MAX_CONTROL, "it passes for a control frame: {}", bomb.len());
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(&bomb), Err(Error::TooLong));
        assert!(decoder.zlib.total_out() < 2 * MAX_BLOCK as u64);
        assert_eq!(Decoder::new().decode(&compress(&vec![0; MAX_BLOCK + 1])), Err(Error::TooLong));
        let most = [b"\0\0\0\x01\0\0\0\0\0\0\xff\xf4".as_slice(), &[b'v'; MAX_BLOCK - 12]].concat();
        assert!(Decoder::new().decode(&compress(&most)).is_ok());
    }
}
