//! The popup over the lists: help, an explanation, or a question.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Block;
use ratatui::widgets::Clear;
use ratatui::widgets::Paragraph;
use ratatui::widgets::Wrap;

use crate::cmd::assist::screen::Explanation;
use crate::cmd::assist::screen::Popup;
use crate::cmd::assist::screen::Screen;
use crate::cmd::assist::text::pad;
use crate::cmd::assist::text::pad_left;
use crate::cmd::assist::view::FilterResult;

const HELP: [&str; 13] = [
    "Select a pending pod, then a node for it; then watch it start.",
    "",
    "Up, k / Down, j     move; also PageUp, PageDown, g, G",
    "Enter               select the pod; bind it to the node",
    "                    (asks y or n if a filter rejects it)",
    "Tab, Esc            switch between the lists; back",
    "/                   show only names that contain a text",
    "e                   explain: every filter and score of the node",
    "s                   put the pod off: it moves to the end",
    "r                   redraw; pods that were put off return",
    "q, Ctrl-C           quit",
    "",
    "SCORE no: a filter rejects the node. CPU, MEMORY, PODS: free.",
];

/// Columns and lines of the border.
const FRAME: u16 = 2;

pub(super) fn draw(frame: &mut Frame, screen: &Screen, area: Rect) {
    match &screen.popup {
        Popup::None => {}
        Popup::Help => {
            let lines = HELP.iter().map(|line| Line::raw(*line)).collect();
            draw_box(frame, "Help", lines, 0, area);
        }
        Popup::Explain(explanation) => {
            let name = format!("{} on {}", explanation.pod, explanation.node);
            draw_box(frame, &name, explained(explanation), explanation.top, area);
        }
        Popup::Confirm { pod, node, why } => {
            let lines = vec![
                Line::raw(format!("{pod} does not fit on {node}.")),
                Line::raw(why.clone()),
                Line::raw(""),
                Line::raw("Bind it anyway? y or n"),
            ];
            draw_box(frame, "Confirm", lines, 0, area);
        }
    }
}

fn explained(explanation: &Explanation) -> Vec<Line<'static>> {
    let filter_result = |(name, filter_result): &(&'static str, FilterResult)| {
        let said = match filter_result {
            FilterResult::Skipped => "does not apply",
            FilterResult::Accepted => "fits",
            FilterResult::Rejected(why) => return Line::raw(format!("{} NO: {why}", pad(name, 22))),
        };
        Line::raw(format!("{} {said}", pad(name, 22)))
    };
    let score = |(name, points): &(&'static str, i64)| {
        Line::raw(format!("{} {}", pad(name, 32), pad_left(&points.to_string(), 4)))
    };
    let mut lines: Vec<_> = explanation.filter_results.iter().map(filter_result).collect();
    if let Some(total) = explanation.total {
        lines.push(Line::raw(format!("Fits, with {total} points:")));
        lines.extend(explanation.scores.iter().map(score));
    }
    lines
}

/// A centred box, as large as necessary.
fn draw_box(frame: &mut Frame, name: &str, lines: Vec<Line>, top: usize, area: Rect) {
    let room = area.width - FRAME - 2;
    let wide = lines.iter().map(Line::width).max().unwrap_or(0).clamp(30, room.into());
    let wrapped: usize = lines.iter().map(|line| line.width().max(1).div_ceil(wide)).sum();
    // Word wrap may need more lines.
    let high = wrapped + usize::from(lines.iter().any(|line| line.width() > wide)) * 2;
    #[allow(clippy::cast_possible_truncation)] // both are smaller than the screen
    let (width, height) = (wide as u16 + FRAME + 2, (high.min(usize::from(area.height - FRAME))) as u16 + FRAME);
    let place = Rect::new((area.width - width) / 2, (area.height.saturating_sub(height)) / 2, width, height);
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .scroll((u16::try_from(top).unwrap_or(u16::MAX), 0))
        .block(Block::bordered().title(format!(" {name} ")).padding(ratatui::widgets::Padding::horizontal(1)));
    frame.render_widget(Clear, place);
    frame.render_widget(text, place);
}
