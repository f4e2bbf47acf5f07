//! Tells the API server where a pod goes: its volumes first, then the pod itself.
//!
//! A binding names the pod by its uid, so that a pod made anew under the same name is not bound by mistake, and the API
//! server accepts one binding of a pod only: whatever goes wrong here, and however many schedulers there are, no pod is
//! bound twice. After an answer that leaves it open whether the binding was made, the pod is looked at until that is
//! known.

mod volumes;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

pub use self::volumes::bind as bind_volumes;
use super::api::Client;
use super::api::Error;
use super::api::Lane;
use super::cluster::VolumePlan;
use super::model::Intern;
use super::model::Pod;
use super::read;
use super::wire;

/// What became of a binding.
#[derive(Debug)]
pub enum Outcome {
    /// The API server took the binding.
    Bound,
    /// There was no clear answer. This is the pod as the API server has it now; `None`: it is gone.
    Unclear(Option<Arc<Pod>>),
    /// The API server did not take it: somebody else was quicker, or the pod is gone.
    Refused(Option<Arc<Pod>>),
    /// Something is wrong; it may work later.
    Failed(String),
}

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Binds a pod to a node, after its volumes.
pub async fn bind(client: &Client, intern: &Intern, pod: &Pod, node: &str, plan: &VolumePlan) -> Outcome {
    match bind_volumes(client, intern, pod, node, plan, &Semaphore::new(1)).await {
        Ok(()) => bind_pod(client, intern, pod, node).await,
        Err(outcome) => outcome,
    }
}

/// Binds a pod whose volumes are there.
pub async fn bind_pod(client: &Client, intern: &Intern, pod: &Pod, node: &str) -> Outcome {
    match post(client, pod, node).await {
        Ok(()) => Outcome::Bound,
        Err(error) if error.is_uncertain() || matches!(error.code(), Some(404 | 409)) => {
            tracing::debug!(pod = %pod, %error, "looking at a pod after a binding that failed");
            let found = look(client, intern, pod).await;
            if error.is_uncertain() { Outcome::Unclear(found) } else { Outcome::Refused(found) }
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Sends the binding.
///
/// # Errors
/// What the API server says; see [`Error::is_uncertain`].
pub async fn post(client: &Client, pod: &Pod, node: &str) -> Result<(), Error> {
    let path = format!("{}/binding", path(pod));
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": **pod.namespace(), "uid": *pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    client.post(Lane::Call, &path, &binding).await
}

/// The pod's path in the API.
pub(super) fn path(pod: &Pod) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.namespace(), pod.name)
}

/// The pod as the API server has it; `None` when it is gone. Asks until there is an answer.
pub async fn look(client: &Client, intern: &Intern, pod: &Pod) -> Option<Arc<Pod>> {
    let mut wait = FIRST_RETRY;
    loop {
        match get(client, intern, pod).await {
            Ok(found) => return found,
            Err(error) => tracing::debug!(pod = %pod, %error, "could not look at a pod; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
    }
}

/// One look. Another pod of the same name does not count.
async fn get(client: &Client, intern: &Intern, pod: &Pod) -> Result<Option<Arc<Pod>>, Error> {
    let wire: wire::Pod = match client.get(Lane::Call, &path(pod)).await {
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

    /// Binds the pod `new` to node `a`, where the server answers with `code` and then shows this pod.
    async fn answered(code: u16, shown: Option<serde_json::Value>) -> (Outcome, FakeApi) {
        let api = FakeApi::start(move |asked| match (&asked.method, &shown) {
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
        let asked = api.asked();
        assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/api/v1/namespaces/default/pods/new/binding"));
        assert_eq!((&asked[0].body["metadata"]["uid"], &asked[0].body["target"]["name"]), (&json!("new"), &json!("a")));
    }

    #[tokio::test]
    async fn after_a_doubtful_answer_the_pod_is_looked_at() {
        for code in [500, 504] {
            let (outcome, _) = answered(code, shown("new", Some("a"))).await;
            let Outcome::Unclear(Some(pod)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(pod.node.as_deref(), Some("a"));
        }
    }

    #[tokio::test]
    async fn a_pod_that_somebody_else_has_bound_is_not_ours_wherever_it_is() {
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
    async fn a_clear_no_is_told_in_the_servers_words() {
        let (outcome, api) = answered(403, None).await;
        let Outcome::Failed(told) = outcome else { panic!("{outcome:?}") };
        assert!(told.contains("so it is (403)"), "{told}");
        assert_eq!(api.asked().len(), 1);
    }
}
