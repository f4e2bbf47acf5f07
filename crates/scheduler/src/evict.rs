//! Evicts the victims of a preemption.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::api::Client;
use super::api::Error;
use super::api::Format;
use super::api::Pool;
use super::bind::path;
use super::model::Pod;
use super::report::Reporter;
use super::wire;

/// Deletes every victim with its own grace period, after setting its DisruptionTarget condition.
///
/// # Errors
/// A victim could not be deleted. Victims that are gone already are skipped.
pub(crate) async fn evict(
    client: &Client,
    reporter: &Reporter,
    victims: &[Arc<Pod>],
    by: &Arc<Pod>,
    node: &str,
) -> Result<(), Error> {
    for victim in victims {
        match evict_one(client, victim, by).await {
            Ok(()) => {
                tracing::info!(pod = %by, %victim, node, "preempted a pod of lower priority");
                reporter.preempted(victim, by, node);
            }
            // Deleted already, or replaced by another pod of that name.
            Err(error) if matches!(error.code(), Some(404 | 409)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn evict_one(client: &Client, victim: &Pod, by: &Pod) -> Result<(), Error> {
    let scheduler = &by.shape.scheduler;
    let condition = json!({"status": {"conditions": [{
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": wire::time(Timestamp::now()),
    }]}});
    let status = format!("{}/status", path(victim));
    client.patch(Pool::Call, &status, Format::StrategicMergePatch, &condition).await?;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": *victim.uid}});
    client.delete(Pool::Call, &path(victim), &options).await
}
