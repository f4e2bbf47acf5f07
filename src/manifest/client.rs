//! A client of the CRI, with the kubelet's deadlines.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::translate::POD_NAME;
use super::translate::POD_NAMESPACE;
use crate::proto::*;

/// The largest response that is read, in bytes: the kubelet's limit.
const RESPONSE_MAX: usize = 16 << 20;

/// No runtime answers at the socket.
#[derive(Debug, thiserror::Error)]
#[error("could not reach a runtime at {}: {reason}", socket.display())]
pub struct Unreachable {
    /// The socket.
    pub socket: PathBuf,
    /// The cause, with a hint.
    pub reason: String,
}

/// A connection to a runtime. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    runtime: runtime_service_client::RuntimeServiceClient<Channel>,
    images: image_service_client::ImageServiceClient<Channel>,
    timeout: Duration,
}

impl Client {
    /// Connects to the runtime at `socket`. `timeout` is the deadline of a call, as the kubelet's `runtimeRequestTimeout`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub(super) async fn connect(socket: &Path, timeout: Duration) -> Result<Client, Unreachable> {
        let unreachable = |reason: String| Unreachable { socket: socket.to_owned(), reason };
        // A first connection of our own: the transport's errors do not contain the cause.
        UnixStream::connect(socket).await.map_err(|error| unreachable(hint(&error)))?;
        let path = socket.to_owned();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The authority that the kubelet sends; the connector ignores it.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Client {
            runtime: runtime_service_client::RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(RESPONSE_MAX),
            images: image_service_client::ImageServiceClient::new(channel).max_decoding_message_size(RESPONSE_MAX),
            timeout,
        })
    }

    /// The deadline of an ordinary call.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn request<T>(&self, message: T) -> Request<T> {
        within(self.timeout, message)
    }

    /// `Version`: the runtime's name and version.
    pub(super) async fn version(&self) -> Result<VersionResponse, Status> {
        let message = VersionRequest { version: "0.1.0".into() };
        let request = self.request(message);
        Ok(self.runtime.clone().version(request).await?.into_inner())
    }

    /// `ListPodSandbox`: the sandboxes of one pod (namespace, name), or all.
    pub(super) async fn list_pod_sandbox(&self, pod: Option<(&str, &str)>) -> Result<Vec<PodSandbox>, Status> {
        let filter = pod.map(|pod| PodSandboxFilter { label_selector: selector(pod), ..Default::default() });
        let request = self.request(ListPodSandboxRequest { filter });
        Ok(self.runtime.clone().list_pod_sandbox(request).await?.into_inner().items)
    }

    /// `RunPodSandbox`: returns the id. Its deadline is twice that of other calls.
    pub(super) async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String, Status> {
        let message = RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let request = within(self.timeout.saturating_mul(2), message);
        Ok(self.runtime.clone().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// `PodSandboxStatus`.
    pub(super) async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, Status> {
        let request = self.request(PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false });
        let status = self.runtime.clone().pod_sandbox_status(request).await?.into_inner().status;
        status.ok_or_else(|| Status::internal("the response has no status"))
    }

    /// `StopPodSandbox`.
    pub(super) async fn stop_pod_sandbox(&self, id: &str) -> Result<(), Status> {
        let request = self.request(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() });
        ignore_not_found(self.runtime.clone().stop_pod_sandbox(request)).await
    }

    /// `RemovePodSandbox`.
    pub(super) async fn remove_pod_sandbox(&self, id: &str) -> Result<(), Status> {
        let request = self.request(RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() });
        ignore_not_found(self.runtime.clone().remove_pod_sandbox(request)).await
    }

    /// `ListContainers`: the containers of one pod (namespace, name), or all.
    pub(super) async fn list_containers(&self, pod: Option<(&str, &str)>) -> Result<Vec<Container>, Status> {
        let filter = pod.map(|pod| ContainerFilter { label_selector: selector(pod), ..Default::default() });
        let request = self.request(ListContainersRequest { filter });
        Ok(self.runtime.clone().list_containers(request).await?.into_inner().containers)
    }

    /// `CreateContainer`: returns the id.
    pub(super) async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = self.request(CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        });
        Ok(self.runtime.clone().create_container(request).await?.into_inner().container_id)
    }

    /// `StartContainer`.
    pub(super) async fn start_container(&self, id: &str) -> Result<(), Status> {
        let request = self.request(StartContainerRequest { container_id: id.to_owned() });
        self.runtime.clone().start_container(request).await.map(|_| ())
    }

    /// `StopContainer`, with a grace period in seconds, which is added to the deadline.
    pub(super) async fn stop_container(&self, id: &str, grace: i64) -> Result<(), Status> {
        let message = StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
        let request = within(self.timeout.saturating_add(grace), message);
        ignore_not_found(self.runtime.clone().stop_container(request)).await
    }

    /// `RemoveContainer`.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), Status> {
        let request = self.request(RemoveContainerRequest { container_id: id.to_owned() });
        ignore_not_found(self.runtime.clone().remove_container(request)).await
    }

    /// `ContainerStatus`.
    pub(super) async fn container_status(&self, id: &str) -> Result<ContainerStatus, Status> {
        let request = self.request(ContainerStatusRequest { container_id: id.to_owned(), verbose: false });
        let status = self.runtime.clone().container_status(request).await?.into_inner().status;
        status.ok_or_else(|| Status::internal("the response has no status"))
    }

    /// `ImageStatus`: `None` if the image is not on the node.
    pub(super) async fn image_status(&self, image: ImageSpec) -> Result<Option<Image>, Status> {
        let request = self.request(ImageStatusRequest { image: Some(image), verbose: false });
        Ok(self.images.clone().image_status(request).await?.into_inner().image)
    }

    /// `PullImage`: returns the reference. It has no deadline.
    pub(super) async fn pull_image(
        &self,
        image: ImageSpec,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, Status> {
        let message = PullImageRequest { image: Some(image), auth: None, sandbox_config: Some(sandbox_config) };
        Ok(self.images.clone().pull_image(message).await?.into_inner().image_ref)
    }
}

/// The error, with a hint for the two most frequent causes.
fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!("{error}; is `dockside serve` running?"),
        io::ErrorKind::PermissionDenied => format!("{error}; are you root?"),
        _ => error.to_string(),
    }
}

fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// The labels that every sandbox and container of a pod has.
fn selector((namespace, name): (&str, &str)) -> BTreeMap<String, String> {
    [(POD_NAMESPACE, namespace), (POD_NAME, name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Stopping or removing succeeds if the object does not exist.
async fn ignore_not_found<T>(call: impl Future<Output = Result<T, Status>>) -> Result<(), Status> {
    match call.await {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}
