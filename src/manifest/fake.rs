//! A fake runtime for tests: answers the CRI calls that `dockside pod` makes, on a real socket, and records them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::body::Body;
use tower::service_fn;

use crate::proto::*;

/// The objects on the node, and how the runtime behaves.
#[derive(Default)]
pub(super) struct Node {
    /// The calls that change something, and pulls, with their object, in order.
    pub(super) calls: Vec<String>,
    pub(super) sandboxes: Vec<PodSandbox>,
    pub(super) containers: Vec<Container>,
    pub(super) configs: Vec<ContainerConfig>,
    pub(super) images: BTreeSet<String>,
    /// Containers of these names exit at once, with this code.
    pub(super) exits: BTreeMap<String, i32>,
    /// These calls fail.
    pub(super) failing: BTreeSet<&'static str>,
    made: u32,
}

impl Node {
    fn record(&mut self, call: &'static str, object: &str) -> Result<(), Status> {
        self.calls.push(format!("{call} {object}"));
        if self.failing.contains(call) { Err(Status::unknown(format!("{call} is broken"))) } else { Ok(()) }
    }

    fn id(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}-{}", self.made)
    }

    fn name_of(&self, id: &str) -> String {
        let container = self.containers.iter().find(|container| container.id == id);
        container.and_then(|container| Some(container.metadata.as_ref()?.name.clone())).unwrap_or_else(|| id.to_owned())
    }

    fn set(&mut self, id: &str, state: ContainerState) {
        for container in self.containers.iter_mut().filter(|container| container.id == id) {
            container.state = state.into();
        }
    }

    /// Stops all sandboxes and containers, as a reboot does.
    pub(super) fn crash(&mut self) {
        for sandbox in &mut self.sandboxes {
            sandbox.state = PodSandboxState::SandboxNotready.into();
        }
        for container in &mut self.containers {
            container.state = ContainerState::ContainerExited.into();
        }
    }

    /// The calls since this was called last.
    pub(super) fn take_calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.calls)
    }
}

/// The runtime. It serves until it is dropped.
pub(super) struct Fake {
    pub(super) node: Arc<Mutex<Node>>,
    pub(super) socket: PathBuf,
    _dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Fake {
    pub(super) fn serve() -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("cri.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let node = Arc::new(Mutex::new(Node::default()));
        let (runtime, images) = (Runtime(Arc::clone(&node)), Images(Arc::clone(&node)));
        let server = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(runtime).add_service(images);
            server.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        Fake { node, socket, _dir: dir, server }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// A service that dispatches by path: the generated one requires all forty methods.
macro_rules! service {
    ($service:ident, $name:literal, { $($call:literal => $method:ident),* $(,)? }) => {
        #[derive(Clone)]
        struct $service(Arc<Mutex<Node>>);

        impl tonic::server::NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl tower::Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Answer;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Answer {
                let node = Arc::clone(&self.0);
                Box::pin(async move {
                    Ok(match request.uri().path().rsplit('/').next().unwrap_or_default() {
                        $($call => unary(request, move |message| $method(&mut node.lock(), message)).await,)*
                        _ => Status::unimplemented("not in this fake").into_http(),
                    })
                })
            }
        }
    };
}

service!(Runtime, "runtime.v1.RuntimeService", {
    "Version" => version,
    "ListPodSandbox" => list_pod_sandbox,
    "RunPodSandbox" => run_pod_sandbox,
    "PodSandboxStatus" => pod_sandbox_status,
    "StopPodSandbox" => stop_pod_sandbox,
    "RemovePodSandbox" => remove_pod_sandbox,
    "ListContainers" => list_containers,
    "CreateContainer" => create_container,
    "StartContainer" => start_container,
    "StopContainer" => stop_container,
    "RemoveContainer" => remove_container,
    "ContainerStatus" => container_status,
});

service!(Images, "runtime.v1.ImageService", {
    "ImageStatus" => image_status,
    "PullImage" => pull_image,
});

async fn unary<M, A>(
    request: http::Request<Body>,
    answer: impl Fn(M) -> Result<A, Status> + Clone + Send + 'static,
) -> http::Response<Body>
where
    M: prost::Message + Default + Send + 'static,
    A: prost::Message + Default + Send + 'static,
{
    let service = service_fn(move |request: Request<M>| {
        let answered = answer(request.into_inner()).map(Response::new);
        async move { answered }
    });
    tonic::server::Grpc::new(tonic_prost::ProstCodec::<A, M>::default()).unary(service, request).await
}

fn version(_: &mut Node, _: VersionRequest) -> Result<VersionResponse, Status> {
    Ok(VersionResponse { runtime_name: "fake".into(), runtime_version: "1.0".into(), ..Default::default() })
}

fn has(labels: &BTreeMap<String, String>, selector: Option<BTreeMap<String, String>>) -> bool {
    selector.into_iter().flatten().all(|(key, value)| labels.get(&key) == Some(&value))
}

fn list_pod_sandbox(node: &mut Node, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, Status> {
    let selector = request.filter.map(|filter| filter.label_selector);
    let items = node.sandboxes.iter().filter(|sandbox| has(&sandbox.labels, selector.clone())).cloned().collect();
    Ok(ListPodSandboxResponse { items })
}

fn run_pod_sandbox(node: &mut Node, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Status> {
    let config = request.config.unwrap_or_default();
    let metadata = config.metadata.unwrap_or_default();
    node.record("RunPodSandbox", &format!("{} {}", metadata.name, metadata.attempt))?;
    let id = node.id("sandbox");
    node.sandboxes.push(PodSandbox {
        id: id.clone(),
        metadata: Some(metadata),
        state: PodSandboxState::SandboxReady.into(),
        created_at: 1_000_000_000 * i64::from(node.made),
        labels: config.labels,
        annotations: config.annotations,
        ..Default::default()
    });
    Ok(RunPodSandboxResponse { pod_sandbox_id: id })
}

fn pod_sandbox_status(node: &mut Node, request: PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse, Status> {
    let sandbox = node.sandboxes.iter().find(|sandbox| sandbox.id == request.pod_sandbox_id);
    let sandbox = sandbox.ok_or_else(|| Status::not_found("no such sandbox"))?;
    let network = PodSandboxNetworkStatus { ip: "10.88.0.5".into(), additional_ips: vec![] };
    let status = PodSandboxStatus { id: sandbox.id.clone(), network: Some(network), ..Default::default() };
    Ok(PodSandboxStatusResponse { status: Some(status), ..Default::default() })
}

fn stop_pod_sandbox(node: &mut Node, request: StopPodSandboxRequest) -> Result<StopPodSandboxResponse, Status> {
    node.record("StopPodSandbox", &request.pod_sandbox_id)?;
    Ok(StopPodSandboxResponse {})
}

fn remove_pod_sandbox(node: &mut Node, request: RemovePodSandboxRequest) -> Result<RemovePodSandboxResponse, Status> {
    node.record("RemovePodSandbox", &request.pod_sandbox_id)?;
    node.sandboxes.retain(|sandbox| sandbox.id != request.pod_sandbox_id);
    Ok(RemovePodSandboxResponse {})
}

fn list_containers(node: &mut Node, request: ListContainersRequest) -> Result<ListContainersResponse, Status> {
    let selector = request.filter.map(|filter| filter.label_selector);
    let containers = node.containers.iter().filter(|container| has(&container.labels, selector.clone()));
    Ok(ListContainersResponse { containers: containers.cloned().collect() })
}

fn create_container(node: &mut Node, request: CreateContainerRequest) -> Result<CreateContainerResponse, Status> {
    let config = request.config.unwrap_or_default();
    let metadata = config.metadata.clone().unwrap_or_default();
    node.record("CreateContainer", &format!("{} {}", metadata.name, metadata.attempt))?;
    let id = node.id("container");
    node.containers.push(Container {
        id: id.clone(),
        pod_sandbox_id: request.pod_sandbox_id,
        metadata: Some(metadata),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        image: config.image.clone(),
        ..Default::default()
    });
    node.configs.push(config);
    Ok(CreateContainerResponse { container_id: id })
}

fn start_container(node: &mut Node, request: StartContainerRequest) -> Result<StartContainerResponse, Status> {
    let name = node.name_of(&request.container_id);
    node.record("StartContainer", &name)?;
    let exits = node.exits.contains_key(&name);
    let state = if exits { ContainerState::ContainerExited } else { ContainerState::ContainerRunning };
    node.set(&request.container_id, state);
    Ok(StartContainerResponse {})
}

fn stop_container(node: &mut Node, request: StopContainerRequest) -> Result<StopContainerResponse, Status> {
    let name = node.name_of(&request.container_id);
    node.record("StopContainer", &format!("{name} {}", request.timeout))?;
    node.set(&request.container_id, ContainerState::ContainerExited);
    Ok(StopContainerResponse {})
}

fn remove_container(node: &mut Node, request: RemoveContainerRequest) -> Result<RemoveContainerResponse, Status> {
    let name = node.name_of(&request.container_id);
    node.record("RemoveContainer", &name)?;
    node.containers.retain(|container| container.id != request.container_id);
    Ok(RemoveContainerResponse {})
}

fn container_status(node: &mut Node, request: ContainerStatusRequest) -> Result<ContainerStatusResponse, Status> {
    let name = node.name_of(&request.container_id);
    let container = node.containers.iter().find(|container| container.id == request.container_id);
    let container = container.ok_or_else(|| Status::not_found("no such container"))?;
    let exit_code = node.exits.get(&name).copied().unwrap_or_default();
    let status = ContainerStatus { id: container.id.clone(), state: container.state, exit_code, ..Default::default() };
    Ok(ContainerStatusResponse { status: Some(status), ..Default::default() })
}

fn image_status(node: &mut Node, request: ImageStatusRequest) -> Result<ImageStatusResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    let image =
        node.images.contains(&name).then(|| Image { id: format!("sha256:{name}"), size: 1, ..Default::default() });
    Ok(ImageStatusResponse { image, ..Default::default() })
}

fn pull_image(node: &mut Node, request: PullImageRequest) -> Result<PullImageResponse, Status> {
    let name = request.image.unwrap_or_default().image;
    node.record("PullImage", &name)?;
    node.images.insert(name.clone());
    Ok(PullImageResponse { image_ref: format!("sha256:{name}") })
}
