//! One entry of the Docker log, and the CRI line it becomes.
//!
//! Docker writes `{"log":"text\n","stream":"stdout","time":"2026-01-01T00:00:00.000000001Z"}`, with `attrs` before
//! `time` if the daemon is configured to log labels. `log` ends with `\n` if the container wrote the newline; a part of
//! a longer line, and a last line without a newline, has none (Docker's `Copier` and `jsonfilelog`). The CRI's tags `F`
//! and `P` say the same.

use memchr::memchr;
use memchr::memchr2;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How every entry that Docker writes begins.
pub(super) const START: &[u8] = b"{\"log\":\"";
/// Replaces an unpaired surrogate; Docker writes none.
const REPLACEMENT: char = '\u{fffd}';

/// An entry whose text is still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    text: &'a [u8],
    stream: &'static str,
    /// RFC 3339 with up to nine fractional digits, as Docker wrote it.
    pub(super) time: &'a str,
}

/// An entry in any form that JSON allows; the text keeps its quotes and escapes.
#[derive(Deserialize)]
struct Loose<'a> {
    #[serde(borrow)]
    log: Option<&'a RawValue>,
    stream: &'a str,
    time: &'a str,
}

impl<'a> Entry<'a> {
    /// Parses one line without its newline; `None` when it is not an entry.
    pub(super) fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        Entry::parse_usual(line).or_else(|| Entry::parse_any(line))
    }

    /// Parses the form that Docker writes, in one pass over the text.
    fn parse_usual(line: &'a [u8]) -> Option<Entry<'a>> {
        let rest = line.strip_prefix(START)?;
        let end = end_of_string(rest)?;
        let (text, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(b"\",\"stream\":\"std")?;
        let (stream, rest) = match rest.strip_prefix(b"out") {
            Some(rest) => ("stdout", rest),
            None => ("stderr", rest.strip_prefix(b"err")?),
        };
        let time = rest.strip_prefix(b"\",\"time\":\"")?.strip_suffix(b"\"}")?;
        Some(Entry { text, stream, time: checked_time(time)? })
    }

    /// Parses any order of keys, and ignores unknown ones.
    fn parse_any(line: &'a [u8]) -> Option<Entry<'a>> {
        let loose: Loose<'a> = serde_json::from_slice(line).ok()?;
        // Docker omits an empty text.
        let text = loose.log.map_or("\"\"", RawValue::get).strip_prefix('"')?.strip_suffix('"')?;
        let stream = match loose.stream {
            "stdout" => "stdout",
            "stderr" => "stderr",
            _ => return None,
        };
        Some(Entry { text: text.as_bytes(), stream, time: checked_time(loose.time.as_bytes())? })
    }

    /// Appends the CRI line. Returns `None`, and leaves `out` as it was, when the text has an escape that is not
    /// JSON's.
    pub(super) fn write_cri(&self, out: &mut Vec<u8>) -> Option<()> {
        let begin = out.len();
        out.extend_from_slice(self.time.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.stream.as_bytes());
        out.extend_from_slice(b" F ");
        let (tag, content) = (out.len() - 2, out.len());
        if unescape(self.text, out).is_none() {
            out.truncate(begin);
            return None;
        }
        if out.len() > content && out.last() == Some(&b'\n') {
            out.pop();
        } else {
            out[tag] = b'P';
        }
        // Docker splits at newlines, so none is left. If there ever were one, the rest of the text could pass for a
        // line of its own with a forged time and stream; and `resume` relies on one line per entry.
        for byte in &mut out[content..] {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
        out.push(b'\n');
        Some(())
    }
}

/// The index of the closing quote of a JSON string.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        // Skips the escaped byte; `\u0022` contains no quote.
        from = at + 2;
    }
}

/// A time of other characters could break the line that begins with it.
fn checked_time(time: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_digit() || b"-:.TZ+".contains(byte);
    let text = std::str::from_utf8(time).ok()?;
    ((20..=35).contains(&time.len()) && time.iter().all(plain)).then_some(text)
}

/// Appends the text of a JSON string, unescaped; `None` at an escape that is not JSON's.
fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while let Some(at) = memchr(b'\\', text) {
        out.extend_from_slice(&text[..at]);
        let escape = *text.get(at + 1)?;
        text = &text[at + 2..];
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'"' | b'\\' | b'/' => out.push(escape),
            b'u' => text = unescape_unicode(text, out)?,
            _ => return None,
        }
    }
    out.extend_from_slice(text);
    Some(())
}

/// Appends the character of a `\u` escape, whose digits `text` begins with, and returns what follows it.
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (first, rest) = hex4(text)?;
    let pair = (0xd800..0xdc00).contains(&first).then(|| rest.strip_prefix(b"\\u").and_then(hex4)).flatten();
    let (character, rest) = match pair {
        Some((second, after)) if (0xdc00..0xe000).contains(&second) => {
            (char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)), after)
        }
        _ => (char::from_u32(first), rest),
    };
    let mut bytes = [0; 4];
    out.extend_from_slice(character.unwrap_or(REPLACEMENT).encode_utf8(&mut bytes).as_bytes());
    Some(rest)
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-01T00:00:00.123456789Z";

    fn cri(line: &str) -> Option<String> {
        let mut out = Vec::new();
        Entry::parse(line.as_bytes())?.write_cri(&mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    fn entry(log: &str) -> String {
        format!(r#"{{"log":"{log}","stream":"stderr","time":"{TIME}"}}"#)
    }

    #[test]
    fn a_whole_line_is_tagged_full_and_a_part_of_one_partial() {
        assert_eq!(cri(&entry(r"hello\n")).unwrap(), format!("{TIME} stderr F hello\n"));
        assert_eq!(cri(&entry("hel")).unwrap(), format!("{TIME} stderr P hel\n"));
        assert_eq!(cri(&entry(r"\n")).unwrap(), format!("{TIME} stderr F \n"));
        assert_eq!(cri(&entry(r"tty\r\n")).unwrap(), format!("{TIME} stderr F tty\r\n"));
    }

    #[test]
    fn every_json_escape_is_unescaped() {
        let text = cri(&entry(r#"\"\\\/\b\f\r\tA\u003c\u20ac\ud83d\ude00\ud83dx\n"#)).unwrap();
        assert_eq!(text, format!("{TIME} stderr F \"\\/\u{8}\u{c}\r\tA<€😀\u{fffd}x\n"));
    }

    #[test]
    fn unknown_keys_and_any_order_of_keys_are_accepted() {
        let line = format!(r#"{{"stream":"stdout","attrs":{{"tag":"\"x"}},"time":"{TIME}","log":"a\n"}}"#);
        assert_eq!(cri(&line).unwrap(), format!("{TIME} stdout F a\n"));
        // Docker omits an empty text.
        let line = format!(r#"{{"stream":"stdout","time":"{TIME}"}}"#);
        assert_eq!(cri(&line).unwrap(), format!("{TIME} stdout P \n"));
    }

    #[test]
    fn a_line_that_is_not_an_entry_is_rejected() {
        for line in [
            "",
            "{}",
            r#"{"log":"half"#,
            r#"{"log":"a\x","stream":"stdout","time":"2026-01-01T00:00:00.123456789Z"}"#,
            r#"{"log":"a","stream":"stdin","time":"2026-01-01T00:00:00.123456789Z"}"#,
            r#"{"log":"a","stream":"stdout","time":"yesterday"}"#,
            r#"{"log":7,"stream":"stdout","time":"2026-01-01T00:00:00.123456789Z"}"#,
        ] {
            assert_eq!(cri(line), None, "{line}");
        }
    }

    #[test]
    fn a_newline_inside_a_text_cannot_forge_a_line() {
        assert_eq!(cri(&entry(r"a\nb\n")).unwrap(), format!("{TIME} stderr F a b\n"));
    }
}
