//! How fast a running Dockside is, beside raw calls to the same Docker in the same run. `hack/bench` runs it in the box.
//!
//! Usage: bench SOCKET DOCKER_SOCKET PID PODS, where PID is Dockside's process; "logs" or "exec" in place of PODS measures
//! those.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "bench-exec.rs"]
mod exec;
#[path = "bench-logs.rs"]
mod logs;

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use dockside::docker::Engine;
use dockside::docker::model::ContainerCreateBody;
use dockside::docker::model::HostConfig;
use dockside::proto::image_service_client::ImageServiceClient;
use dockside::proto::runtime_service_client::RuntimeServiceClient;
use dockside::proto::*;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

const IMAGE: &str = "dockside.test/busybox:1";
const PAUSE: &str = "dockside.io/pause:1";
/// Each read is repeated this often.
const READS: usize = 300;

/// The times of one kind of call.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    async fn measure<T>(&mut self, call: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = call.await;
        self.0.push(began.elapsed());
        answer
    }

    fn at(&mut self, share: f64) -> f64 {
        self.0.sort();
        let index = ((self.0.len() - 1) as f64 * share).round() as usize;
        self.0[index].as_secs_f64() * 1000.0
    }
}

struct Row {
    name: &'static str,
    times: Times,
    /// The raw calls that the same work takes.
    raw: Option<(&'static str, Times)>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, docker_socket, pid, pods] = args.as_slice() else {
        panic!("usage: bench SOCKET DOCKER_SOCKET PID PODS");
    };
    match pods.as_str() {
        "logs" => return logs::run(&mut connect(socket, docker_socket).await, pid).await,
        "exec" => return exec::run(&mut connect(socket, docker_socket).await, pid).await,
        _ => {}
    }
    let pods: usize = pods.parse().expect("PODS is a number");
    let mut bench = connect(socket, docker_socket).await;
    let cpu_before = cpu(pid);
    let mut rows = bench.starts(pods).await;
    let cpu_starts = (cpu(pid) - cpu_before).as_secs_f64() * 1000.0 / pods as f64;
    rows.extend(bench.reads().await);
    println!("{:<34} {:>9} {:>9}   {:>9} {:>9}  raw calls", "", "p50 ms", "p99 ms", "raw p50", "raw p99");
    for row in &mut rows {
        let (p50, p99) = (row.times.at(0.5), row.times.at(0.99));
        match &mut row.raw {
            Some((calls, raw)) => {
                println!(
                    "{:<34} {p50:>9.2} {p99:>9.2}   {:>9.2} {:>9.2}  {calls}",
                    row.name,
                    raw.at(0.5),
                    raw.at(0.99)
                );
            }
            None => println!("{:<34} {p50:>9.2} {p99:>9.2}", row.name),
        }
    }
    println!("server CPU per pod start: {cpu_starts:.1} ms");
    println!("resident memory with {pods} pods: {:.1} MB", resident(pid));
}

async fn connect(socket: &str, docker_socket: &str) -> Bench {
    let channel = Endpoint::try_from(format!("unix://{socket}")).unwrap().connect().await.expect("connect to dockside");
    let mut bench = Bench {
        runtime: RuntimeServiceClient::new(channel.clone()),
        images: ImageServiceClient::new(channel),
        docker: docker(docker_socket).await,
    };
    // Answered once Dockside has loaded its pause image, which the raw calls use too.
    bench.runtime.version(VersionRequest::default()).await.expect("ask dockside for its version");
    bench
}

struct Bench {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    docker: Engine,
}

async fn docker(socket: &str) -> Engine {
    let engine = Engine::new(Path::new(socket), Duration::from_secs(120)).unwrap();
    let facts = engine.contact().await.expect("reach Docker");
    engine.link().set_up(facts);
    engine
}

impl Bench {
    /// Starts pods of one container, each beside the same containers made by raw calls.
    async fn starts(&mut self, pods: usize) -> Vec<Row> {
        let (mut run, mut create, mut start) = (Times::default(), Times::default(), Times::default());
        let (mut raw_run, mut raw_create, mut raw_start) = (Times::default(), Times::default(), Times::default());
        for number in 0..=pods {
            let raw_pause = raw_run.measure(self.raw_pause(number)).await;
            let raw_id = raw_create
                .measure(self.docker.create_container(&format!("raw-{number}"), body(&raw_pause)))
                .await
                .unwrap();
            raw_start.measure(self.docker.start_container(&raw_id)).await.unwrap();
            let pod = pod(number);
            let request = RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: String::new() };
            let sandbox = run.measure(self.runtime.run_pod_sandbox(request)).await.unwrap().into_inner().pod_sandbox_id;
            let request = CreateContainerRequest {
                pod_sandbox_id: sandbox,
                config: Some(container()),
                sandbox_config: Some(pod),
            };
            let id = create.measure(self.runtime.create_container(request)).await.unwrap().into_inner().container_id;
            start.measure(self.runtime.start_container(StartContainerRequest { container_id: id })).await.unwrap();
            for id in [raw_id, raw_pause] {
                self.docker.remove_container(&id).await.unwrap();
            }
            if number == 0 {
                // The first pod makes the bridge and warms every cache.
                for times in [&mut run, &mut create, &mut start, &mut raw_run, &mut raw_create, &mut raw_start] {
                    times.0.clear();
                }
            }
        }
        vec![
            Row { name: "RunPodSandbox (CNI included)", times: run, raw: Some(("create + start + inspect", raw_run)) },
            Row { name: "CreateContainer", times: create, raw: Some(("create", raw_create)) },
            Row { name: "StartContainer", times: start, raw: Some(("start", raw_start)) },
        ]
    }

    async fn raw_pause(&self, number: usize) -> String {
        let host = HostConfig {
            network_mode: Some("none".to_owned()),
            ipc_mode: Some("shareable".to_owned()),
            ..Default::default()
        };
        let body = ContainerCreateBody { image: Some(PAUSE.to_owned()), host_config: Some(host), ..Default::default() };
        let id = self.docker.create_container(&format!("raw-pause-{number}"), body).await.unwrap();
        self.docker.start_container(&id).await.unwrap();
        self.docker.inspect_container(&id).await.unwrap();
        id
    }

    async fn reads(&mut self) -> Vec<Row> {
        let pods = self.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner().items;
        let all = self.runtime.list_containers(ListContainersRequest::default()).await.unwrap().into_inner().containers;
        let (pod, container) = (pods[0].id.clone(), all[0].id.clone());
        let mut rows: Vec<(&str, Times)> = Vec::new();
        let mut times = Times::default();
        for _ in 0..READS {
            times.measure(self.runtime.list_pod_sandbox(ListPodSandboxRequest::default())).await.unwrap();
        }
        rows.push(("ListPodSandbox", times));
        let mut times = Times::default();
        for _ in 0..READS {
            times.measure(self.runtime.list_containers(ListContainersRequest::default())).await.unwrap();
        }
        rows.push(("ListContainers", times));
        let mut times = Times::default();
        for _ in 0..READS {
            let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false };
            times.measure(self.runtime.pod_sandbox_status(request)).await.unwrap();
        }
        rows.push(("PodSandboxStatus", times));
        let mut times = Times::default();
        for _ in 0..READS {
            let request = ContainerStatusRequest { container_id: container.clone(), verbose: false };
            times.measure(self.runtime.container_status(request)).await.unwrap();
        }
        rows.push(("ContainerStatus", times));
        let mut times = Times::default();
        for _ in 0..READS {
            let image = Some(ImageSpec { image: IMAGE.to_owned(), ..Default::default() });
            times.measure(self.images.image_status(ImageStatusRequest { image, verbose: false })).await.unwrap();
        }
        rows.push(("ImageStatus", times));
        let mut times = Times::default();
        for _ in 0..READS {
            times.measure(self.images.list_images(ListImagesRequest::default())).await.unwrap();
        }
        rows.push(("ListImages", times));
        let mut inspect = Times::default();
        for _ in 0..READS {
            inspect.measure(self.docker.inspect_container(&container)).await.unwrap();
        }
        rows.into_iter()
            .map(|(name, times)| {
                let raw = (name == "ContainerStatus").then(|| ("inspect", std::mem::take(&mut inspect)));
                Row { name, times, raw }
            })
            .collect()
    }
}

fn pod(number: usize) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: format!("bench-{number}"),
            namespace: "bench".to_owned(),
            uid: format!("uid-{number}"),
            attempt: 0,
        }),
        hostname: format!("bench-{number}"),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..Default::default()
    }
}

fn container() -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: vec!["sleep".to_owned(), "1000000".to_owned()],
        linux: Some(LinuxContainerConfig::default()),
        ..Default::default()
    }
}

/// The same container by raw call.
fn body(pause: &str) -> ContainerCreateBody {
    let join = format!("container:{pause}");
    ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        entrypoint: Some(vec!["sleep".to_owned(), "1000000".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some(join.clone()),
            ipc_mode: Some(join.clone()),
            pid_mode: Some(join),
            security_opt: Some(vec!["seccomp=unconfined".to_owned()]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Processor time a process has used, user and system.
fn cpu(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Duration::from_millis(ticks * 10)
}

fn resident(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}
