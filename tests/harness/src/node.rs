//! For tests in a box: a Dockside of their own on the box's Docker, its clients, and simple pods.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use dockside::proto::image_service_client::ImageServiceClient;
use dockside::proto::runtime_service_client::RuntimeServiceClient;
use dockside::proto::*;
use tonic::transport::Channel;

pub use crate::commands::*;

/// How long a test waits for anything before it fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A client of the RuntimeService.
pub type Runtime = RuntimeServiceClient<Channel>;
/// A client of the ImageService.
pub type Images = ImageServiceClient<Channel>;

/// A `dockside serve` with directories of its own.
pub struct Node {
    child: Option<Child>,
    /// The directory with its state, socket, configuration and log.
    pub dir: PathBuf,
    flags: Vec<String>,
    /// A command that executes Dockside, such as `prlimit --nofile=64`; empty to run it directly.
    pub under: Vec<String>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Node {
    /// Starts Dockside and waits until it is ready. `flags` come after those that give it its directories.
    pub async fn start(flags: &[&str]) -> Node {
        let node = Node::start_unready(flags);
        node.wait_ready().await;
        node
    }

    /// Starts Dockside without waiting.
    pub fn start_unready(flags: &[&str]) -> Node {
        let mut node = Node::prepare(flags);
        node.spawn();
        node
    }

    /// Creates the directory of a Dockside that is started later, with [`Node::spawn`].
    pub fn prepare(flags: &[&str]) -> Node {
        assert!(
            std::env::var_os("DOCKSIDE_LANE").is_some(),
            "these tests need a Docker Engine of their own: run them by hack/test, or in hack/box"
        );
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/var/lib/dockside/test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Node { child: None, dir, flags, under: Vec::new() }
    }

    /// Starts the process again on the same directories.
    pub fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap();
        let at = |name: &str| self.dir.join(name).display().to_string();
        let mut flags = self.flags.clone();
        if !flags.iter().any(|flag| flag == "--pod-cidr") {
            flags.extend(["--pod-cidr", "10.88.0.0/16"].map(str::to_owned));
        }
        let words = [&self.under[..], &[crate::program("dockside").display().to_string()]].concat();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .arg("serve")
            .args(["--listen", &format!("unix://{}", self.socket().display())])
            .args(["--docker-endpoint", "unix:///run/docker.sock"])
            .args(["--state-dir", &at("state"), "--cni-conf-dir", &at("net.d"), "--cni-cache-dir", &at("cni")])
            .args(["--log-level", "debug"])
            .args(&flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// The path of the CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("dockside.sock")
    }

    /// Everything that it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops the process with SIGTERM, as a service manager does, and waits for it.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        let mut child = self.send_sigterm();
        eventually("dockside exits after SIGTERM", async || child.try_wait().unwrap()).await
    }

    /// Sends the process SIGTERM without waiting for it.
    pub fn send_sigterm(&mut self) -> Child {
        let child = self.child.take().unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        child
    }

    /// Waits until Status reports all conditions as true.
    pub async fn wait_ready(&self) {
        eventually("RuntimeReady and NetworkReady", async || {
            let mut runtime = self.try_runtime().await?;
            let status = runtime.status(StatusRequest::default()).await.ok()?.into_inner().status?;
            status.conditions.iter().all(|condition| condition.status).then_some(())
        })
        .await;
    }

    /// A client of the RuntimeService on a connection of its own, if the server accepts one.
    pub async fn try_runtime(&self) -> Option<Runtime> {
        Some(RuntimeServiceClient::new(connect(&self.socket()).await?))
    }

    /// A client of the RuntimeService on a connection of its own.
    pub async fn runtime(&self) -> Runtime {
        self.try_runtime().await.expect("connect to dockside")
    }

    /// A client of the ImageService on a connection of its own.
    pub async fn images(&self) -> Images {
        ImageServiceClient::new(connect(&self.socket()).await.expect("connect to dockside"))
    }

    /// The soft and the hard limit of the process's open files.
    pub fn limits_of_files(&self) -> Vec<String> {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.as_ref().unwrap().id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect()
    }

    /// How many files the process has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.as_ref().unwrap().id())).unwrap().count()
    }

    /// The process's memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.as_ref().unwrap().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The number of requests to Docker so far, by kind, without pings.
    pub async fn docker_requests(&self) -> BTreeMap<String, u64> {
        let mut runtime = self.runtime().await;
        let status = runtime.status(StatusRequest { verbose: true }).await.unwrap().into_inner();
        let mut counts: BTreeMap<String, u64> = serde_json::from_str(&status.info["dockerRequests"]).unwrap();
        counts.remove("GET /_ping");
        counts
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the log of dockside ---\n{}", tail(&self.log(), 60));
        }
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

async fn connect(socket: &Path) -> Option<Channel> {
    let uri = format!("unix://{}", socket.display());
    tonic::transport::Endpoint::try_from(uri).unwrap().connect().await.ok()
}

/// Repeats `look` until it returns something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts, stops or restarts the box's Docker, see hack/box-dockerd.
pub fn box_dockerd(verb: &str) {
    run_script("", verb);
}

/// The same, with additional flags for dockerd.
pub fn box_dockerd_with(flags: &str, verb: &str) {
    run_script(flags, verb);
}

fn run_script(flags: &str, verb: &str) {
    let script = crate::repository().join("hack/box-dockerd").display().to_string();
    // Without flags from the test, those of the box apply.
    let variable = format!("BOX_DOCKERD_FLAGS={flags}");
    let environment: &[&str] = if flags.is_empty() { &[] } else { &[&variable] };
    run("env", &[environment, &[&script, verb]].concat());
}

/// Runs a command in a running container with `docker exec`.
pub fn inside(container: &str, script: &str) -> String {
    docker(&["exec", container, "sh", "-c", script])
}

/// A pod's configuration; each pod of a test needs its own name.
pub fn pod(name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: format!("uid-{name}"),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: format!("/var/log/pods/default_{name}_uid-{name}"),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..Default::default()
    }
}

/// A container's configuration, with a shell command.
pub fn container(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: BUSYBOX.to_owned(), ..Default::default() }),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        log_path: format!("{name}/0.log"),
        linux: Some(LinuxContainerConfig::default()),
        ..Default::default()
    }
}

/// A script that runs until SIGTERM, then exits at once.
pub const UNTIL_TERM: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";

/// RunPodSandbox; returns the id.
pub async fn run_pod(runtime: &mut Runtime, config: &PodSandboxConfig) -> String {
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
}

/// CreateContainer; returns the id.
pub async fn create(runtime: &mut Runtime, sandbox: &str, pod: &PodSandboxConfig, config: &ContainerConfig) -> String {
    try_create(runtime, sandbox, pod, config).await.unwrap()
}

/// CreateContainer, which may be refused.
pub async fn try_create(
    runtime: &mut Runtime,
    sandbox: &str,
    pod: &PodSandboxConfig,
    config: &ContainerConfig,
) -> Result<String, tonic::Status> {
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.to_owned(),
        config: Some(config.clone()),
        sandbox_config: Some(pod.clone()),
    };
    Ok(runtime.create_container(request).await?.into_inner().container_id)
}

/// StartContainer.
pub async fn start(runtime: &mut Runtime, id: &str) {
    runtime.start_container(StartContainerRequest { container_id: id.to_owned() }).await.unwrap();
}

/// Creates and starts a container in a pod.
pub async fn run_container(
    runtime: &mut Runtime,
    sandbox: &str,
    pod: &PodSandboxConfig,
    config: &ContainerConfig,
) -> String {
    let id = create(runtime, sandbox, pod, config).await;
    start(runtime, &id).await;
    id
}

/// StopContainer; `timeout` is in seconds.
pub async fn stop_container(runtime: &mut Runtime, id: &str, timeout: i64) {
    let request = StopContainerRequest { container_id: id.to_owned(), timeout };
    runtime.stop_container(request).await.unwrap();
}

/// ContainerStatus.
pub async fn container_status(runtime: &mut Runtime, id: &str) -> ContainerStatus {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    runtime.container_status(request).await.unwrap().into_inner().status.unwrap()
}

/// PodSandboxStatus.
pub async fn pod_status(runtime: &mut Runtime, id: &str) -> PodSandboxStatus {
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    runtime.pod_sandbox_status(request).await.unwrap().into_inner().status.unwrap()
}

/// Waits until a container has exited, and returns its status.
pub async fn ended(runtime: &mut Runtime, id: &str) -> ContainerStatus {
    eventually("the container exits", async || {
        let status = container_status(runtime, id).await;
        (status.state() == ContainerState::ContainerExited).then_some(status)
    })
    .await
}

/// Stops and removes a pod with its containers.
pub async fn remove_pod(runtime: &mut Runtime, id: &str) {
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await.unwrap();
    runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await.unwrap();
}

/// ListPodSandbox without a filter.
pub async fn sandboxes(runtime: &mut Runtime) -> Vec<PodSandbox> {
    runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner().items
}

/// ListContainers without a filter.
pub async fn containers(runtime: &mut Runtime) -> Vec<Container> {
    runtime.list_containers(ListContainersRequest::default()).await.unwrap().into_inner().containers
}

/// Waits until nothing of any pod is left. Interrupted calls are undone in the background, and for half a minute Docker
/// may still create a container whose creation got no response.
pub async fn nothing_left(node: &Node) {
    let began = Instant::now();
    while !leftovers(node).is_empty() {
        assert!(began.elapsed() < DEADLINE, "still left after {DEADLINE:?}: {:?}", leftovers(node));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What pods left in the box: Docker containers with Dockside's names, pinned namespaces, addresses, veths, records.
pub fn leftovers(node: &Node) -> Vec<String> {
    let mut left: Vec<String> = docker(&["ps", "-a", "--filter", "name=k8s_", "--format", "{{.Names}}"])
        .lines()
        .map(|name| format!("container {name}"))
        .collect();
    let files = |dir: &Path| -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
    };
    left.extend(files(Path::new("/run/netns")));
    left.extend(files(Path::new("/var/lib/cni/networks/dockside")).into_iter().filter(|file| file.contains("/10.88.")));
    left.extend(files(&node.dir.join("cni/results")));
    left.extend(files(&node.dir.join("state/sandboxes")));
    left.extend(files(&node.dir.join("state/containers")));
    left.extend(files(Path::new("/sys/class/net")).into_iter().filter(|link| link.contains("/veth")));
    left
}
