//! Text that fits a width in terminal columns, where wide characters take two.

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

use super::super::table::bytes;
use super::super::table::cpu;
use crate::model::Resources;

/// Marks omitted text.
const CUT: char = '…';

/// The width in columns.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text if it fits, else its beginning and end: both are significant in long names.
pub(super) fn cut_middle(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    if room == 0 {
        return String::new();
    }
    let tail_room = (room - 1) / 2;
    let tail_from = text.char_indices().rev().scan(0, |taken, (at, char)| {
        *taken += char.width().unwrap_or(0);
        (*taken <= tail_room).then_some(at)
    });
    let tail = &text[tail_from.last().unwrap_or(text.len())..];
    format!("{}{CUT}{tail}", head(text, room - 1 - width(tail)))
}

/// The text if it fits, else its beginning.
pub(super) fn cut_end(text: &str, room: usize) -> String {
    match room {
        _ if width(text) <= room => text.to_owned(),
        0 => String::new(),
        _ => format!("{}{CUT}", head(text, room - 1)),
    }
}

/// The longest beginning that fits.
fn head(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, char)| {
        taken += char.width().unwrap_or(0);
        taken > room
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Pads with spaces on the right.
pub(super) fn pad(text: &str, room: usize) -> String {
    format!("{text}{}", " ".repeat(room.saturating_sub(width(text))))
}

/// Pads with spaces on the left.
pub(super) fn pad_left(text: &str, room: usize) -> String {
    format!("{}{text}", " ".repeat(room.saturating_sub(width(text))))
}

/// Foreign text on one line, without control characters: it must not control the terminal.
pub(super) fn one_line(text: &str) -> String {
    text.split(|char: char| char.is_control() || char == ' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A duration in one unit, as kubectl prints ages.
pub(super) fn age(seconds: i64) -> String {
    let (number, unit) = span(seconds);
    format!("{number}{}", &unit[..1])
}

/// The same in words.
pub(super) fn age_in_words(seconds: i64) -> String {
    let (number, unit) = span(seconds);
    counted(number, unit)
}

fn span(seconds: i64) -> (i64, &'static str) {
    const UNITS: [(i64, &str); 3] = [(86400, "day"), (3600, "hour"), (60, "minute")];
    let seconds = seconds.max(0);
    // From two units on, to limit the rounding error.
    let large = UNITS.into_iter().find(|(size, _)| seconds >= 2 * size);
    large.map_or((seconds, "second"), |(size, unit)| (seconds / size, unit))
}

/// `1 pod`, `2 pods`.
pub(super) fn counted(number: i64, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// A pod's requests in words.
pub(super) fn requests(request: &Resources) -> String {
    let mut parts = Vec::new();
    if request.cpu > 0 {
        parts.push(format!("{} cpu", cpu(request.cpu)));
    }
    if request.memory > 0 {
        parts.push(format!("{} memory", bytes(request.memory)));
    }
    if request.ephemeral_storage > 0 {
        parts.push(format!("{} disk", bytes(request.ephemeral_storage)));
    }
    parts.extend(request.named.iter().map(|(name, amount)| format!("{amount} {name}")));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(cut_middle("default/first-job", 20), "default/first-job");
        assert_eq!(cut_middle("default/first-job", 9), "defa…-job");
        assert_eq!(cut_middle("default/first-job", 1), "…");
        assert_eq!(cut_middle("default", 0), "");
    }

    #[test]
    fn a_wide_character_takes_two_columns_and_is_never_halved() {
        assert_eq!(width("仕事"), 4);
        for room in 0..9 {
            assert!(width(&cut_middle("最初の仕事", room)) <= room);
            assert!(width(&cut_end("最初の仕事", room)) <= room);
        }
        assert_eq!(cut_end("最初の仕事", 6), "最初…");
        assert_eq!(pad("仕事", 6), "仕事  ");
        assert_eq!(pad_left("仕事", 6), "  仕事");
    }

    #[test]
    fn foreign_text_cannot_control_the_terminal() {
        assert_eq!(one_line("a\n\u{1b}[2Jb\tc "), "a [2Jb c");
    }

    #[test]
    fn ages_have_one_unit() {
        let ages: Vec<_> = [-5, 59, 119, 120, 7200, 200_000].map(age).to_vec();
        assert_eq!(ages, ["0s", "59s", "119s", "2m", "2h", "2d"]);
        assert_eq!(age_in_words(1), "1 second");
        assert_eq!(age_in_words(7300), "2 hours");
    }

    #[test]
    fn requests_have_units() {
        let request = Resources { cpu: 500, memory: 1 << 26, ..Resources::default() };
        assert_eq!(requests(&request), "500m cpu, 64Mi memory");
        assert_eq!(requests(&Resources::default()), "nothing");
    }
}
