//! Reserves volumes for claims, requests the provisioning of others, and waits until all claims are bound.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Outcome;
use super::get_pod;
use crate::api::Client;
use crate::api::Error;
use crate::api::Format;
use crate::api::Pool;
use crate::cluster::VolumePlan;
use crate::model::Claim;
use crate::model::Intern;
use crate::model::Node;
use crate::model::Pod;
use crate::model::Volume;
use crate::read;
use crate::wire;

/// How long a provisioner may take.
const BIND_TIMEOUT: Duration = Duration::from_secs(600);
/// The interval of polls grows by a quarter up to the maximum: many pods may wait at a time.
const INITIAL_POLL: Duration = Duration::from_millis(500);
const MAX_POLL: Duration = Duration::from_secs(2);

/// Carries out the plan, and waits until all its claims are bound, as long as the pod is pending. `polls` limits the
/// pods that poll at a time.
///
/// # Errors
/// The pod's outcome: it has to be scheduled again, or is no longer pending.
pub(crate) async fn bind(
    client: &Client,
    intern: &Intern,
    pod: &Pod,
    node: &str,
    plan: &VolumePlan,
    polls: &Semaphore,
) -> Result<(), Outcome> {
    if plan.is_empty() {
        return Ok(());
    }
    let failed = Outcome::Failed;
    // The semaphore is never closed.
    let permit = polls.acquire().await;
    apply_plan(client, node, plan).await.map_err(failed)?;
    drop(permit);
    let deadline = Instant::now() + BIND_TIMEOUT;
    let mut interval = INITIAL_POLL;
    loop {
        let permit = polls.acquire().await;
        let Some(claim) = first_unbound(client, intern, node, plan).await.map_err(failed)? else { return Ok(()) };
        ensure_pending(client, intern, pod).await?;
        drop(permit);
        if Instant::now() >= deadline {
            return Err(failed(format!("binding volumes: {} was not bound in time", name(claim))));
        }
        tokio::time::sleep(interval).await;
        interval = interval.mul_f64(1.25).min(MAX_POLL);
    }
}

async fn apply_plan(client: &Client, node: &str, plan: &VolumePlan) -> Result<(), String> {
    for (volume, claim) in &plan.bind {
        reserve(client, volume, claim).await?;
    }
    for claim in &plan.provision {
        provision(client, claim, node).await?;
    }
    Ok(())
}

/// Fails unless the pod still exists and has no node.
async fn ensure_pending(client: &Client, intern: &Intern, pod: &Pod) -> Result<(), Outcome> {
    match get_pod(client, intern, pod).await {
        Ok(Some(found)) if found.node.is_none() && !found.terminating && !found.finished => Ok(()),
        Ok(found) => Err(Outcome::Refused(found)),
        // The next poll decides.
        Err(error) if is_transient(&error) => Ok(()),
        Err(error) => Err(Outcome::Failed(format!("could not get pod {pod}: {error}"))),
    }
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
        // The binding is ours and not the user's: the PV controller may revert it.
        patch["metadata"]["annotations"] = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
    }
    let patched = client.patch(Pool::Call, &volume_path(&volume.name), Format::MergePatch, &patch).await;
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
    let patched = client.patch(Pool::Call, &path(claim), Format::MergePatch, &patch).await;
    patched.map_err(|error| format!("could not select the node of {}: {error}", name(claim)))
}

/// The first claim of the plan that is not bound yet.
async fn first_unbound<'a>(
    client: &Client,
    intern: &Intern,
    node: &str,
    plan: &'a VolumePlan,
) -> Result<Option<&'a Claim>, String> {
    let reserved = plan.bind.iter().map(|(volume, claim)| (claim, Some(volume)));
    let mut all = reserved.chain(plan.provision.iter().map(|claim| (claim, None)));
    let found: Option<wire::Node> =
        get_object(client, &format!("/api/v1/nodes/{node}"), &format!("node {node}")).await?;
    let Some(found) = found else { return Ok(all.next().map(|(claim, _)| &**claim)) };
    let node = read::node(&found, intern).map_err(|error| error.to_string())?;
    for (claim, volume) in all {
        if !is_bound(client, intern, claim, volume, &node).await? {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}

/// Whether a claim is bound to a volume that is accessible from the node. Fails if a volume reserved for it was
/// released, or if the provisioner gave up by removing the selected node.
async fn is_bound(
    client: &Client,
    intern: &Intern,
    claim: &Claim,
    reserved: Option<&Arc<Volume>>,
    node: &Node,
) -> Result<bool, String> {
    let found: Option<wire::PersistentVolumeClaim> = get_object(client, &path(claim), &name(claim)).await?;
    let Some(found) = found else { return Ok(false) };
    let now = read::claim(&found, intern).map_err(|error| error.to_string())?;
    let volume = match reserved {
        _ if now.bound => now.volume,
        Some(volume) => Some(volume.name.clone()),
        None if now.selected_node.as_ref() != Some(&node.name) => {
            return Err(format!("provisioning failed for {}", name(claim)));
        }
        None => None,
    };
    let Some(volume) = volume else { return Ok(false) };
    let name_of_volume = format!("persistentvolume {volume}");
    let found: Option<wire::PersistentVolume> = get_object(client, &volume_path(&volume), &name_of_volume).await?;
    let Some(found) = found else { return Ok(false) };
    let volume = read::volume(&found, intern).map_err(|error| error.to_string())?;
    if !volume.is_for(claim) {
        return Err(format!("{name_of_volume} is not for {} any more", name(claim)));
    }
    if !volume.reaches(&node.labels) {
        return Err(format!("{name_of_volume} cannot be used on node {}", node.name));
    }
    Ok(now.bound)
}

/// An object as the API server has it; `None`: a transient error.
async fn get_object<T: DeserializeOwned>(client: &Client, path: &str, name: &str) -> Result<Option<T>, String> {
    match client.get(Pool::Call, path).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_transient(&error) => Ok(None),
        Err(error) => Err(format!("could not get {name}: {error}")),
    }
}

/// Whether the API server may answer a moment later: it failed, or is overloaded.
fn is_transient(error: &Error) -> bool {
    error.is_uncertain() || error.code() == Some(429)
}

fn volume_path(name: &str) -> String {
    format!("/api/v1/persistentvolumes/{name}")
}

fn path(claim: &Claim) -> String {
    format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", claim.namespace, claim.name)
}

fn name(claim: &Claim) -> String {
    format!("persistentvolumeclaim {}/{}", claim.namespace, claim.name)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::api::fake::FakeApi;
    use crate::cluster::testing;
    use crate::cluster::testing::Builder;

    const CLAIM: &str = "/api/v1/namespaces/default/persistentvolumeclaims/c";

    /// The objects by path, so that the pod `new` can be bound to the node `a`.
    fn objects() -> Value {
        json!({
            "/api/v1/nodes/a": testing::node("a", json!({})),
            "/api/v1/namespaces/default/pods/new": testing::pod("new", json!({})),
            "/api/v1/persistentvolumes/v": volume("a"),
            CLAIM: bound(),
        })
    }

    fn volume(node: &str) -> Value {
        json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": "default", "name": "c", "uid": "c"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}})
    }

    fn claim() -> Value {
        json!({"metadata": {"name": "c", "namespace": "default", "uid": "c",
            "annotations": {"volume.kubernetes.io/selected-node": "a"}}})
    }

    fn bound() -> Value {
        let mut bound = claim();
        bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
        bound["spec"] = json!({"volumeName": "v"});
        bound
    }

    /// A server with these objects. An array is a sequence of versions: each is shown once, the last one from then on.
    async fn serve(objects: Value) -> FakeApi {
        let objects = parking_lot::Mutex::new(objects);
        FakeApi::start(move |request| match objects.lock().get_mut(&request.path) {
            _ if request.method != Method::GET => (200, "{}".to_owned()),
            Some(Value::Array(shown)) if shown.len() > 1 => (200, shown.remove(0).to_string()),
            Some(Value::Array(shown)) => (200, shown[0].to_string()),
            Some(Value::Null) | None => (404, json!({"message": "not found", "code": 404}).to_string()),
            Some(one) => (200, one.to_string()),
        })
        .await
    }

    async fn wait_for(provision: bool, objects: Value) -> Result<(), Outcome> {
        let api = serve(objects).await;
        let builder = Builder::default().claim("c", claim()).volume("v", volume("a"));
        let storage = &builder.cluster.storage;
        let (claim, volume) = (storage.claim("default", "c").unwrap().clone(), storage.volumes["v"].clone());
        let plan = if provision {
            VolumePlan { provision: vec![claim], ..VolumePlan::default() }
        } else {
            VolumePlan { bind: vec![(volume, claim)], ..VolumePlan::default() }
        };
        bind(&api.client, &Intern::default(), &builder.pod(json!({})), "a", &plan, &Semaphore::new(1)).await
    }

    #[tokio::test]
    async fn a_pod_is_bound_once_its_claim_is() {
        for provision in [false, true] {
            let mut objects = objects();
            objects[CLAIM] = json!([claim(), bound()]);
            assert!(matches!(wait_for(provision, objects).await, Ok(())));
        }
    }

    #[tokio::test]
    async fn waiting_for_volumes_ends_with_the_pod() {
        let waits = |pod: Value| {
            let mut objects = objects();
            objects[CLAIM] = claim();
            objects["/api/v1/namespaces/default/pods/new"] = pod;
            wait_for(true, objects)
        };
        let outcome = waits(Value::Null).await.unwrap_err();
        assert!(matches!(outcome, Outcome::Refused(None)), "{outcome:?}");
        let anew = testing::pod("new", json!({"metadata": {"uid": "other"}}));
        let outcome = waits(json!([testing::pod("new", json!({})), anew])).await.unwrap_err();
        assert!(matches!(outcome, Outcome::Refused(None)), "{outcome:?}");
        let leaving = testing::pod("new", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let outcome = waits(leaving).await.unwrap_err();
        assert!(matches!(&outcome, Outcome::Refused(Some(pod)) if pod.terminating), "{outcome:?}");
    }

    #[tokio::test]
    async fn the_volume_must_belong_to_the_claim_and_be_accessible_from_the_node() {
        let mut taken_back = volume("a");
        taken_back["spec"]["claimRef"] = Value::Null;
        let mut no_node = claim();
        no_node["metadata"]["annotations"] = json!({});
        for (path, object, message) in [
            ("/api/v1/persistentvolumes/v", Value::Null, "could not get persistentvolume v: "),
            ("/api/v1/persistentvolumes/v", volume("b"), "persistentvolume v cannot be used on node a"),
            (
                "/api/v1/persistentvolumes/v",
                taken_back,
                "persistentvolume v is not for persistentvolumeclaim default/c any more",
            ),
            ("/api/v1/nodes/a", Value::Null, "could not get node a: "),
            (CLAIM, no_node, "provisioning failed for persistentvolumeclaim default/c"),
        ] {
            let mut objects = objects();
            objects[path] = object;
            let outcome = wait_for(true, objects).await.unwrap_err();
            assert!(matches!(&outcome, Outcome::Failed(error) if error.starts_with(message)), "{outcome:?}");
        }
    }
}
