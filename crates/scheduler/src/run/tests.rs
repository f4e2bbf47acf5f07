//! Decisions and their effects, with a fake API server.

use std::net::Ipv4Addr;

use http::Method;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::api::fake::FakeApi;
use crate::cluster::testing;
use crate::cluster::testing::Builder;

/// A scheduler with the builder's cluster and these pending pods, which may have one binding in flight.
fn scheduler(api: &FakeApi, builder: Builder, pods: impl IntoIterator<Item = Arc<Pod>>) -> Scheduler {
    let options = Options {
        names: vec!["human-scheduler".to_owned()],
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        lease: None,
        bindings: 1,
    };
    let reporter = Reporter::start(&api.client, "here");
    // The results of tasks are not received in these tests.
    let (results, _) = mpsc::unbounded_channel();
    let mut scheduler = Scheduler::new(&api.client, Arc::default(), &options, reporter, Arc::default(), results);
    scheduler.store.cluster = builder.cluster;
    for pod in pods {
        scheduler.store.put_pod(pod, scheduler.start.elapsed());
    }
    scheduler
}

fn pod(builder: &Builder, name: &str, mut more: Value) -> Arc<Pod> {
    more["spec"]["schedulerName"] = json!("human-scheduler");
    Arc::new(Pod { uid: Arc::from(name), name: name.into(), ..Pod::clone(&builder.pod(more)) })
}

#[tokio::test]
async fn a_pod_waiting_for_volumes_does_not_delay_other_pods() {
    let api = FakeApi::start(|request| match request.path.as_str() {
        "/api/v1/nodes/a" => (200, testing::node("a", json!({})).to_string()),
        "/api/v1/namespaces/default/pods/slow" => {
            (200, testing::pod("slow", json!({"metadata": {"uid": "slow"}})).to_string())
        }
        "/api/v1/namespaces/default/persistentvolumeclaims/c" => {
            let selected = json!({"volume.kubernetes.io/selected-node": "a"});
            let claim = json!({"metadata": {"name": "c", "namespace": "default", "annotations": selected}});
            (200, claim.to_string())
        }
        _ => (404, "{}".to_owned()),
    })
    .await;
    let builder = Builder::default()
        .nodes(&["a"])
        .class("made", json!({"volumeBindingMode": "WaitForFirstConsumer"}))
        .claim("c", json!({"spec": {"storageClassName": "made"}}));
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    let pods = [
        pod(&builder, "slow", json!({"spec": {"volumes": volumes}})),
        pod(&builder, "quick", json!({})),
        pod(&builder, "later", json!({})),
    ];
    let mut scheduler = scheduler(&api, builder, pods);
    assert!(!scheduler.schedule_some());
    assert_eq!((scheduler.bindings.len(), scheduler.in_flight()), (2, 1));
    assert_eq!(scheduler.store.queue.counts().active, 1);
}

#[tokio::test]
async fn a_nomination_is_cleared_when_the_pod_cannot_fit() {
    let api = FakeApi::start(|_| (200, "{}".to_owned())).await;
    let builder = Builder::default().nodes(&["a"]);
    let mut huge = json!({"status": {"nominatedNodeName": "a"}});
    huge["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "5"}}}]);
    let pods = [pod(&builder, "huge", huge)];
    let mut scheduler = scheduler(&api, builder, pods);
    assert_eq!(scheduler.store.cluster.nominations.below("a", i32::MAX).len(), 1);
    assert!(!scheduler.schedule_some());
    assert!(scheduler.store.cluster.nominations.below("a", i32::MAX).is_empty());
    assert_eq!(scheduler.store.queue.get("huge").unwrap().nominated, None);
    scheduler.reporter.finish().await;
    let is_condition = |request: &crate::api::fake::Request| request.method == Method::PATCH;
    let condition = loop {
        match api.requests().into_iter().find(is_condition) {
            Some(condition) => break condition,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(condition.body["status"]["nominatedNodeName"], "");
}
