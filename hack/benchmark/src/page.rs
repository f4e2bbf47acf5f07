//! The page: a chart for each line of the table, in one file.

use std::fmt::Write;

use super::lane::Lane;
use super::lane::short;
use super::samples::Series;
use super::table;
use super::table::Line;
use super::targets;
use super::targets::ELSEWHERE;

const STYLE: &str = "
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1180px; padding: 0 1em; color: #1c2733; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em } h3 { font-size: 1em; margin: 1.6em 0 .4em; color: #4a5a6a }
p, li { color: #4a5a6a; margin: .2em 0 }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(360px, 1fr)); gap: 12px }
figure { margin: 0; padding: 10px 12px; border: 1px solid #dde3ea; border-radius: 6px }
figcaption { display: flex; justify-content: space-between; gap: 1em; font-weight: 600 }
.met { color: #1a7f37; font-weight: 400 } .missed { color: #c0392b; font-weight: 600 }
svg { width: 100%; height: auto; display: block } text { font: 12px system-ui, sans-serif; fill: #1c2733 }
.docker { fill: #9aa7b4 } .dockside { fill: #1f6feb } .containerd { fill: #e08e2b } .cri-dockerd { fill: #3f9b6c }
.spread { stroke: #1c2733; stroke-width: 1.2 } .tail { stroke: #1c2733; stroke-opacity: .35; stroke-width: 2 }
.limit { stroke: #c0392b; stroke-dasharray: 4 3 }
";
const WIDTH: f64 = 400.0;
const LEFT: f64 = 82.0;
/// Room for the number behind a bar.
const RIGHT: f64 = 64.0;
const BAR: f64 = 16.0;
const STEP: f64 = 24.0;

/// All lanes on one page.
pub(crate) fn html(lanes: &[Lane]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Dockside beside others</title>\n\
         <style>{STYLE}</style>\n<h1>Dockside beside others</h1>\n\
         <p>Bars are medians; the thin line is the spread of the rounds' medians, the light mark the 99th percentile of \
         calls, the dashed line what Dockside must reach. Shorter is better, except for pods per second.</p>\n"
    );
    for lane in lanes {
        lane_of(lane, &mut page);
    }
    page
}

fn lane_of(lane: &Lane, page: &mut String) {
    let lines = table::lines(lane);
    let verdicts: Vec<bool> =
        lines.iter().filter_map(|line| line.verdict.as_ref().map(|verdict| verdict.met)).collect();
    let met = verdicts.iter().filter(|met| **met).count();
    let _ = writeln!(page, "<h2>Lane {}: {met} of {} at the bar</h2>\n<ul>", escape(&lane.lane), verdicts.len());
    for line in lane.circumstances() {
        let _ = writeln!(page, "<li>{}</li>", escape(&line));
    }
    for (what, who) in ELSEWHERE {
        let _ = writeln!(page, "<li>not here: {} ({})</li>", escape(what), escape(who));
    }
    page.push_str("</ul>\n");
    let mut section = None;
    for line in &lines {
        let this = (line.pods, line.row.mode);
        if section != Some(this) {
            if section.is_some() {
                page.push_str("</div>\n");
            }
            section = Some(this);
            let _ = writeln!(page, "<h3>{}</h3>\n<div class=\"charts\">", title(this));
        }
        chart(lane, line, page);
    }
    page.push_str("</div>\n");
}

fn title((pods, mode): (usize, &str)) -> String {
    match (pods, mode) {
        (0, _) => "Any number of pods".to_owned(),
        (_, "serial") => format!("{pods} pods, one by one"),
        (_, "parallel") => format!("{pods} pods, 8 at a time"),
        _ => format!("With {pods} pods"),
    }
}

fn chart(lane: &Lane, line: &Line, page: &mut String) {
    let verdict = match &line.verdict {
        None => String::new(),
        Some(verdict) => format!(
            "<span class=\"{}\">{} {} ({})</span>",
            if verdict.met { "met" } else { "missed" },
            if verdict.met { "at most" } else { "missed: at most" },
            short(verdict.limit),
            targets::why(line.row.limit)
        ),
    };
    let (what, unit) = (escape(line.row.measure), escape(line.unit()));
    let height = STEP * line.cells.len() as f64 + 4.0;
    let scale = (WIDTH - LEFT - RIGHT) / longest(line);
    let _ = write!(
        page,
        "<figure><figcaption><span>{what}, {unit}</span>{verdict}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">"
    );
    for (place, (who, cell)) in lane.contenders.iter().zip(&line.cells).enumerate() {
        bar(&who.name, *cell, STEP * place as f64 + 4.0, scale, page);
    }
    if let Some(verdict) = &line.verdict {
        let x = LEFT + (verdict.limit * scale).min(WIDTH - LEFT - RIGHT);
        let _ = write!(page, "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height}\"/>");
    }
    page.push_str("</svg></figure>\n");
}

/// One contender's bar, with its name before it and its median behind it.
fn bar(name: &str, cell: Option<&Series>, top: f64, scale: f64, page: &mut String) {
    let (name, base, center, bottom) = (escape(name), top + BAR - 4.0, top + BAR / 2.0, top + BAR);
    let _ = write!(page, "<text x=\"0\" y=\"{base}\">{name}</text>");
    let Some(series) = cell else {
        let _ = write!(page, "<text x=\"{LEFT}\" y=\"{base}\">none</text>");
        return;
    };
    let (middle, tail, (low, high)) = (series.at(0.5), series.at(0.99), series.spread());
    let values = [middle, low, high, tail].map(short);
    let [end, from, to, mark] = [middle, low, high, tail].map(|value| LEFT + (value * scale).min(WIDTH - LEFT - RIGHT));
    let _ = write!(
        page,
        "<g><title>median {}, rounds {} to {}, 99th percentile {}, {} values</title>\
         <rect class=\"{name}\" x=\"{LEFT}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\"/>\
         <line class=\"spread\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{center}\" y2=\"{center}\"/>\
         <line class=\"tail\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{top}\" y2=\"{bottom}\"/></g>\
         <text x=\"{:.1}\" y=\"{base}\">{}</text>",
        values[0],
        values[1],
        values[2],
        values[3],
        series.count(),
        (end - LEFT).max(1.0),
        end.max(mark).max(to) + 6.0,
        values[0],
    );
}

/// What the whole width stands for: the largest median, or a tail that is not too far from it.
fn longest(line: &Line) -> f64 {
    let medians = line.cells.iter().flatten().map(|series| series.at(0.5)).fold(0.0, f64::max);
    let tails = line.cells.iter().flatten().map(|series| series.at(0.99)).fold(0.0, f64::max);
    tails.min(medians * 1.5).max(medians).max(f64::MIN_POSITIVE)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
