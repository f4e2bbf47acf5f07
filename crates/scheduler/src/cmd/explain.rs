//! `explain`: of every node, why a pod fits there or not, and how well.

use clap::Args;

use super::Error;
use super::table::table;
use super::waiting_pod;
use crate::decide::explain;
use crate::world::World;

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// A waiting pod, as NAME or NAMESPACE/NAME
    pod: String,
}

pub(super) fn show(world: &mut World, args: &ExplainArgs) -> Result<String, Error> {
    let pod = waiting_pod(world, &args.pod)?;
    let mut rows: Vec<(i64, String, Vec<String>)> = Vec::new();
    for (id, verdict) in explain(&pod, &mut world.cluster) {
        let node = world.cluster.node(id).node.name.to_string();
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
