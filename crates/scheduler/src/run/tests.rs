//! Decisions and what comes of them, with an API server that only answers.

use std::net::Ipv4Addr;

use http::Method;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::api::fake::FakeApi;
use crate::cluster::testing;
use crate::cluster::testing::Builder;

/// One that decides about pods in the cluster of the builder, and may have one binding under way.
fn scheduler(api: &FakeApi, builder: Builder, pods: impl IntoIterator<Item = Arc<Pod>>) -> Scheduler {
    let options = Options {
        names: vec!["human-scheduler".to_owned()],
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        lease: None,
        bindings: 1,
    };
    let reporter = Reporter::start(&api.client, "here");
    // What comes of bindings is heard by nobody here.
    let (news, _) = mpsc::unbounded_channel();
    let mut scheduler = Scheduler::new(&api.client, Arc::default(), &options, reporter, Arc::default(), news);
    scheduler.world.cluster = builder.cluster;
    for pod in pods {
        scheduler.world.put_pod(pod, scheduler.start.elapsed());
    }
    scheduler
}

fn pod(builder: &Builder, name: &str, mut more: Value) -> Arc<Pod> {
    more["spec"]["schedulerName"] = json!("human-scheduler");
    Arc::new(Pod { uid: Arc::from(name), name: name.into(), ..Pod::clone(&builder.pod(more)) })
}

#[tokio::test]
async fn a_pod_that_waits_for_its_volumes_holds_up_nobody() {
    let api = FakeApi::start(|asked| match asked.path.as_str() {
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
    assert!(!scheduler.decide_some());
    assert_eq!((scheduler.bindings.len(), scheduler.under_way()), (2, 1));
    assert_eq!(scheduler.world.queue.counts().active, 1);
}

#[tokio::test]
async fn a_node_is_kept_no_more_for_a_pod_that_cannot_go_there() {
    let api = FakeApi::start(|_| (200, "{}".to_owned())).await;
    let builder = Builder::default().nodes(&["a"]);
    let mut huge = json!({"status": {"nominatedNodeName": "a"}});
    huge["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "5"}}}]);
    let pods = [pod(&builder, "huge", huge)];
    let mut scheduler = scheduler(&api, builder, pods);
    assert_eq!(scheduler.world.cluster.nominations.below("a", i32::MAX).len(), 1);
    assert!(!scheduler.decide_some());
    assert!(scheduler.world.cluster.nominations.below("a", i32::MAX).is_empty());
    assert_eq!(scheduler.world.queue.get("huge").unwrap().nominated, None);
    scheduler.reporter.finish().await;
    let is_condition = |asked: &crate::api::fake::Asked| asked.method == Method::PATCH;
    let condition = loop {
        match api.asked().into_iter().find(is_condition) {
            Some(condition) => break condition,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(condition.body["status"]["nominatedNodeName"], "");
}
