//! GetContainerEvents.

use std::collections::BTreeMap;

use dockside::proto::ContainerEventType::*;
use dockside::proto::*;

use crate::*;

/// The events of one pod's objects in the order received, until the sandbox is deleted.
async fn follow(
    mut stream: tonic::Streaming<ContainerEventResponse>,
    name: &str,
) -> BTreeMap<String, Vec<ContainerEventResponse>> {
    let mut received: BTreeMap<String, Vec<ContainerEventResponse>> = BTreeMap::new();
    loop {
        let event = tokio::time::timeout(DEADLINE, stream.message()).await.unwrap().unwrap().unwrap();
        let of_ours = event.pod_sandbox_status.as_ref().and_then(|status| status.metadata.as_ref());
        let ours = of_ours.is_some_and(|meta| meta.name == name) || received.contains_key(&event.container_id);
        if !ours {
            continue;
        }
        let gone = event.pod_sandbox_status.is_none();
        received.entry(event.container_id.clone()).or_default().push(event);
        if gone {
            return received;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_subscriber_receives_all_events_in_order_with_current_statuses() {
    const NAME: &str = "events-received";
    let mut runtime = runtime().await;
    let mut followers = Vec::new();
    for _ in 0..2 {
        // From its response on, a stream has every event.
        let stream = runtime.get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        followers.push(tokio::spawn(follow(stream, NAME)));
    }
    let config = pod(NAME);
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", "exit 3")).await;
    ended(&mut runtime, &id).await;
    runtime.remove_container(RemoveContainerRequest { container_id: id.clone() }).await.unwrap();
    remove_pod(&mut runtime, &sandbox).await;
    for follower in followers {
        let received = follower.await.unwrap();
        let kinds =
            |id: &str| received[id].iter().map(ContainerEventResponse::container_event_type).collect::<Vec<_>>();
        let all = [ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent, ContainerDeletedEvent];
        assert_eq!(kinds(&sandbox), all);
        assert_eq!(kinds(&id), all);
        let stopped = &received[&id][2];
        let status = &stopped.containers_statuses[0];
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 3));
        assert_eq!(stopped.pod_sandbox_status.as_ref().unwrap().id, sandbox);
        assert!(received[&id].is_sorted_by_key(|event| event.created_at));
        assert!(received[&id][3].containers_statuses.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_lists_equal_unary_lists() {
    let mut runtime = runtime().await;
    let config = pod("pieces");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let filter = Some(PodSandboxFilter { id: sandbox.clone(), ..Default::default() });
    let mut pods = runtime.stream_pod_sandboxes(StreamPodSandboxesRequest { filter }).await.unwrap().into_inner();
    assert_eq!(pods.message().await.unwrap().unwrap().pod_sandboxes[0].id, sandbox);
    assert!(pods.message().await.unwrap().is_none());
    let filter = Some(ContainerFilter { pod_sandbox_id: sandbox.clone(), ..Default::default() });
    let mut containers = runtime.stream_containers(StreamContainersRequest { filter }).await.unwrap().into_inner();
    assert_eq!(containers.message().await.unwrap().unwrap().containers[0].id, id);
    let filter = Some(ContainerStatsFilter { id: id.clone(), ..Default::default() });
    let request = StreamContainerStatsRequest { filter };
    let mut stats = runtime.stream_container_stats(request).await.unwrap().into_inner();
    assert!(stats.message().await.unwrap().unwrap().container_stats[0].cpu.is_some());
    let filter = Some(PodSandboxStatsFilter { id: sandbox.clone(), ..Default::default() });
    let request = StreamPodSandboxStatsRequest { filter };
    let mut stats = runtime.stream_pod_sandbox_stats(request).await.unwrap().into_inner();
    assert_eq!(stats.message().await.unwrap().unwrap().pod_sandbox_stats.len(), 1);
    let mut images = images().await;
    let filter = Some(ImageFilter { image: Some(ImageSpec { image: BUSYBOX.to_owned(), ..Default::default() }) });
    let mut listed = images.stream_images(StreamImagesRequest { filter }).await.unwrap().into_inner();
    assert_eq!(listed.message().await.unwrap().unwrap().images.len(), 1);
    // A kubelet with evented PLEG reads the container statuses from the sandbox's status.
    let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: false };
    let status = runtime.pod_sandbox_status(request).await.unwrap().into_inner();
    assert_eq!((status.containers_statuses.len(), status.timestamp > 0), (1, true));
    remove_pod(&mut runtime, &sandbox).await;
}
