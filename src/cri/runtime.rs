//! The RuntimeService.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::clock::now_ns;
use crate::error::Error;
use crate::proto::runtime_service_server::RuntimeService;
use crate::proto::*;
use crate::stats::metric_descriptors;

use super::chunks::Messages;
use super::chunks::chunked;
use super::events;
use super::events::EventSource;
use super::service::Service;
use super::status;

type RpcResult<T> = Result<Response<T>, Status>;

/// Docker's checkpoints need an experimental daemon and CRIU on the host, and hold CRIU's files alone; the CRI's archive
/// holds the container's configuration and changed files, too.
const CHECKPOINT: &str = "Docker's checkpoints are experimental and are not the archive that the CRI requires";
const POD_CHECKPOINT: &str = "Docker cannot checkpoint several containers together, nor start them from a checkpoint";

/// A message that the request must have.
fn required<T>(value: Option<T>, object: &str, field: &'static str) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(object, field, "is missing"))
}

fn unimplemented<T>(reason: &str) -> RpcResult<T> {
    Err(Status::unimplemented(reason))
}

#[tonic::async_trait]
impl RuntimeService for Service {
    type StreamPodSandboxesStream = Messages<StreamPodSandboxesResponse>;
    type StreamContainersStream = Messages<StreamContainersResponse>;
    type StreamContainerStatsStream = Messages<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Messages<StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Messages<StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Messages<ContainerEventResponse>;

    // --- the runtime ---

    async fn version(&self, _: Request<VersionRequest>) -> RpcResult<VersionResponse> {
        Ok(Response::new(status::version(self)))
    }

    async fn status(&self, request: Request<StatusRequest>) -> RpcResult<StatusResponse> {
        Ok(Response::new(status::status(self, request.into_inner().verbose)))
    }

    async fn runtime_config(&self, _: Request<RuntimeConfigRequest>) -> RpcResult<RuntimeConfigResponse> {
        Ok(Response::new(status::runtime_config(self)?))
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> RpcResult<UpdateRuntimeConfigResponse> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        let cidr = network.map(|network| network.pod_cidr).unwrap_or_default();
        if !cidr.is_empty() {
            self.cni
                .set_pod_cidr(&cidr)
                .map_err(|error| Error::invalid("runtime", "runtime_config.network_config.pod_cidr", error))?;
            self.node_settings.set_pod_cidr(&cidr).await.map_err(Error::from)?;
        }
        Ok(Response::new(UpdateRuntimeConfigResponse {}))
    }

    // --- sandboxes ---

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> RpcResult<RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = required(request.config, "pod sandbox", "config")?;
        let pods = Arc::clone(&self.pods);
        let pod_sandbox_id = self.job(async move { pods.run(config, request.runtime_handler).await }).await?;
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(&self, request: Request<StopPodSandboxRequest>) -> RpcResult<StopPodSandboxResponse> {
        let (pods, id) = (Arc::clone(&self.pods), request.into_inner().pod_sandbox_id);
        self.job(async move { pods.stop(&id).await }).await?;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> RpcResult<RemovePodSandboxResponse> {
        let (pods, id) = (Arc::clone(&self.pods), request.into_inner().pod_sandbox_id);
        self.job(async move { pods.remove(&id).await }).await?;
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> RpcResult<PodSandboxStatusResponse> {
        let request = request.into_inner();
        let (status, info) = self.pods.status(&request.pod_sandbox_id, request.verbose)?;
        let containers_statuses = self.containers.statuses_of(&status.id);
        let timestamp = now_ns();
        Ok(Response::new(PodSandboxStatusResponse { status: Some(status), info, containers_statuses, timestamp }))
    }

    async fn list_pod_sandbox(&self, request: Request<ListPodSandboxRequest>) -> RpcResult<ListPodSandboxResponse> {
        let items = self.pods.list(request.into_inner().filter.as_ref())?;
        Ok(Response::new(ListPodSandboxResponse { items }))
    }

    // --- containers ---

    async fn create_container(&self, request: Request<CreateContainerRequest>) -> RpcResult<CreateContainerResponse> {
        let request = request.into_inner();
        let config = required(request.config, "container", "config")?;
        let (containers, sandbox) = (Arc::clone(&self.containers), request.pod_sandbox_id);
        let container_id = self.job(async move { containers.create(&sandbox, config).await }).await?;
        Ok(Response::new(CreateContainerResponse { container_id }))
    }

    async fn start_container(&self, request: Request<StartContainerRequest>) -> RpcResult<StartContainerResponse> {
        let (containers, id) = (Arc::clone(&self.containers), request.into_inner().container_id);
        self.job(async move { containers.start(&id).await }).await?;
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> RpcResult<StopContainerResponse> {
        let request = request.into_inner();
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        let (containers, id) = (Arc::clone(&self.containers), request.container_id);
        self.job(async move { containers.stop(&id, grace).await }).await?;
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(&self, request: Request<RemoveContainerRequest>) -> RpcResult<RemoveContainerResponse> {
        let (containers, id) = (Arc::clone(&self.containers), request.into_inner().container_id);
        self.job(async move { containers.remove(&id).await }).await?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn container_status(&self, request: Request<ContainerStatusRequest>) -> RpcResult<ContainerStatusResponse> {
        let request = request.into_inner();
        let (status, info) = self.containers.status(&request.container_id, request.verbose)?;
        Ok(Response::new(ContainerStatusResponse { status: Some(status), info }))
    }

    async fn list_containers(&self, request: Request<ListContainersRequest>) -> RpcResult<ListContainersResponse> {
        let containers = self.containers.list(request.into_inner().filter.as_ref())?;
        Ok(Response::new(ListContainersResponse { containers }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> RpcResult<UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let object = format!("container {}", request.container_id);
        let change = required(request.linux, &object, "linux")?;
        let (containers, id) = (Arc::clone(&self.containers), request.container_id);
        self.job(async move { containers.update(&id, &change).await }).await?;
        Ok(Response::new(UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> RpcResult<ReopenContainerLogResponse> {
        let (containers, id) = (Arc::clone(&self.containers), request.into_inner().container_id);
        self.job(async move { containers.reopen_log(&id).await }).await?;
        Ok(Response::new(ReopenContainerLogResponse {}))
    }

    // --- exec, attach and port-forward ---

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> RpcResult<ExecSyncResponse> {
        let request = request.into_inner();
        let timeout = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        // Cancelled when this handler is dropped: a client that disconnects leaves no process behind.
        let cancelled = CancellationToken::new();
        let _cancel = cancelled.clone().drop_guard();
        let (containers, id) = (Arc::clone(&self.containers), request.container_id);
        let run = async move { containers.exec_sync(&id, request.cmd, timeout, cancelled).await };
        Ok(Response::new(self.job(run).await?))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> RpcResult<ExecResponse> {
        Ok(Response::new(ExecResponse { url: self.streams.exec(request.into_inner())? }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> RpcResult<AttachResponse> {
        Ok(Response::new(AttachResponse { url: self.streams.attach(&request.into_inner())? }))
    }

    async fn port_forward(&self, request: Request<PortForwardRequest>) -> RpcResult<PortForwardResponse> {
        Ok(Response::new(PortForwardResponse { url: self.streams.port_forward(&request.into_inner())? }))
    }

    // --- stats ---

    async fn container_stats(&self, request: Request<ContainerStatsRequest>) -> RpcResult<ContainerStatsResponse> {
        let stats = self.stats.container(&request.into_inner().container_id).await?;
        Ok(Response::new(ContainerStatsResponse { stats: Some(stats) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<ListContainerStatsRequest>,
    ) -> RpcResult<ListContainerStatsResponse> {
        let stats = self.stats.containers(request.into_inner().filter.as_ref()).await?;
        Ok(Response::new(ListContainerStatsResponse { stats }))
    }

    async fn pod_sandbox_stats(&self, request: Request<PodSandboxStatsRequest>) -> RpcResult<PodSandboxStatsResponse> {
        let stats = self.stats.sandbox(&request.into_inner().pod_sandbox_id).await?;
        Ok(Response::new(PodSandboxStatsResponse { stats: Some(stats) }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<ListPodSandboxStatsRequest>,
    ) -> RpcResult<ListPodSandboxStatsResponse> {
        let stats = self.stats.sandboxes(request.into_inner().filter.as_ref()).await?;
        Ok(Response::new(ListPodSandboxStatsResponse { stats }))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<ListMetricDescriptorsRequest>,
    ) -> RpcResult<ListMetricDescriptorsResponse> {
        Ok(Response::new(ListMetricDescriptorsResponse { descriptors: metric_descriptors() }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<ListPodSandboxMetricsRequest>,
    ) -> RpcResult<ListPodSandboxMetricsResponse> {
        let pod_metrics = self.stats.metrics().await?;
        Ok(Response::new(ListPodSandboxMetricsResponse { pod_metrics }))
    }

    /// The kubelet has already changed the pod's cgroup when it calls; nothing else depends on the resources.
    async fn update_pod_sandbox_resources(
        &self,
        request: Request<UpdatePodSandboxResourcesRequest>,
    ) -> RpcResult<UpdatePodSandboxResourcesResponse> {
        self.pods.ready(&request.into_inner().pod_sandbox_id)?;
        Ok(Response::new(UpdatePodSandboxResourcesResponse {}))
    }

    // --- streamed lists ---

    async fn stream_pod_sandboxes(
        &self,
        request: Request<StreamPodSandboxesRequest>,
    ) -> RpcResult<Self::StreamPodSandboxesStream> {
        let items = self.pods.list(request.into_inner().filter.as_ref())?;
        Ok(chunked(items, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes }))
    }

    async fn stream_containers(
        &self,
        request: Request<StreamContainersRequest>,
    ) -> RpcResult<Self::StreamContainersStream> {
        let items = self.containers.list(request.into_inner().filter.as_ref())?;
        Ok(chunked(items, |containers| StreamContainersResponse { containers }))
    }

    async fn stream_container_stats(
        &self,
        request: Request<StreamContainerStatsRequest>,
    ) -> RpcResult<Self::StreamContainerStatsStream> {
        let items = self.stats.containers(request.into_inner().filter.as_ref()).await?;
        Ok(chunked(items, |container_stats| StreamContainerStatsResponse { container_stats }))
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<StreamPodSandboxStatsRequest>,
    ) -> RpcResult<Self::StreamPodSandboxStatsStream> {
        let items = self.stats.sandboxes(request.into_inner().filter.as_ref()).await?;
        Ok(chunked(items, |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats }))
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<StreamPodSandboxMetricsRequest>,
    ) -> RpcResult<Self::StreamPodSandboxMetricsStream> {
        let items = self.stats.metrics().await?;
        Ok(chunked(items, |pod_sandbox_metrics| StreamPodSandboxMetricsResponse { pod_sandbox_metrics }))
    }

    async fn get_container_events(&self, _: Request<GetEventsRequest>) -> RpcResult<Self::GetContainerEventsStream> {
        self.index.require_synced().map_err(Error::from)?;
        Ok(events::stream(EventSource::new(self)))
    }

    // --- not supported by Docker ---

    async fn checkpoint_container(
        &self,
        _: Request<CheckpointContainerRequest>,
    ) -> RpcResult<CheckpointContainerResponse> {
        unimplemented(CHECKPOINT)
    }

    async fn checkpoint_pod(&self, _: Request<CheckpointPodRequest>) -> RpcResult<CheckpointPodResponse> {
        unimplemented(POD_CHECKPOINT)
    }

    async fn restore_pod(&self, _: Request<RestorePodRequest>) -> RpcResult<RestorePodResponse> {
        unimplemented(POD_CHECKPOINT)
    }
}
