//! `explain`: for every node why a pod fits or not, and its score.

use clap::Args;

use super::Error;
use super::pending_pod;
use super::table::table;
use crate::decide::explain;
use crate::store::Store;

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// A pending pod, as NAME or NAMESPACE/NAME
    pod: String,
}

pub(super) fn show(store: &mut Store, args: &ExplainArgs) -> Result<String, Error> {
    let pod = pending_pod(store, &args.pod)?;
    let mut rows: Vec<(i64, String, Vec<String>)> = Vec::new();
    for (id, verdict) in explain(&pod, &mut store.cluster) {
        let node = store.cluster.node(id).node.name.to_string();
        let total = verdict.points();
        let score = total.map_or_else(|| "no".to_owned(), |total| total.to_string());
        let why = verdict.refusal().unwrap_or_else(|| {
            let scores: Vec<_> = verdict.scores().iter().map(|(name, points)| format!("{name} {points}")).collect();
            scores.join(", ")
        });
        rows.push((total.map_or(1, |total| -total), node.clone(), vec![node, score, why]));
    }
    rows.sort();
    let rows: Vec<_> = rows.into_iter().map(|(_, _, cells)| cells).collect();
    Ok(table(&["NODE", "SCORE", "WHY"], &rows))
}
