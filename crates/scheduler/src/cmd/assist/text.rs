//! Text that fits: measured as a terminal does, where wide characters take two columns.

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

use super::super::table::bytes;
use super::super::table::cpu;
use crate::model::Resources;

/// Stands for what was cut.
const CUT: char = '…';

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text if it fits, or else its beginning and its end: of long names both say something.
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

/// The text if it fits, or else its beginning.
pub(super) fn cut_end(text: &str, room: usize) -> String {
    match room {
        _ if width(text) <= room => text.to_owned(),
        0 => String::new(),
        _ => format!("{}{CUT}", head(text, room - 1)),
    }
}

/// As many characters as fit.
fn head(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, char)| {
        taken += char.width().unwrap_or(0);
        taken > room
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Fills up with spaces on the right.
pub(super) fn pad(text: &str, room: usize) -> String {
    format!("{text}{}", " ".repeat(room.saturating_sub(width(text))))
}

/// Fills up with spaces on the left.
pub(super) fn pad_left(text: &str, room: usize) -> String {
    format!("{}{text}", " ".repeat(room.saturating_sub(width(text))))
}

/// Words of others on one line: a terminal must not obey them.
pub(super) fn one_line(text: &str) -> String {
    text.split(|char: char| char.is_control() || char == ' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A time in one unit, as kubectl writes ages.
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
    // From two on, so that little is lost by rounding.
    let large = UNITS.into_iter().find(|(size, _)| seconds >= 2 * size);
    large.map_or((seconds, "second"), |(size, unit)| (seconds / size, unit))
}

/// `1 pod`, `2 pods`.
pub(super) fn counted(number: i64, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// What a pod asks for, in words.
pub(super) fn requests(asked: &Resources) -> String {
    let mut parts = Vec::new();
    if asked.cpu > 0 {
        parts.push(format!("{} cpu", cpu(asked.cpu)));
    }
    if asked.memory > 0 {
        parts.push(format!("{} memory", bytes(asked.memory)));
    }
    if asked.ephemeral_storage > 0 {
        parts.push(format!("{} disk", bytes(asked.ephemeral_storage)));
    }
    parts.extend(asked.named.iter().map(|(name, amount)| format!("{amount} {name}")));
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
    fn words_of_others_cannot_move_the_cursor() {
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
    fn requests_are_told_with_their_units() {
        let asked = Resources { cpu: 500, memory: 1 << 26, ..Resources::default() };
        assert_eq!(requests(&asked), "500m cpu, 64Mi memory");
        assert_eq!(requests(&Resources::default()), "nothing");
    }
}
