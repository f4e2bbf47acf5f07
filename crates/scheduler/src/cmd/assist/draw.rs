//! Draws the screen: pods at the top, nodes below, then the progress of bindings, and the keys.
//!
//! No colours: the selected line has a mark and is reversed, nodes that do not fit are dim and say so. Nothing is lost
//! on a terminal without colours, or for a colour-blind user.

mod popup;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::Constraint;
use ratatui::layout::Layout;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use ratatui::widgets::Wrap;

use super::super::table::bytes;
use super::super::table::cpu;
use super::screen::Pane;
use super::screen::Popup;
use super::screen::Screen;
use super::text;
use super::text::counted;
use super::text::cut_end;
use super::text::cut_middle;
use super::text::pad;
use super::text::pad_left;
use super::text::width;
use super::view;
use super::view::NodeView;
use crate::model::Pod;

/// A smaller terminal shows only a message.
const SMALLEST: (u16, u16) = (40, 14);
/// Lines of detail about the selected node.
const DETAIL: u16 = 2;
const LOG: u16 = 3;

/// Draws the screen. `now` is in seconds since 1970.
pub(super) fn draw(frame: &mut Frame, screen: &Screen, now: i64) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let message = format!("Too small: make it {} columns by {} lines, or use --plain.", SMALLEST.0, SMALLEST.1);
        frame.render_widget(Paragraph::new(message).wrap(Wrap { trim: true }), area);
        return;
    }
    let fixed = |height| Constraint::Length(height);
    let rooms = [fixed(1), Constraint::Fill(5), Constraint::Fill(7), fixed(DETAIL), fixed(1 + LOG), fixed(1)];
    let [title, pods, nodes, detail, log, status] = Layout::vertical(rooms).areas(area);
    draw_title(frame, screen, title);
    draw_pods(frame, screen, now, pods);
    draw_nodes(frame, screen, nodes);
    draw_detail(frame, screen, detail);
    draw_log(frame, screen, log);
    draw_status(frame, screen, status);
    popup::draw(frame, screen, area);
}

fn draw_title(frame: &mut Frame, screen: &Screen, area: Rect) {
    let counts = format!(
        " {} waiting, {}",
        counted(screen.waiting.try_into().unwrap_or(i64::MAX), "pod"),
        counted(screen.node_count.try_into().unwrap_or(i64::MAX), "node")
    );
    let room = usize::from(area.width).saturating_sub(width(&counts));
    let title = pad(&cut_end(&screen.title, room), room);
    frame.render_widget(Line::styled(title + &counts, Modifier::BOLD), area);
}

/// A horizontal rule with a title.
fn rule(name: &str, is_focused: bool, room: u16) -> Line<'static> {
    let room = usize::from(room);
    let name = cut_end(name, room.saturating_sub(6));
    let line = format!("── {name} {}", "─".repeat(room.saturating_sub(width(&name) + 4)));
    Line::styled(line, if is_focused { Modifier::BOLD } else { Modifier::empty() })
}

/// A list below a rule and a header, scrolled so that the selected line is visible.
fn draw_list(frame: &mut Frame, list: &List, area: Rect) {
    let mut lines = vec![rule(&list.name, list.focused, area.width), Line::styled(list.head.clone(), Modifier::DIM)];
    if let Some(why) = &list.empty {
        lines.push(Line::raw(format!("  {why}")));
    }
    let room = usize::from(area.height).saturating_sub(2);
    let chosen = list.chosen.unwrap_or(0);
    let first = chosen.saturating_sub(room / 2).min(list.rows.len().saturating_sub(room));
    for (at, (row, style)) in list.rows.iter().enumerate().skip(first).take(room) {
        let is_chosen = list.chosen == Some(at);
        let mark = if is_chosen { "> " } else { "  " };
        let style = if is_chosen && list.focused { Style::new().add_modifier(Modifier::REVERSED) } else { *style };
        lines.push(Line::styled(pad(&format!("{mark}{row}"), usize::from(area.width)), style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// What [`draw_list`] draws.
struct List {
    name: String,
    head: String,
    rows: Vec<(String, Style)>,
    chosen: Option<usize>,
    focused: bool,
    /// The message in an empty list.
    empty: Option<String>,
}

fn draw_pods(frame: &mut Frame, screen: &Screen, now: i64, area: Rect) {
    let empty = match () {
        () if !screen.complete => Some("Loading the cluster..."),
        () if screen.waiting == 0 => Some("No pod waits for a node."),
        () if screen.pods.is_empty() => Some("The filter leaves no pod."),
        () => None,
    };
    let row = |pod: &std::sync::Arc<Pod>| {
        let state = if screen.is_put_off(pod) { "put off" } else { view::state(pod) };
        let style = if screen.is_put_off(pod) { Modifier::DIM } else { Modifier::empty() };
        (pod_row(pod, state, now, area.width), style.into())
    };
    let list = List {
        name: with_filter("Waiting pods", screen.filter(Pane::Pods)),
        head: format!("  {}", pod_columns(["POD", "AGE", "PRIORITY", "CPU", "MEMORY", "STATE"], area.width)),
        rows: screen.pods.iter().map(row).collect(),
        chosen: screen.pod_line(),
        focused: screen.focus == Pane::Pods,
        empty: empty.map(str::to_owned),
    };
    draw_list(frame, &list, area);
}

fn pod_row(pod: &Pod, state: &str, now: i64, room: u16) -> String {
    let request = &pod.shape.requests;
    let (priority, cpu, memory) = (pod.shape.priority.to_string(), cpu(request.cpu), bytes(request.memory));
    pod_columns([&pod.to_string(), &text::age(now - pod.created), &priority, &cpu, &memory, state], room)
}

/// Wide priorities and amounts are rare: the name gets the remaining width.
fn pod_columns(cells: [&str; 6], room: u16) -> String {
    const WIDTHS: [usize; 4] = [5, 8, 6, 7];
    const STATE: usize = 9;
    let [name, numbers @ .., state] = cells;
    let others = WIDTHS.iter().sum::<usize>() + WIDTHS.len() + 2 + STATE;
    let name_room = usize::from(room).saturating_sub(2 + others);
    let numbers: String =
        numbers.iter().zip(WIDTHS).map(|(cell, width)| format!(" {}", pad_left(cell, width))).collect();
    format!("{}{numbers}  {state}", pad(&cut_middle(name, name_room), name_room))
}

fn with_filter(name: &str, filter: &str) -> String {
    if filter.is_empty() { name.to_owned() } else { format!("{name} with {filter:?}") }
}

fn draw_nodes(frame: &mut Frame, screen: &Screen, area: Rect) {
    let pod = screen.selected_pod();
    let name = pod.map_or_else(|| "Nodes".to_owned(), |pod| format!("Nodes for {pod}"));
    let empty = match pod {
        None => None,
        Some(_) if screen.node_count == 0 => Some("The cluster has no node."),
        Some(_) if screen.nodes.is_empty() => Some("The filter leaves no node."),
        Some(_) => None,
    };
    let row = |node: &NodeView| {
        let style = if node.verdict.points().is_some() { Modifier::empty() } else { Modifier::DIM };
        (node_row(node, area.width), style.into())
    };
    let list = List {
        name: with_filter(&name, screen.filter(Pane::Nodes)),
        head: format!("  {}", node_columns(["NODE", "SCORE", "CPU", "MEMORY", "PODS", "VERDICT, TAINTS"], area.width)),
        rows: screen.nodes.iter().map(row).collect(),
        chosen: screen.node_line(),
        focused: screen.focus == Pane::Nodes,
        empty: empty.map(str::to_owned),
    };
    draw_list(frame, &list, area);
}

/// Free resources, and the verdict as far as it fits.
fn node_row(node: &NodeView, room: u16) -> String {
    let score = node.verdict.points().map_or_else(|| "no".to_owned(), |total| total.to_string());
    let verdict = node.verdict.refusal().unwrap_or_else(|| match node.taints.as_str() {
        "" => "fits".to_owned(),
        taints => format!("fits, {taints}"),
    });
    node_columns([&node.name, &score, &node.cpu.0, &node.memory.0, &node.pods.0.to_string(), &verdict], room)
}

fn node_columns(cells: [&str; 6], room: u16) -> String {
    const WIDTHS: [usize; 4] = [5, 7, 7, 5];
    let [name, numbers @ .., verdict] = cells;
    // Names need no more than this; the rest is for the verdict.
    let left = usize::from(room).saturating_sub(2 + WIDTHS.iter().sum::<usize>() + WIDTHS.len() + 2);
    let name_room = (left / 2).min(40);
    let numbers: String =
        numbers.iter().zip(WIDTHS).map(|(cell, width)| format!(" {}", pad_left(cell, width))).collect();
    let name = pad(&cut_middle(name, name_room), name_room);
    format!("{name}{numbers}  {}", cut_end(verdict, left - name_room))
}

/// Everything about the selected node, as far as it fits: `e` shows the rest.
fn draw_detail(frame: &mut Frame, screen: &Screen, area: Rect) {
    let Some(node) = screen.selected_node() else { return };
    let free = format!("Free: cpu {} of {}, memory {} of {}", node.cpu.0, node.cpu.1, node.memory.0, node.memory.1);
    let ready = if node.ready { "" } else { " NotReady." };
    let taints = if node.taints.is_empty() { String::new() } else { format!(" Taints: {}.", node.taints) };
    let said = match node.verdict.refusal() {
        Some(why) => format!("{}: {why}.{ready}{taints} {free}.", node.name),
        None => {
            let scores: Vec<_> =
                node.verdict.scores().iter().map(|(name, points)| format!("{name} {points}")).collect();
            format!("{}: {}.{ready}{taints} {free}.", node.name, scores.join(", "))
        }
    };
    frame.render_widget(Paragraph::new(said).wrap(Wrap { trim: true }), area);
}

fn draw_log(frame: &mut Frame, screen: &Screen, area: Rect) {
    let room = usize::from(area.width);
    let mut lines = vec![rule("Bindings", false, area.width)];
    for line in screen.log.last(LOG.into()) {
        // The outcome matters more than the middle of a name.
        let name_room = room.saturating_sub(width(&line.text)).max(room / 4);
        lines.push(Line::raw(cut_end(&(cut_middle(&line.name, name_room) + &line.text), room)));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_status(frame: &mut Frame, screen: &Screen, area: Rect) {
    // On a narrow screen the last keys are cut; help lists all.
    let keys = match (&screen.popup, screen.focus) {
        _ if screen.typing => format!("Filter: {}_   Enter keeps it, Esc clears it", screen.filter(screen.focus)),
        (Popup::Confirm { .. }, _) => "y bind it anyway   n cancel".to_owned(),
        (Popup::Help | Popup::Explain(_), _) => "Esc back".to_owned(),
        (Popup::None, Pane::Pods) => "Enter choose  jk move  ? help  q quit  / filter  e explain  s put off".to_owned(),
        (Popup::None, Pane::Nodes) => "Enter bind  jk move  Esc back  ? help  q quit  / filter  e explain".to_owned(),
    };
    let text = screen.note.as_ref().unwrap_or(&keys);
    let line = pad(&cut_end(text, area.width.into()), area.width.into());
    frame.render_widget(Line::styled(line, Modifier::REVERSED), area);
}
