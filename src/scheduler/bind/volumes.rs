//! Reserves volumes for claims, asks for others to be provisioned, and waits until all are there.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::scheduler::api::Client;
use crate::scheduler::api::Format;
use crate::scheduler::api::Lane;
use crate::scheduler::cluster::VolumePlan;
use crate::scheduler::model::Claim;
use crate::scheduler::model::Intern;
use crate::scheduler::model::Volume;
use crate::scheduler::read;
use crate::scheduler::wire;

/// So long a provisioner may take.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(500);

/// Does what the plan says, and waits until all its claims are bound.
///
/// # Errors
/// What went wrong, in words: the pod has to be decided about anew.
pub(super) async fn bind(client: &Client, intern: &Intern, node: &str, plan: &VolumePlan) -> Result<(), String> {
    if plan.is_empty() {
        return Ok(());
    }
    for (volume, claim) in &plan.bind {
        reserve(client, volume, claim).await?;
    }
    for claim in &plan.provision {
        provision(client, claim, node).await?;
    }
    let end = Instant::now() + PATIENCE;
    for (claim, provisioned) in
        plan.bind.iter().map(|(_, claim)| (claim, false)).chain(plan.provision.iter().map(|claim| (claim, true)))
    {
        while !is_bound(client, intern, claim, provisioned.then_some(node)).await? {
            if Instant::now() >= end {
                return Err(format!("binding volumes: {} was not bound in time", name(claim)));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

async fn reserve(client: &Client, volume: &Volume, claim: &Claim) -> Result<(), String> {
    let mut patch = json!({"metadata": {"resourceVersion": volume.resource_version}, "spec": {"claimRef": {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": *claim.namespace,
        "name": *claim.name,
        "uid": *claim.uid,
        "resourceVersion": claim.resource_version,
    }}});
    if !volume.is_for(claim) {
        // Nobody but us has chosen it: the controller may take it back.
        patch["metadata"]["annotations"] = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
    }
    let path = format!("/api/v1/persistentvolumes/{}", volume.name);
    let patched = client.patch(Lane::Call, &path, Format::MergePatch, &patch).await;
    patched.map_err(|error| format!("could not reserve persistentvolume {}: {error}", volume.name))
}

async fn provision(client: &Client, claim: &Claim, node: &str) -> Result<(), String> {
    if claim.selected_node.as_deref() == Some(node) {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "resourceVersion": claim.resource_version,
        "annotations": {read::SELECTED_NODE: node},
    }});
    let patched = client.patch(Lane::Call, &path(claim), Format::MergePatch, &patch).await;
    patched.map_err(|error| format!("could not select the node of {}: {error}", name(claim)))
}

/// Whether a claim has its volume. While one is provisioned the provisioner gives up by taking the node away.
async fn is_bound(client: &Client, intern: &Intern, claim: &Claim, node: Option<&str>) -> Result<bool, String> {
    let wire: wire::PersistentVolumeClaim = match client.get(Lane::Call, &path(claim)).await {
        Ok(wire) => wire,
        Err(error) if error.is_uncertain() => return Ok(false),
        Err(error) => return Err(format!("could not look at {}: {error}", name(claim))),
    };
    let now = read::claim(&wire, intern).map_err(|error| error.to_string())?;
    if now.bound {
        return Ok(true);
    }
    match node {
        Some(node) if now.selected_node.as_deref() != Some(node) => {
            Err(format!("provisioning failed for {}", name(claim)))
        }
        _ => Ok(false),
    }
}

fn path(claim: &Claim) -> String {
    format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", claim.namespace, claim.name)
}

fn name(claim: &Claim) -> String {
    format!("persistentvolumeclaim {}/{}", claim.namespace, claim.name)
}
