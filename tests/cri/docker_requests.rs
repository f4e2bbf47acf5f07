//! How many requests to Docker each call causes.

use std::collections::BTreeMap;

use dockside::proto::*;

use crate::images::spec;
use harness::*;

/// The requests between two counts, without those for images: other tests on the same Docker change images, and
/// Dockside inspects what changed.
fn between(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let new = after.iter().map(|(kind, count)| (kind.clone(), count - before.get(kind).unwrap_or(&0)));
    new.filter(|(kind, count)| *count > 0 && !kind.starts_with("GET /images")).collect()
}

/// A node of its own, after its first pod: connections are open and caches filled.
async fn warm(name: &str) -> (Node, Runtime) {
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let id = run_pod(&mut runtime, &pod(&format!("warm-{name}"))).await;
    remove_pod(&mut runtime, &id).await;
    (node, runtime)
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_send_no_request_to_docker() {
    let (node, mut runtime) = warm("reads").await;
    let mut images = node.images().await;
    let config = pod("read");
    let sandbox = run_pod(&mut runtime, &config).await;
    let running = run_container(&mut runtime, &sandbox, &config, &container("running", UNTIL_TERM)).await;
    let exited = run_container(&mut runtime, &sandbox, &config, &container("exited", "true")).await;
    ended(&mut runtime, &exited).await;
    // Another test may change an image meanwhile, so one round without requests is enough.
    eventually("a round of reads without a request to Docker", async || {
        let before = node.docker_requests().await;
        for _ in 0..20 {
            runtime.version(VersionRequest::default()).await.unwrap();
            runtime.status(StatusRequest { verbose: true }).await.unwrap();
            runtime.runtime_config(RuntimeConfigRequest {}).await.unwrap();
            sandboxes(&mut runtime).await;
            containers(&mut runtime).await;
            for verbose in [false, true] {
                let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose };
                runtime.pod_sandbox_status(request).await.unwrap();
                for id in [&running, &exited] {
                    let request = ContainerStatusRequest { container_id: id.clone(), verbose };
                    runtime.container_status(request).await.unwrap();
                }
            }
            images.list_images(ListImagesRequest::default()).await.unwrap();
            images.image_status(ImageStatusRequest { image: spec(BUSYBOX), verbose: true }).await.unwrap();
            images.image_fs_info(ImageFsInfoRequest {}).await.unwrap();
        }
        (node.docker_requests().await == before).then_some(())
    })
    .await;
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_start_sends_only_the_necessary_requests() {
    let (node, mut runtime) = warm("starts").await;
    let config = pod("counted");
    let before = node.docker_requests().await;
    let sandbox = run_pod(&mut runtime, &config).await;
    let after_run = node.docker_requests().await;
    let id = create(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    let after_create = node.docker_requests().await;
    start(&mut runtime, &id).await;
    let after_start = node.docker_requests().await;
    let run = between(&before, &after_run);
    assert!(run.values().sum::<u64>() <= 4, "RunPodSandbox: {run:?}");
    // The first container of an image also costs reading the image's passwd and group files.
    let files = ("GET /containers/{}/{}".to_owned(), 2);
    assert_eq!(between(&after_run, &after_create), BTreeMap::from([files, ("POST /containers/create".to_owned(), 1)]));
    let started = between(&after_create, &after_start);
    assert_eq!(started, BTreeMap::from([("POST /containers/{}/start".to_owned(), 1)]));
    create(&mut runtime, &sandbox, &config, &container("second", UNTIL_TERM)).await;
    let created = between(&after_start, &node.docker_requests().await);
    assert_eq!(created, BTreeMap::from([("POST /containers/create".to_owned(), 1)]));
    remove_pod(&mut runtime, &sandbox).await;
}
