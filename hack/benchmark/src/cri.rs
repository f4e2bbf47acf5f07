//! A CRI server as a contender.

use std::time::Duration;

use dockside::proto::image_service_client::ImageServiceClient;
use dockside::proto::runtime_service_client::RuntimeServiceClient;
use dockside::proto::*;
use tonic::Code;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

use super::pod::IMAGE;
use super::pod::MAIN;
use super::pod::Pod;
use super::samples::Recorder;
use super::server::Server;

/// How long a server may take until its Status is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Seconds; no container needs as long.
const GRACE: i64 = 10;

pub(crate) struct Cri {
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
    pub server: Server,
}

impl Cri {
    /// Connects to a server and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub(crate) async fn connect(server: Server) -> Result<Cri, String> {
        let uri = format!("unix://{}", server.socket.display());
        let endpoint = Endpoint::try_from(uri).map_err(|error| error.to_string())?;
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let runtime = RuntimeServiceClient::new(channel.clone());
        let images = ImageServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let mut cri = Cri { runtime, images, server };
        tokio::time::timeout(READY_LIMIT, cri.ready()).await.map_err(|_| format!("not ready after {READY_LIMIT:?}"))?;
        Ok(cri)
    }

    async fn ready(&mut self) {
        loop {
            let answer = self.runtime.status(StatusRequest::default()).await;
            let status = answer.ok().and_then(|answer| answer.into_inner().status);
            // containerd adds a condition about deprecated settings.
            let matters = |condition: &&RuntimeCondition| condition.r#type.ends_with("Ready");
            if status.is_some_and(|status| status.conditions.iter().filter(matters).all(|condition| condition.status)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The server's name and version, in its own words.
    pub(crate) async fn version(&self) -> String {
        match self.runtime.clone().version(VersionRequest::default()).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                format!("{} {}", answer.runtime_name, answer.runtime_version)
            }
            Err(status) => status.message().to_owned(),
        }
    }

    pub(crate) async fn run_pod(&self, config: &PodSandboxConfig) -> Result<String, String> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        let answer = self.runtime.clone().run_pod_sandbox(request).await.map_err(failed("RunPodSandbox"))?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    pub(crate) async fn create(
        &self,
        sandbox: &str,
        pod: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> Result<String, String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod.clone()),
        };
        let answer = self.runtime.clone().create_container(request).await.map_err(failed("CreateContainer"))?;
        Ok(answer.into_inner().container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), String> {
        let request = StartContainerRequest { container_id: id.to_owned() };
        self.runtime.clone().start_container(request).await.map_err(failed("StartContainer"))?;
        Ok(())
    }

    /// Makes a pod of one container.
    pub(crate) async fn start(&self, number: usize, recorder: &Recorder<'_>) -> Result<Pod, String> {
        let config = pod(number);
        make_log_directory(&config, "main");
        let sandbox = recorder.time("RunPodSandbox", self.run_pod(&config)).await?;
        let container = recorder.time("CreateContainer", self.create(&sandbox, &config, container())).await?;
        recorder.time("StartContainer", self.start_container(&container)).await?;
        Ok(Pod { sandbox, container, network: None })
    }

    /// Removes it in the order of a kubelet.
    pub(crate) async fn stop(&self, pod_handle: &Pod, recorder: &Recorder<'_>) -> Result<(), String> {
        let mut runtime = self.runtime.clone();
        let request = StopContainerRequest { container_id: pod_handle.container.clone(), timeout: GRACE };
        recorder.time("StopContainer", runtime.stop_container(request)).await.map_err(failed("StopContainer"))?;
        let request = StopPodSandboxRequest { pod_sandbox_id: pod_handle.sandbox.clone() };
        recorder.time("StopPodSandbox", runtime.stop_pod_sandbox(request)).await.map_err(failed("StopPodSandbox"))?;
        let request = RemoveContainerRequest { container_id: pod_handle.container.clone() };
        recorder.time("RemoveContainer", runtime.remove_container(request)).await.map_err(failed("RemoveContainer"))?;
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod_handle.sandbox.clone() };
        recorder
            .time("RemovePodSandbox", runtime.remove_pod_sandbox(request))
            .await
            .map_err(failed("RemovePodSandbox"))?;
        Ok(())
    }

    /// One read, by the name of its RPC.
    ///
    /// # Errors
    /// The server's status, such as `Unimplemented`.
    pub(crate) async fn read(&self, call: &str, pod_handle: &Pod) -> Result<(), Status> {
        let (mut runtime, mut images) = (self.runtime.clone(), self.images.clone());
        let (pod_sandbox_id, container_id) = (pod_handle.sandbox.clone(), pod_handle.container.clone());
        match call {
            "ListPodSandbox" => drop(runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?),
            "ListContainers" => drop(runtime.list_containers(ListContainersRequest::default()).await?),
            "PodSandboxStatus" => {
                let request = PodSandboxStatusRequest { pod_sandbox_id, verbose: false };
                drop(runtime.pod_sandbox_status(request).await?);
            }
            "ContainerStatus" => {
                let request = ContainerStatusRequest { container_id, verbose: false };
                drop(runtime.container_status(request).await?);
            }
            "ImageStatus" => {
                let image = Some(ImageSpec { image: IMAGE.to_owned(), ..Default::default() });
                drop(images.image_status(ImageStatusRequest { image, verbose: false }).await?);
            }
            "ListImages" => drop(images.list_images(ListImagesRequest::default()).await?),
            "ImageFsInfo" => drop(images.image_fs_info(ImageFsInfoRequest {}).await?),
            "Status" => drop(runtime.status(StatusRequest::default()).await?),
            "ListContainerStats" => drop(runtime.list_container_stats(ListContainerStatsRequest::default()).await?),
            "ListPodSandboxStats" => {
                drop(runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest::default()).await?);
            }
            "ExecSync" => {
                let request = ExecSyncRequest { container_id, cmd: vec!["true".to_owned()], timeout: 10 };
                drop(runtime.exec_sync(request).await?);
            }
            other => return Err(Status::new(Code::Unimplemented, format!("{other} is not a read of this benchmark"))),
        }
        Ok(())
    }
}

fn failed(call: &'static str) -> impl Fn(Status) -> String {
    move |status| format!("{call}: {}", status.message())
}

/// The pod's cgroup, without which containerd has no stats of it.
pub(crate) fn cgroup_of(number: usize) -> String {
    format!("/bench/pod-{number}")
}

/// Makes the log directory, as a kubelet does.
pub(crate) fn make_log_directory(config: &PodSandboxConfig, container: &str) {
    std::fs::create_dir_all(format!("{}/{container}", config.log_directory)).expect("a directory for logs");
}

/// The namespaces that a kubelet requests: a pid namespace per container.
fn namespaces() -> Option<NamespaceOption> {
    Some(NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() })
}

pub(crate) fn pod(number: usize) -> PodSandboxConfig {
    let security = LinuxSandboxSecurityContext { namespace_options: namespaces(), ..Default::default() };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: format!("bench-{number}"),
            namespace: "bench".to_owned(),
            uid: format!("uid-{number}"),
            attempt: 0,
        }),
        hostname: format!("bench-{number}"),
        log_directory: format!("/var/log/pods/bench-{number}"),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(security),
            cgroup_parent: cgroup_of(number),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn container() -> ContainerConfig {
    let security = LinuxContainerSecurityContext { namespace_options: namespaces(), ..Default::default() };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: MAIN.map(str::to_owned).to_vec(),
        log_path: "main/0.log".to_owned(),
        linux: Some(LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}
