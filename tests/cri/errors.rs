//! Invalid requests, and requests for missing or unsupported things: refused with a clear message.

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::inspect::*;
use crate::runtime;
use harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_pod_is_refused_with_the_missing_field() {
    let mut runtime = runtime().await;
    let metadata = |change: &dyn Fn(&mut PodSandboxMetadata)| {
        let mut config = pod("not-whole");
        change(config.metadata.as_mut().unwrap());
        Some(config)
    };
    let cases: Vec<(Option<PodSandboxConfig>, &str)> = vec![
        (None, "config"),
        (Some(PodSandboxConfig::default()), "config.metadata"),
        (
            Some(PodSandboxConfig { metadata: Some(PodSandboxMetadata::default()), ..Default::default() }),
            "metadata.name",
        ),
        (metadata(&|meta| meta.name.clear()), "metadata.name"),
        (metadata(&|meta| meta.namespace.clear()), "metadata.namespace"),
        (metadata(&|meta| meta.uid.clear()), "metadata.uid"),
        (metadata(&|meta| meta.name = "a/../b".to_owned()), "metadata.name"),
        (metadata(&|meta| meta.namespace = "grün".to_owned()), "metadata.namespace"),
        (metadata(&|meta| meta.uid = "a\nb".to_owned()), "metadata.uid"),
        (Some(PodSandboxConfig { log_directory: "relative".to_owned(), ..pod("not-whole") }), "log_directory"),
    ];
    for (config, field) in cases {
        let request = RunPodSandboxRequest { config, runtime_handler: String::new() };
        assert_refused(runtime.run_pod_sandbox(request).await, Code::InvalidArgument, &[field]);
    }
    let request = UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig { network_config: None }) };
    runtime.update_runtime_config(request).await.unwrap();
    assert!(!docker(&["ps", "-a", "--format", "{{.Names}}"]).contains("not-whole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_container_is_refused_with_the_missing_field() {
    let mut runtime = runtime().await;
    let config = pod("half-containers");
    let sandbox = run_pod(&mut runtime, &config).await;
    let meta = |name: &str| Some(ContainerMetadata { name: name.to_owned(), attempt: 0 });
    let cases: Vec<(Option<ContainerConfig>, &str)> = vec![
        (None, "config"),
        (Some(ContainerConfig::default()), "config.metadata"),
        (Some(ContainerConfig { metadata: meta(""), ..container("x", "true") }), "metadata.name"),
        (Some(ContainerConfig { metadata: meta("a b"), ..container("x", "true") }), "metadata.name"),
        (Some(ContainerConfig { image: None, ..container("x", "true") }), "image.image"),
        (Some(ContainerConfig { image: Some(ImageSpec::default()), ..container("x", "true") }), "image.image"),
    ];
    for (container, field) in cases {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: container,
            sandbox_config: Some(config.clone()),
        };
        assert_refused(runtime.create_container(request).await, Code::InvalidArgument, &[field]);
    }
    // The rest may be absent: the sandbox's configuration is known, and `linux` is optional.
    let bare = ContainerConfig { linux: None, log_path: String::new(), ..container("bare", "exit 5") };
    let request = CreateContainerRequest { pod_sandbox_id: sandbox.clone(), config: Some(bare), sandbox_config: None };
    let id = runtime.create_container(request).await.unwrap().into_inner().container_id;
    start(&mut runtime, &id).await;
    assert_eq!(ended(&mut runtime, &id).await.exit_code, 5);
    // An image without entrypoint and a request without command: the message is Docker's.
    let empty = ContainerConfig { command: vec![String::new()], ..container("empty", "") };
    let error = match try_create(&mut runtime, &sandbox, &config, &empty).await {
        Err(error) => error,
        Ok(id) => runtime.start_container(StartContainerRequest { container_id: id }).await.unwrap_err(),
    };
    assert!(!error.message().is_empty());
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_requests_are_answered_and_change_nothing() {
    let mut runtime = runtime().await;
    let mut images = crate::images().await;
    let config = pod("bystander");
    let sandbox = run_pod(&mut runtime, &config).await;
    let id = run_container(&mut runtime, &sandbox, &config, &container("main", UNTIL_TERM)).await;
    assert_refused(runtime.run_pod_sandbox(RunPodSandboxRequest::default()).await, Code::InvalidArgument, &["config"]);
    runtime.stop_pod_sandbox(StopPodSandboxRequest::default()).await.unwrap();
    runtime.remove_pod_sandbox(RemovePodSandboxRequest::default()).await.unwrap();
    assert_refused(
        runtime.pod_sandbox_status(PodSandboxStatusRequest::default()).await,
        Code::NotFound,
        &["pod sandbox"],
    );
    runtime.list_pod_sandbox(ListPodSandboxRequest { filter: Some(PodSandboxFilter::default()) }).await.unwrap();
    assert_refused(
        runtime.create_container(CreateContainerRequest::default()).await,
        Code::InvalidArgument,
        &["config"],
    );
    assert_refused(runtime.start_container(StartContainerRequest::default()).await, Code::NotFound, &["container"]);
    runtime.stop_container(StopContainerRequest { container_id: String::new(), timeout: -1 }).await.unwrap();
    runtime.remove_container(RemoveContainerRequest::default()).await.unwrap();
    assert_refused(runtime.container_status(ContainerStatusRequest::default()).await, Code::NotFound, &["container"]);
    runtime.list_containers(ListContainersRequest { filter: Some(ContainerFilter::default()) }).await.unwrap();
    let update = runtime.update_container_resources(UpdateContainerResourcesRequest::default()).await;
    assert_refused(update, Code::InvalidArgument, &["linux"]);
    runtime.update_runtime_config(UpdateRuntimeConfigRequest::default()).await.unwrap();
    images.list_images(ListImagesRequest { filter: Some(ImageFilter { image: None }) }).await.unwrap();
    assert_refused(images.image_status(ImageStatusRequest::default()).await, Code::InvalidArgument, &["image"]);
    assert_refused(images.pull_image(PullImageRequest::default()).await, Code::InvalidArgument, &["image"]);
    assert_refused(images.remove_image(RemoveImageRequest::default()).await, Code::InvalidArgument, &["image"]);
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);
    assert_eq!(pod_status(&mut runtime, &sandbox).await.state(), PodSandboxState::SandboxReady);
    // A negative grace period counts as zero.
    stop_container(&mut runtime, &id, -5).await;
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerExited);
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_reported_in_a_sentence() {
    let mut runtime = runtime().await;
    let answers = [
        runtime.checkpoint_container(CheckpointContainerRequest::default()).await.map(|_| ()),
        runtime.checkpoint_pod(CheckpointPodRequest::default()).await.map(|_| ()),
        runtime.restore_pod(RestorePodRequest::default()).await.map(|_| ()),
    ];
    for answer in answers {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        assert!(status.message().split(' ').count() > 3, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_and_status_are_what_a_kubelet_requires() {
    let mut runtime = runtime().await;
    let version = runtime.version(VersionRequest::default()).await.unwrap().into_inner();
    assert_eq!((version.version.as_str(), version.runtime_name.as_str()), ("0.1.0", "docker"));
    assert_eq!(version.runtime_version, docker(&["version", "-f", "{{.Server.Version}}"]));
    assert_eq!(version.runtime_api_version, "v1");
    let driver =
        runtime.runtime_config(RuntimeConfigRequest {}).await.unwrap().into_inner().linux.unwrap().cgroup_driver();
    assert_eq!(driver.as_str_name().to_lowercase(), docker(&["info", "-f", "{{.CgroupDriver}}"]));
    let status = runtime.status(StatusRequest { verbose: true }).await.unwrap().into_inner();
    let conditions = status.status.unwrap().conditions;
    let names: Vec<(&str, bool)> =
        conditions.iter().map(|condition| (condition.r#type.as_str(), condition.status)).collect();
    assert_eq!(names, [("RuntimeReady", true), ("NetworkReady", true)]);
    for (key, text) in &status.info {
        serde_json::from_str::<serde_json::Value>(text)
            .unwrap_or_else(|error| panic!("{key} is no JSON ({error}): {text}"));
    }
    let features = RuntimeFeatures { supplemental_groups_policy: true, ..Default::default() };
    assert_eq!(status.features.unwrap(), features, "Docker has none of the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_and_the_largest_works() {
    let mut runtime = runtime().await;
    let with_annotation = |name: &str, bytes: usize| PodSandboxConfig {
        annotations: crate::pods::texts(&[("large", &"x".repeat(bytes))]),
        ..pod(name)
    };
    let request =
        RunPodSandboxRequest { config: Some(with_annotation("too-large", 17 << 20)), runtime_handler: String::new() };
    let error = runtime.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    let mut runtime = crate::runtime().await;
    assert!(!docker_has("k8s_POD_too-large_default_uid-too-large_0"));
    let config = with_annotation("large", 2 << 20);
    let id = run_pod(&mut runtime, &config).await;
    assert_eq!(pod_status(&mut runtime, &id).await.annotations, config.annotations);
    remove_pod(&mut runtime, &id).await;
}
