//! What lies over the lists: help, an explanation, a question.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Block;
use ratatui::widgets::Clear;
use ratatui::widgets::Paragraph;
use ratatui::widgets::Wrap;

use crate::cmd::assist::facts::Opinion;
use crate::cmd::assist::screen::Explanation;
use crate::cmd::assist::screen::Over;
use crate::cmd::assist::screen::Screen;
use crate::cmd::assist::text::pad;
use crate::cmd::assist::text::pad_left;

const HELP: [&str; 13] = [
    "Choose a waiting pod, then a node for it; then watch it come up.",
    "",
    "Up, k / Down, j     move; also PageUp, PageDown, g, G",
    "Enter               choose the pod; bind it to the node",
    "                    (asks y or n when a filter says no)",
    "Tab, Esc            from one list to the other; back",
    "/                   show only names with some letters in them",
    "e                   explain: every filter and score of the node",
    "s                   put the pod off: it goes to the end",
    "r                   paint anew; pods that were put off come back",
    "q, Ctrl-C           quit",
    "",
    "SCORE no: a filter refuses the node. CPU, MEMORY, PODS: free.",
];

/// How many columns and lines a frame takes.
const FRAME: u16 = 2;

pub(super) fn paint(frame: &mut Frame, screen: &Screen, area: Rect) {
    match &screen.over {
        Over::Nothing => {}
        Over::Help => {
            let lines = HELP.iter().map(|line| Line::raw(*line)).collect();
            paint_box(frame, "Help", lines, 0, area);
        }
        Over::Explain(explanation) => {
            let name = format!("{} on {}", explanation.pod, explanation.node);
            paint_box(frame, &name, explained(explanation), explanation.top, area);
        }
        Over::Sure { pod, node, why } => {
            let lines = vec![
                Line::raw(format!("{pod} does not fit on {node}.")),
                Line::raw(why.clone()),
                Line::raw(""),
                Line::raw("Bind it all the same? y or n"),
            ];
            paint_box(frame, "Sure?", lines, 0, area);
        }
    }
}

fn explained(explanation: &Explanation) -> Vec<Line<'static>> {
    let opinion = |(name, opinion): &(&'static str, Opinion)| {
        let said = match opinion {
            Opinion::Silent => "nothing to say",
            Opinion::Fits => "fits",
            Opinion::Refuses(why) => return Line::raw(format!("{} NO: {why}", pad(name, 22))),
        };
        Line::raw(format!("{} {said}", pad(name, 22)))
    };
    let score = |(name, points): &(&'static str, i64)| {
        Line::raw(format!("{} {}", pad(name, 32), pad_left(&points.to_string(), 4)))
    };
    let mut lines: Vec<_> = explanation.opinions.iter().map(opinion).collect();
    if let Some(total) = explanation.total {
        lines.push(Line::raw(format!("Fits, with {total} points:")));
        lines.extend(explanation.scores.iter().map(score));
    }
    lines
}

/// A box as large as it has to be, in the middle.
fn paint_box(frame: &mut Frame, name: &str, lines: Vec<Line>, top: usize, area: Rect) {
    let room = area.width - FRAME - 2;
    let wide = lines.iter().map(Line::width).max().unwrap_or(0).clamp(30, room.into());
    let wrapped: usize = lines.iter().map(|line| line.width().max(1).div_ceil(wide)).sum();
    // Words that are not broken may need a line more.
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
