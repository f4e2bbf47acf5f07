//! Binds pods: first their volumes, then the pod itself.
//!
//! A binding contains the pod's uid, so that a pod recreated under the same name is not bound by mistake, and the API
//! server accepts one binding per pod only: no pod is bound twice, whatever fails here and however many schedulers run.
//! After a response that leaves open whether the binding was made, the pod is fetched until that is known.

mod volumes;

use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use backon::Retryable;
use serde_json::json;
use tokio::sync::Semaphore;

pub(crate) use self::volumes::bind as bind_volumes;
use super::api::Client;
use super::api::Error;
use super::api::Pool;
use super::cluster::VolumePlan;
use super::model::Intern;
use super::model::Pod;
use super::read;
use super::wire;

/// The result of a binding.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The API server accepted the binding.
    Bound,
    /// The response was ambiguous. The pod as the API server has it now; `None`: it was deleted.
    Unclear(Option<Arc<Pod>>),
    /// The API server rejected it: the pod was bound by another client, or deleted.
    Refused(Option<Arc<Pod>>),
    /// An error unrelated to the pod's state; a retry may succeed.
    Failed(String),
}

const INITIAL_RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Binds a pod to a node, after its volumes.
pub(crate) async fn bind(client: &Client, intern: &Intern, pod: &Pod, node: &str, plan: &VolumePlan) -> Outcome {
    match bind_volumes(client, intern, pod, node, plan, &Semaphore::new(1)).await {
        Ok(()) => bind_pod(client, intern, pod, node).await,
        Err(outcome) => outcome,
    }
}

/// Binds a pod whose volumes are bound.
pub(crate) async fn bind_pod(client: &Client, intern: &Intern, pod: &Pod, node: &str) -> Outcome {
    match post_binding(client, pod, node).await {
        Ok(()) => Outcome::Bound,
        Err(error) if error.is_uncertain() || matches!(error.code(), Some(404 | 409)) => {
            tracing::debug!(pod = %pod, %error, "fetching the pod after a failed binding");
            let found = fetch(client, intern, pod).await;
            if error.is_uncertain() { Outcome::Unclear(found) } else { Outcome::Refused(found) }
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Sends the binding.
///
/// # Errors
/// The API server's error; see [`Error::is_uncertain`].
pub(crate) async fn post_binding(client: &Client, pod: &Pod, node: &str) -> Result<(), Error> {
    let path = format!("{}/binding", path(pod));
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": **pod.namespace(), "uid": *pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    client.post(Pool::Call, &path, &binding).await
}

/// The pod's path in the API.
pub(super) fn path(pod: &Pod) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace(), pod.name)
}

/// The pod as the API server has it; `None`: it was deleted. Retries until the API server answers.
pub(crate) async fn fetch(client: &Client, intern: &Intern, pod: &Pod) -> Option<Arc<Pod>> {
    let backoff = ExponentialBuilder::new().with_min_delay(INITIAL_RETRY).with_max_delay(MAX_RETRY).without_max_times();
    let fetched = (|| get_pod(client, intern, pod))
        .retry(backoff)
        .notify(|error, _| tracing::debug!(pod = %pod, %error, "could not get the pod: retrying"))
        .await;
    // Retried without limit: there is no error left.
    fetched.ok().flatten()
}

/// One attempt. Another pod of the same name does not count.
async fn get_pod(client: &Client, intern: &Intern, pod: &Pod) -> Result<Option<Arc<Pod>>, Error> {
    let wire: wire::Pod = match client.get(Pool::Call, &path(pod)).await {
        Err(error) if error.code() == Some(404) => return Ok(None),
        answer => answer?,
    };
    let found = read::pod(&wire, intern).map_err(|error| Error::Config(error.to_string()))?;
    Ok((found.uid == pod.uid).then(|| Arc::new(found)))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::api::fake::FakeApi;
    use crate::cluster::testing;
    use crate::cluster::testing::Builder;

    /// Binds the pod `new` to node `a`; the server responds to the binding with `code`, and then shows this pod.
    async fn answered(code: u16, shown: Option<serde_json::Value>) -> (Outcome, FakeApi) {
        let api = FakeApi::start(move |request| match (&request.method, &shown) {
            (&Method::POST, _) => (code, json!({"message": "so it is", "code": code}).to_string()),
            (_, Some(pod)) => (200, pod.to_string()),
            (_, None) => (404, json!({"message": "not found", "code": 404}).to_string()),
        })
        .await;
        let pod = Builder::default().pod(json!({}));
        let outcome = bind(&api.client, &Intern::default(), &pod, "a", &VolumePlan::default()).await;
        (outcome, api)
    }

    fn shown(uid: &str, node: Option<&str>) -> Option<serde_json::Value> {
        Some(testing::pod("new", json!({"metadata": {"uid": uid}, "spec": {"nodeName": node.unwrap_or_default()}})))
    }

    #[tokio::test]
    async fn a_binding_names_the_pod_by_its_uid() {
        let (outcome, api) = answered(201, None).await;
        assert!(matches!(outcome, Outcome::Bound), "{outcome:?}");
        let request = api.requests();
        assert_eq!((request.len(), request[0].path.as_str()), (1, "/api/v1/namespaces/default/pods/new/binding"));
        assert_eq!(
            (&request[0].body["metadata"]["uid"], &request[0].body["target"]["name"]),
            (&json!("new"), &json!("a"))
        );
    }

    #[tokio::test]
    async fn after_an_ambiguous_response_the_pod_is_fetched() {
        for code in [500, 504] {
            let (outcome, _) = answered(code, shown("new", Some("a"))).await;
            let Outcome::Unclear(Some(pod)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(pod.node.as_deref(), Some("a"));
        }
    }

    #[tokio::test]
    async fn a_pod_bound_by_another_client_counts_as_refused() {
        let (outcome, _) = answered(409, shown("new", Some("a"))).await;
        let Outcome::Refused(Some(pod)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(pod.node.as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn another_pod_of_the_same_name_is_not_the_pod() {
        let (outcome, _) = answered(409, shown("other", None)).await;
        assert!(matches!(outcome, Outcome::Refused(None)), "{outcome:?}");
        let (outcome, _) = answered(404, None).await;
        assert!(matches!(outcome, Outcome::Refused(None)), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_rejected_binding_has_the_message_of_the_server() {
        let (outcome, api) = answered(403, None).await;
        let Outcome::Failed(message) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("so it is (403)"), "{message}");
        assert_eq!(api.requests().len(), 1);
    }
}
