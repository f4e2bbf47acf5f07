//! A stretch of a json-file, turned into CRI lines.
//!
//! What a stretch becomes depends on its bytes alone: the same bytes always make the same lines, one for each record.
//! `resume` counts on it.

use memchr::memchr;
use memchr::memmem;
use memchr::memrchr;

use super::record::Record;
use super::record::START;

/// What became of a stretch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Converted {
    /// Bytes of the input that are done with, up to and with a newline.
    pub(super) consumed: usize,
    /// Lines that were written.
    pub(super) lines: u64,
    /// The time of the last line written, as Docker wrote it.
    pub(super) last_time: Option<String>,
    /// Where the first line lies that was no record, or only in part, and how many of them there were.
    pub(super) damaged: Option<(usize, u64)>,
}

impl Converted {
    fn note_damage(&mut self, at: usize) {
        let (_, count) = self.damaged.get_or_insert((at, 0));
        *count += 1;
    }
}

/// Appends to `out` the CRI lines of all whole lines in `input`, but of no more than `limit` records.
pub(super) fn convert(input: &[u8], out: &mut Vec<u8>, limit: u64) -> Converted {
    let mut done = Converted::default();
    let Some(end) = memrchr(b'\n', input) else { return done };
    let mut time = None;
    while done.consumed <= end && done.lines < limit {
        let at = done.consumed;
        let length = memchr(b'\n', &input[at..=end]).unwrap_or(end - at);
        let line = &input[at..at + length];
        done.consumed = at + length + 1;
        let (written, whole) = convert_line(line, out);
        if !whole {
            done.note_damage(at);
        }
        if let Some(written) = written {
            done.lines += 1;
            time = Some(written);
        }
    }
    done.last_time = time.map(str::to_owned);
    done
}

/// Appends the CRI line of one line without its newline. Returns the record's time if there was a record, and whether
/// the line was all of it.
pub(super) fn convert_line<'a>(line: &'a [u8], out: &mut Vec<u8>) -> (Option<&'a str>, bool) {
    let write = |line: &'a [u8], out: &mut Vec<u8>| {
        let record = Record::parse(line)?;
        record.write_cri(out)?;
        Some(record.time)
    };
    match write(line, out) {
        Some(time) => (Some(time), true),
        // Docker was cut off in the middle of a record (a full disk, a kill) and has begun the next one behind it. No
        // text can look like the beginning of a record: its quotes are escaped.
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
        let done = convert(input, &mut out, u64::MAX);
        (out, done)
    }

    #[test]
    fn a_tail_that_is_not_a_whole_line_yet_is_left() {
        let input = format!("{}\n{}", line(r"a\n"), line(r"b\n"));
        let (out, done) = all(input.as_bytes());
        assert_eq!(out, b"2026-01-01T00:00:00Z stdout F a\n");
        assert_eq!((done.lines, done.consumed), (1, line(r"a\n").len() + 1));
    }

    #[test]
    fn a_record_behind_a_torn_one_is_found_and_the_damage_is_named() {
        let good = line(r"a\n");
        let input = format!("{good}\n{}{good}\nrubbish\n{good}\n", &good[..good.len() / 2]);
        let (out, done) = all(input.as_bytes());
        assert_eq!(out, b"2026-01-01T00:00:00Z stdout F a\n".repeat(3));
        assert_eq!(done.consumed, input.len());
        assert_eq!(done.damaged, Some((good.len() + 1, 2)));
    }

    #[test]
    fn no_more_lines_are_made_than_asked_for() {
        let input = format!("{}\n", line(r"a\n")).repeat(5);
        let mut out = Vec::new();
        let done = convert(input.as_bytes(), &mut out, 3);
        assert_eq!((done.lines, done.consumed), (3, input.len() / 5 * 3));
    }

    /// As Docker writes: see `jsonlog.JSONLogs` and Go's rules for strings.
    fn docker_record(text: &[u8], stream: &str) -> Vec<u8> {
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
        fn any_text_comes_out_as_it_went_in(pieces in pieces(), cuts in prop::collection::vec(1usize..200, 0..20)) {
            let (mut input, mut expected) = (Vec::new(), Vec::new());
            for (text, full, err) in &pieces {
                let stream = if *err { "stderr" } else { "stdout" };
                let mut logged = text.clone();
                if *full { logged.push(b'\n'); }
                input.extend(docker_record(&logged, stream));
                let tag = if *full { 'F' } else { 'P' };
                expected.extend(format!("2026-01-01T00:00:00.5Z {stream} {tag} ").into_bytes());
                expected.extend(String::from_utf8_lossy(text).as_bytes());
                expected.push(b'\n');
            }
            let (whole, done) = all(&input);
            prop_assert_eq!(done.lines, pieces.len() as u64);
            prop_assert_eq!(done.damaged, None);
            prop_assert!(whole == expected);
            // The same in any chunks, each beginning where the one before was consumed to.
            let (mut out, mut from, mut to) = (Vec::new(), 0, 0);
            for cut in cuts.into_iter().chain([input.len()]) {
                to = (to + cut).min(input.len());
                from += convert(&input[from..to], &mut out, u64::MAX).consumed;
            }
            prop_assert!(out == expected);
        }

        #[test]
        fn any_bytes_make_whole_lines_of_four_fields(input in prop::collection::vec(any::<u8>(), 0..400), from in 0usize..200) {
            // Damage in the middle of good records.
            let mut bytes = docker_record(b"good\n", "stdout").repeat(2);
            let at = from.min(bytes.len());
            bytes.splice(at..at, input);
            bytes.push(b'\n');
            let (out, done) = all(&bytes);
            prop_assert_eq!(done.consumed, bytes.len());
            prop_assert_eq!(memchr::memchr_iter(b'\n', &out).count() as u64, done.lines);
            for line in out.split_inclusive(|b| *b == b'\n') {
                let fields: Vec<&[u8]> = line.splitn(4, |b| *b == b' ').collect();
                prop_assert_eq!(fields.len(), 4);
                prop_assert!(fields[2] == b"P" || fields[2] == b"F");
            }
        }
    }
}
