//! The table in the terminal.

use super::lane::Lane;
use super::lane::short;
use super::samples::Series;
use super::samples::find;
use super::targets;
use super::targets::ELSEWHERE;
use super::targets::ROWS;
use super::targets::Row;
use super::targets::Verdict;

/// One line: a row at one number of pods.
pub(crate) struct Line<'a> {
    pub row: &'static Row,
    pub pods: usize,
    /// Of each contender, in their order.
    pub cells: Vec<Option<&'a Series>>,
    pub verdict: Option<Verdict>,
}

/// All lines that have values; those that depend on the number of pods first.
pub(crate) fn lines(lane: &Lane) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for pods in lane.sizes.iter().copied().chain([0]) {
        for row in ROWS {
            let cell = |who: &str| find(&lane.series, who, row.measure, row.mode, pods);
            let cells: Vec<_> = lane.contenders.iter().map(|who| cell(&who.name)).collect();
            if cells.iter().any(Option::is_some) {
                let verdict = targets::judge(row, &lane.series, pods, lane.bar());
                lines.push(Line { row, pods, cells, verdict });
            }
        }
    }
    lines
}

impl Line<'_> {
    pub(crate) fn unit(&self) -> &str {
        self.cells.iter().flatten().next().map_or("", |series| series.unit.as_str())
    }

    /// Whether the cells have a 99th percentile: they stand for many calls.
    pub(crate) fn is_of_calls(&self) -> bool {
        self.cells.iter().flatten().any(|series| series.rounds.iter().any(|values| values.len() > 1))
    }
}

/// Prints the table of one lane.
pub(crate) fn print(lane: &Lane) {
    println!("\n==== lane {} ====", lane.lane);
    for line in lane.circumstances() {
        println!("  {line}");
    }
    println!("  each cell: median (lowest-highest median of the rounds) and, of calls, the 99th percentile");
    let mut section = None;
    let (mut met, mut judged) = (0, 0);
    for line in lines(lane) {
        if section != Some((line.pods, line.row.mode)) {
            section = Some((line.pods, line.row.mode));
            print_head(lane, &line);
        }
        let cells: String = line.cells.iter().map(|cell| format!("{:<26}", text(*cell, line.is_of_calls()))).collect();
        let target = match &line.verdict {
            None => String::new(),
            Some(verdict) => {
                judged += 1;
                met += usize::from(verdict.met);
                let word = if verdict.met { "met" } else { "NOT MET" };
                format!("{word}: at most {} ({})", short(verdict.limit), targets::why(line.row.limit))
            }
        };
        println!("{:<35}{:<4}{cells}{target}", line.row.measure, line.unit());
    }
    println!("\nbar at {} pods: {met} of {judged} met", lane.bar());
    for (what, who) in ELSEWHERE {
        println!("not here: {what} ({who})");
    }
}

fn print_head(lane: &Lane, line: &Line) {
    let mode = match line.row.mode {
        "serial" => ", one by one",
        "parallel" => ", 8 at a time",
        _ => "",
    };
    let title = if line.pods == 0 { "any number of pods".to_owned() } else { format!("{} pods{mode}", line.pods) };
    let names: String = lane.contenders.iter().map(|who| format!("{:<26}", who.name)).collect();
    println!("\n{title:<39}{names}bar for dockside");
}

fn text(cell: Option<&Series>, of_calls: bool) -> String {
    let Some(series) = cell else { return "-".to_owned() };
    let (low, high) = series.spread();
    let middle = if series.rounds.iter().filter(|values| !values.is_empty()).count() > 1 {
        format!("{} ({}-{})", short(series.at(0.5)), short(low), short(high))
    } else {
        short(series.at(0.5))
    };
    if of_calls { format!("{middle} {}", short(series.at(0.99))) } else { middle }
}
