//! Converts bytes of a Docker log to CRI lines.
//!
//! The result depends on the bytes alone: the same bytes always make the same lines, one for each entry. `resume`
//! relies on that.

use memchr::memchr;
use memchr::memmem;
use memchr::memrchr;

use super::buffers::CHUNK_SIZE;
use super::entry::Entry;
use super::entry::START;

/// The outcome of a conversion.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Converted {
    /// Bytes of the input that were converted, including the last newline.
    pub(super) consumed: usize,
    /// CRI lines that were appended.
    pub(super) lines: u64,
    /// The time of the last of them, as Docker wrote it.
    pub(super) last_time: Option<String>,
    /// The offset of the first input line that is not an entry, or only partly one, and the number of such lines.
    pub(super) damaged: Option<(usize, u64)>,
}

impl Converted {
    fn add_damage(&mut self, at: usize) {
        let (_, count) = self.damaged.get_or_insert((at, 0));
        *count += 1;
    }
}

/// Converts a chunk that begins where a line begins: replaces the contents of `lines` by the CRI lines of at most
/// `limit` entries. Nothing is consumed when the chunk has no whole line, unless it is full: no entry is that long.
pub(super) fn convert_chunk(chunk: &[u8], lines: &mut Vec<u8>, limit: u64) -> Converted {
    lines.clear();
    let mut converted = convert(chunk, lines, limit);
    if converted.consumed == 0 && chunk.len() == CHUNK_SIZE && limit > 0 {
        converted.consumed = chunk.len();
        converted.damaged = Some((0, 1));
    }
    converted
}

/// Appends to `out` the CRI lines of all whole lines in `input`, but of at most `limit` entries.
pub(super) fn convert(input: &[u8], out: &mut Vec<u8>, limit: u64) -> Converted {
    let mut converted = Converted::default();
    let Some(end) = memrchr(b'\n', input) else { return converted };
    let mut time = None;
    while converted.consumed <= end && converted.lines < limit {
        let at = converted.consumed;
        let length = memchr(b'\n', &input[at..=end]).unwrap_or(end - at);
        let line = &input[at..at + length];
        converted.consumed = at + length + 1;
        let (written, whole) = convert_line(line, out);
        if !whole {
            converted.add_damage(at);
        }
        if let Some(written) = written {
            converted.lines += 1;
            time = Some(written);
        }
    }
    converted.last_time = time.map(str::to_owned);
    converted
}

/// Appends the CRI line of one input line, given without its newline. Returns the time of the entry that was found, and
/// whether the entry was the whole line.
pub(super) fn convert_line<'a>(line: &'a [u8], out: &mut Vec<u8>) -> (Option<&'a str>, bool) {
    let write = |line: &'a [u8], out: &mut Vec<u8>| {
        let entry = Entry::parse(line)?;
        entry.write_cri(out)?;
        Some(entry.time)
    };
    match write(line, out) {
        Some(time) => (Some(time), true),
        // Docker was interrupted in the middle of an entry (a full disk, a kill) and appended the next one directly.
        // No text can look like the beginning of an entry: its quotes are escaped.
        None => {
            let last = memmem::rfind(line, START).filter(|at| *at > 0);
            (last.and_then(|at| write(&line[at..], out)), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> String {
        format!(r#"{{"log":"{text}","stream":"stdout","time":"2026-01-01T00:00:00Z"}}"#)
    }

    fn all(input: &[u8]) -> (Vec<u8>, Converted) {
        let mut out = Vec::new();
        let converted = convert(input, &mut out, u64::MAX);
        (out, converted)
    }

    #[test]
    fn an_unfinished_last_line_is_not_consumed() {
        let input = format!("{}\n{}", line(r"a\n"), line(r"b\n"));
        let (out, converted) = all(input.as_bytes());
        assert_eq!(out, b"2026-01-01T00:00:00Z stdout F a\n");
        assert_eq!((converted.lines, converted.consumed), (1, line(r"a\n").len() + 1));
    }

    #[test]
    fn an_entry_after_a_torn_one_is_found_and_the_damage_is_reported() {
        let good = line(r"a\n");
        let input = format!("{good}\n{}{good}\nrubbish\n{good}\n", &good[..good.len() / 2]);
        let (out, converted) = all(input.as_bytes());
        assert_eq!(out, b"2026-01-01T00:00:00Z stdout F a\n".repeat(3));
        assert_eq!(converted.consumed, input.len());
        assert_eq!(converted.damaged, Some((good.len() + 1, 2)));
    }

    #[test]
    fn no_more_lines_are_made_than_the_limit() {
        let input = format!("{}\n", line(r"a\n")).repeat(5);
        let mut out = Vec::new();
        let converted = convert(input.as_bytes(), &mut out, 3);
        assert_eq!((converted.lines, converted.consumed), (3, input.len() / 5 * 3));
    }

    /// An entry as Docker writes it: see `jsonlog.JSONLogs` and Go's rules for strings.
    fn docker_entry(text: &[u8], stream: &str) -> Vec<u8> {
        let text = String::from_utf8_lossy(text);
        let escaped = serde_json::to_string(&text).unwrap().replace('<', "\\u003c");
        format!("{{\"log\":{escaped},\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:00.5Z\"}}\n").into_bytes()
    }

    fn pieces() -> impl Strategy<Value = Vec<(Vec<u8>, bool, bool)>> {
        let text = prop::collection::vec(any::<u8>().prop_filter("no newline", |b| *b != b'\n'), 0..60);
        prop::collection::vec((text, any::<bool>(), any::<bool>()), 0..40)
    }

    proptest! {
        #[test]
        fn any_text_is_converted_unchanged(pieces in pieces(), cuts in prop::collection::vec(1usize..200, 0..20)) {
            let (mut input, mut expected) = (Vec::new(), Vec::new());
            for (text, full, err) in &pieces {
                let stream = if *err { "stderr" } else { "stdout" };
                let mut logged = text.clone();
                if *full { logged.push(b'\n'); }
                input.extend(docker_entry(&logged, stream));
                let tag = if *full { 'F' } else { 'P' };
                expected.extend(format!("2026-01-01T00:00:00.5Z {stream} {tag} ").into_bytes());
                expected.extend(String::from_utf8_lossy(text).as_bytes());
                expected.push(b'\n');
            }
            let (whole, converted) = all(&input);
            prop_assert_eq!(converted.lines, pieces.len() as u64);
            prop_assert_eq!(converted.damaged, None);
            prop_assert!(whole == expected);
            // The same in chunks of any size, each beginning where the previous one was consumed to.
            let (mut out, mut from, mut to) = (Vec::new(), 0, 0);
            for cut in cuts.into_iter().chain([input.len()]) {
                to = (to + cut).min(input.len());
                from += convert(&input[from..to], &mut out, u64::MAX).consumed;
            }
            prop_assert!(out == expected);
        }

        #[test]
        fn any_bytes_make_whole_lines_of_four_fields(input in prop::collection::vec(any::<u8>(), 0..400), from in 0usize..200) {
            // Damage in the middle of good entries.
            let mut bytes = docker_entry(b"good\n", "stdout").repeat(2);
            let at = from.min(bytes.len());
            bytes.splice(at..at, input);
            bytes.push(b'\n');
            let (out, converted) = all(&bytes);
            prop_assert_eq!(converted.consumed, bytes.len());
            prop_assert_eq!(memchr::memchr_iter(b'\n', &out).count() as u64, converted.lines);
            for line in out.split_inclusive(|b| *b == b'\n') {
                let fields: Vec<&[u8]> = line.splitn(4, |b| *b == b' ').collect();
                prop_assert_eq!(fields.len(), 4);
                prop_assert!(fields[2] == b"P" || fields[2] == b"F");
            }
        }
    }
}
