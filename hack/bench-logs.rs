//! How fast the output of a container gets into its CRI log file, beside what Docker needs for its own file alone.

use std::io::BufRead;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use dockside::docker::model::ContainerCreateBody;
use dockside::docker::model::HostConfig;
use dockside::docker::model::HostConfigLogConfig;
use dockside::proto::*;

use super::Bench;
use super::IMAGE;
use super::cpu;
use super::resident;

/// 2 million lines of 100 bytes with the newline.
const LINES: u64 = 2_000_000;
const WRITER: &str = "awk 'BEGIN { for (i = 1; i <= 2000000; i++) printf \"%08d %090d\\n\", i, 0 }'";
/// Raw and through Dockside by turns, so that a busy moment of the machine hits both.
const ROUNDS: usize = 3;
/// Containers that write ten lines each half a second, all at once.
const CROWD: usize = 100;
const CROWD_WRITER: &str =
    "while true; do awk 'BEGIN { for (i = 1; i <= 10; i++) printf \"%08d %090d\\n\", i, 0 }'; usleep 500000; done";

/// Runs all and prints what was measured. `pid` is Dockside's process.
pub(super) async fn run(bench: &mut Bench, pid: &str) {
    let pod = PodSandboxConfig { log_directory: "/var/log/pods/bench".to_owned(), ..super::pod(0) };
    let request = RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: String::new() };
    let sandbox = bench.runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
    println!("{LINES} lines of 100 bytes, until the exit is told:");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let raw = raw_round(bench, round).await;
        let before = cpu(pid);
        let (ours, file) = round_of_ours(bench, &sandbox, &pod, round).await;
        let used = (cpu(pid) - before).as_secs_f64();
        check(&file);
        std::fs::remove_file(file).unwrap();
        let (raw, ours) = (raw.as_secs_f64(), ours.as_secs_f64());
        ratios.push(ours / raw);
        println!(
            "  Docker alone {raw:>6.2} s   Dockside {ours:>6.2} s   ratio {:.2}   Dockside's CPU {used:.2} s = {:.2} cores   resident {:.1} MB",
            ours / raw,
            used / ours,
            resident(pid)
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("  median ratio {:.2}", ratios[ROUNDS / 2]);
    crowd(bench, &sandbox, &pod, pid).await;
}

/// Docker's `json-file` alone, with the options Dockside sets by default.
async fn raw_round(bench: &Bench, round: usize) -> Duration {
    let options = [("max-size", "32m"), ("max-file", "3"), ("compress", "false")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        entrypoint: Some(["sh", "-c", WRITER].map(str::to_owned).to_vec()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            security_opt: Some(vec!["seccomp=unconfined".to_owned()]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(options.into_iter().collect()),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let id = bench.docker.create_container(&format!("raw-writer-{round}"), body).await.unwrap();
    let began = Instant::now();
    bench.docker.start_container(&id).await.unwrap();
    while bench.docker.inspect_container(&id).await.unwrap().state.running {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    bench.docker.remove_container(&id).await.unwrap();
    took
}

/// The same by the CRI: until ContainerStatus says EXITED. Returns the log file too.
async fn round_of_ours(bench: &mut Bench, sandbox: &str, pod: &PodSandboxConfig, round: usize) -> (Duration, PathBuf) {
    let id = create(bench, sandbox, pod, &format!("writer-{round}"), WRITER).await;
    let began = Instant::now();
    start(bench, &id).await;
    let status = loop {
        let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
        let status = bench.runtime.container_status(request).await.unwrap().into_inner().status.unwrap();
        if status.state() == ContainerState::ContainerExited {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let took = began.elapsed();
    bench.runtime.remove_container(RemoveContainerRequest { container_id: id }).await.unwrap();
    (took, status.log_path.into())
}

/// Every line, once and in order.
fn check(file: &PathBuf) {
    let lines = BufReader::new(std::fs::File::open(file).unwrap()).lines();
    let mut count = 0;
    for line in lines {
        count += 1;
        let line = line.unwrap();
        let number = line.splitn(4, ' ').nth(3).and_then(|text| text.split(' ').next()).unwrap();
        assert_eq!(number.parse::<u64>().unwrap(), count, "a line is missing or wrong in {}", file.display());
    }
    assert_eq!(count, LINES, "{} is not complete", file.display());
}

/// Many containers that all write a little.
async fn crowd(bench: &mut Bench, sandbox: &str, pod: &PodSandboxConfig, pid: &str) {
    for number in 0..CROWD {
        let id = create(bench, sandbox, pod, &format!("crowd-{number}"), CROWD_WRITER).await;
        start(bench, &id).await;
    }
    const WATCHED: Duration = Duration::from_secs(10);
    let before = cpu(pid);
    tokio::time::sleep(WATCHED).await;
    let share = (cpu(pid) - before).as_secs_f64() / WATCHED.as_secs_f64();
    println!(
        "{CROWD} containers that write at once: resident {:.1} MB, {:.1} % of a core",
        resident(pid),
        share * 100.0
    );
}

async fn create(bench: &mut Bench, sandbox: &str, pod: &PodSandboxConfig, name: &str, script: &str) -> String {
    let config = ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        log_path: format!("{name}/0.log"),
        ..super::container()
    };
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.to_owned(),
        config: Some(config),
        sandbox_config: Some(pod.clone()),
    };
    bench.runtime.create_container(request).await.unwrap().into_inner().container_id
}

async fn start(bench: &mut Bench, id: &str) {
    bench.runtime.start_container(StartContainerRequest { container_id: id.to_owned() }).await.unwrap();
}
