//! From what was measured to what people look at: a table, a file for programs, a page with charts.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use super::page;
use super::samples::Series;
use super::table;
use super::targets;

/// All of one lane.
#[derive(Serialize, Deserialize)]
pub struct Lane {
    pub lane: String,
    /// Who was measured, with their versions.
    pub contenders: Vec<Named>,
    /// Who was not, with the reasons.
    pub absent: Vec<Named>,
    /// Whether containers ran by `hack/oci-wrapper.rs`.
    pub wrapped: bool,
    pub processors: usize,
    /// The load average before the first round.
    pub load_before: String,
    /// Processor time that others used meanwhile, in percent of the machine.
    pub others: f64,
    pub seconds: f64,
    pub rounds: usize,
    pub sizes: Vec<usize>,
    pub series: Vec<Series>,
}

/// Something about someone.
#[derive(Clone, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    pub text: String,
}

impl Named {
    pub fn new(name: &str, text: &str) -> Named {
        Named { name: name.to_owned(), text: text.to_owned() }
    }

    /// From NAME=TEXT.
    pub fn parse(argument: &str) -> Named {
        let (name, text) = argument.split_once('=').unwrap_or((argument, ""));
        Named::new(name, text)
    }
}

impl Lane {
    /// How it was measured, in sentences.
    pub fn circumstances(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{} processors, {} rounds in {:.0} s; load average at the start: {}; others used {:.0} % of the machine meanwhile",
                self.processors, self.rounds, self.seconds, self.load_before, self.others
            ),
            "of each size, half of the new pods (at most 30) came one by one, the others 8 at a time; sizes above 60: in the first round only"
                .to_owned(),
        ];
        if self.wrapped {
            lines.push(
                "this machine's root lacks a capability: all containers ran by hack/oci-wrapper, which costs all the same"
                    .to_owned(),
            );
        }
        lines.extend(self.contenders.iter().map(|who| format!("{}: {}", who.name, who.text)));
        lines.extend(self.absent.iter().map(|who| format!("{} is left out: {}", who.name, who.text)));
        lines
    }

    /// The number of pods Dockside is held to the bar at.
    pub fn bar(&self) -> usize {
        targets::bar_size(&self.sizes)
    }
}

/// A number as short as it is good for.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Prints the tables of these lanes, and writes bench.json and index.html.
pub fn make(out: &Path, files: &[PathBuf]) {
    let read = |file: &PathBuf| -> Lane {
        let text = std::fs::read_to_string(file).expect("read what was measured");
        serde_json::from_str(&text).expect("what was measured is in the file")
    };
    let lanes: Vec<Lane> = files.iter().map(read).collect();
    for lane in &lanes {
        table::print(lane);
    }
    let write = |name: &str, text: String| std::fs::write(out.join(name), text).expect("write the report");
    write(
        "bench.json",
        serde_json::to_string_pretty(&lanes.iter().map(summary).collect::<Vec<_>>()).expect("plain data"),
    );
    write("index.html", page::html(&lanes));
    println!("\ncharts: {}, numbers: {}", out.join("index.html").display(), out.join("bench.json").display());
}

/// A lane with the numbers that stand for many, in place of the many.
fn summary(lane: &Lane) -> serde_json::Value {
    let series = lane.series.iter().map(|series| {
        let (low, high) = series.spread();
        serde_json::json!({
            "contender": series.key.contender, "measure": series.key.measure, "mode": series.key.mode,
            "pods": series.key.pods, "unit": series.unit, "values": series.count(),
            "p50": series.at(0.5), "p99": series.at(0.99), "lowest_round": low, "highest_round": high,
        })
    });
    let series: Vec<_> = series.collect();
    let verdicts = table::lines(lane).into_iter().filter_map(|line| {
        let verdict = line.verdict?;
        Some(serde_json::json!({
            "measure": line.row.measure, "mode": line.row.mode, "pods": line.pods,
            "limit": verdict.limit, "from": targets::why(line.row.limit), "met": verdict.met,
        }))
    });
    let verdicts: Vec<_> = verdicts.collect();
    serde_json::json!({
        "lane": lane.lane, "contenders": lane.contenders, "absent": lane.absent,
        "processors": lane.processors, "load_before": lane.load_before, "others_percent": lane.others,
        "seconds": lane.seconds, "rounds": lane.rounds, "wrapped": lane.wrapped,
        "verdicts": verdicts, "series": series,
    })
}
