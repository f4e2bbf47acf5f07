//! Sends away the pods that have to go for another.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::api::Client;
use super::api::Error;
use super::api::Format;
use super::api::Lane;
use super::bind::path;
use super::model::Pod;
use super::report::Reporter;
use super::wire;

/// Deletes every victim, with its own time to end, after it was marked with the reason.
///
/// # Errors
/// When one could not be deleted. A victim that is gone already is no error.
pub async fn evict(
    client: &Client,
    reporter: &Reporter,
    victims: &[Arc<Pod>],
    by: &Arc<Pod>,
    node: &str,
) -> Result<(), Error> {
    for victim in victims {
        match evict_one(client, victim, by).await {
            Ok(()) => {
                tracing::info!(pod = %by, victim = %victim, node, "sent a pod away for one that is more important");
                reporter.preempted(victim, by, node);
            }
            // Gone, or another pod of that name.
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
    client.patch(Lane::Call, &status, Format::StrategicMergePatch, &condition).await?;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": *victim.uid}});
    client.delete(Lane::Call, &path(victim), &options).await
}
