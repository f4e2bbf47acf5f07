//! What the conversion guarantees for any bytes: fuzzed by `hack/fuzz log_lines`, and checked here with random inputs.

use super::convert::convert;
use super::convert::convert_line;

/// Docker splits longer lines into parts of this many bytes.
const PART: usize = 16 << 10;

/// Any input, however damaged, is converted to whole lines of four fields, the same in every chunk size.
pub(crate) fn any_file_becomes_whole_lines(bytes: &[u8], chunk: usize) {
    let mut whole = Vec::new();
    let done = convert(bytes, &mut whole, u64::MAX);
    assert_eq!(done.consumed, memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1));
    assert_eq!(done.lines, memchr::memchr_iter(b'\n', &whole).count() as u64);
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.splitn(4, |byte| *byte == b' ').collect();
        assert_eq!(fields.len(), 4);
        assert!(fields[1] == b"stdout" || fields[1] == b"stderr");
        assert!(fields[2] == b"P" || fields[2] == b"F");
    }
    let (mut pieces, mut from, mut to) = (Vec::new(), 0, 0);
    while to < bytes.len() {
        to = (to + chunk).min(bytes.len());
        from += convert(&bytes[from..to], &mut pieces, u64::MAX).consumed;
    }
    assert!(pieces == whole);
    // The unfinished last line must not panic either.
    convert_line(&bytes[from..], &mut pieces);
}

/// What a container writes is converted unchanged, except for invalid UTF-8.
pub(crate) fn any_output_comes_out_as_written(bytes: &[u8]) {
    let mut file = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (text, newline) = line.strip_suffix(b"\n").map_or((line, ""), |text| (text, "\n"));
        let mut pieces: Vec<String> =
            text.chunks(PART).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
        if pieces.is_empty() {
            pieces.push(String::new());
        }
        if let Some(last) = pieces.last_mut() {
            last.push_str(newline);
        }
        for piece in pieces {
            let text = serde_json::to_string(&piece).unwrap_or_default();
            let entry = format!("{{\"log\":{text},\"stream\":\"stderr\",\"time\":\"2026-01-01T00:00:00.5Z\"}}\n");
            file.extend_from_slice(entry.as_bytes());
        }
    }
    let mut out = Vec::new();
    assert_eq!(convert(&file, &mut out, u64::MAX).damaged, None);
    let mut read = String::new();
    for line in out.split_inclusive(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.splitn(4, ' ').skip(2);
        let (tag, text) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        read.push_str(if tag == "P" { text.trim_end_matches('\n') } else { text });
    }
    let expected: String = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| line.chunks(PART).map(|piece| String::from_utf8_lossy(piece).into_owned()))
        .collect();
    assert!(read == expected);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_converted(bytes in prop::collection::vec(any::<u8>(), 0..400), chunk in 1usize..50) {
            any_file_becomes_whole_lines(&bytes, chunk);
            any_output_comes_out_as_written(&bytes);
        }
    }
}
