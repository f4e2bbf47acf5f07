//! Renders measurements: a table, a JSON file and a page with charts.

use std::path::Path;
use std::path::PathBuf;

use super::lane::Lane;
use super::page;
use super::table;
use super::targets;

/// Prints the tables of these lanes, and writes bench.json and index.html.
pub(crate) fn make(out: &Path, files: &[PathBuf]) {
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

/// A lane with statistics in place of the single values.
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
