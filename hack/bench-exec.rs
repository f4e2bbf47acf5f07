//! What a probe costs, beside the same by raw calls; and how fast streams are, beside `docker exec` and a direct connection.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use dockside::docker::ExecSpec;
use dockside::proto::*;

use super::Bench;
use super::Times;
use super::cpu;
use super::resident;

const PROBES: usize = 500;
/// Bytes of each stream.
const VOLUME: u64 = 500_000_000;
/// By turns, so that a busy moment of the machine hits all.
const ROUNDS: usize = 3;
const PORT: u16 = 8080;

/// Runs all and prints what was measured. `pid` is Dockside's process.
pub(super) async fn run(bench: &mut Bench, pid: &str) {
    let pod = super::pod(0);
    let request = RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: String::new() };
    let sandbox = bench.runtime.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id;
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.clone(),
        config: Some(super::container()),
        sandbox_config: Some(pod),
    };
    let id = bench.runtime.create_container(request).await.unwrap().into_inner().container_id;
    bench.runtime.start_container(StartContainerRequest { container_id: id.clone() }).await.unwrap();
    probes(bench, &id, pid).await;
    streams(bench, &id, &sandbox).await;
}

async fn probes(bench: &mut Bench, id: &str, pid: &str) {
    let (mut ours, mut raw) = (Times::default(), Times::default());
    let before = cpu(pid);
    for _ in 0..PROBES {
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd: vec!["true".to_owned()], timeout: 10 };
        let answer = ours.measure(bench.runtime.exec_sync(request)).await.unwrap().into_inner();
        assert_eq!(answer.exit_code, 0);
        raw.measure(raw_exec(bench, id)).await;
    }
    let used = (cpu(pid) - before).as_secs_f64() * 1000.0 / PROBES as f64;
    println!("ExecSync of `true`, {PROBES} times    p50 {:>6.2} ms   p99 {:>6.2} ms", ours.at(0.5), ours.at(0.99));
    println!("the same by raw calls            p50 {:>6.2} ms   p99 {:>6.2} ms", raw.at(0.5), raw.at(0.99));
    println!(
        "  above raw: p50 {:+.2} ms; Dockside's CPU {used:.2} ms each; resident {:.1} MB",
        ours.at(0.5) - raw.at(0.5),
        resident(pid)
    );
}

/// Create, start, read to the end, and ask for the exit code until there is one.
async fn raw_exec(bench: &Bench, id: &str) {
    let spec = ExecSpec { command: vec!["true".to_owned()], stdout: true, stderr: true, ..Default::default() };
    let exec = bench.docker.create_exec(id, &spec).await.unwrap();
    let mut io = bench.docker.start_exec(&exec, false).await.unwrap();
    while io.output.next().await.unwrap().is_some() {}
    while bench.docker.inspect_exec(&exec).await.unwrap().exit_code.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn streams(bench: &mut Bench, id: &str, sandbox: &str) {
    println!("streams of {} MB, MB/s, median of {ROUNDS}:", VOLUME / 1_000_000);
    let volume = VOLUME.to_string();
    let write = ["head", "-c", &volume, "/dev/zero"];
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut note = |name, rate| match rows.iter_mut().find(|(known, _)| *known == name) {
        Some((_, rates)) => rates.push(rate),
        None => rows.push((name, vec![rate])),
    };
    serve_in(bench, sandbox).await;
    let status = PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: false };
    let status = bench.runtime.pod_sandbox_status(status).await.unwrap().into_inner().status.unwrap();
    let ip = status.network.unwrap().ip;
    for _ in 0..ROUNDS {
        note("docker exec, output", drain(Command::new("docker").arg("exec").arg(id).args(write)));
        for (transport, name) in [("spdy", "exec over SPDY, output"), ("websocket", "exec over WebSocket, output")] {
            let request = ExecRequest {
                container_id: id.to_owned(),
                cmd: write.map(str::to_owned).to_vec(),
                stdout: true,
                ..Default::default()
            };
            let url = bench.runtime.exec(request).await.unwrap().into_inner().url;
            let mut client = Command::new("kube-stream");
            note(name, drain(client.args(["exec", "--no-stderr", "--transport", transport, "--url", &url])));
        }
        note("connection to the pod's IP", receive(&ip, PORT));
        for (transport, name) in [("spdy", "port-forward over SPDY"), ("websocket", "port-forward over WebSocket")] {
            let request = PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: vec![] };
            let url = bench.runtime.port_forward(request).await.unwrap().into_inner().url;
            note(name, forwarded(transport, &url));
        }
    }
    for (name, mut rates) in rows {
        rates.sort_by(f64::total_cmp);
        println!("  {name:<30} {:>7.0}   ({:.0} to {:.0})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
    }
}

fn rate(bytes: u64, began: Instant) -> f64 {
    assert_eq!(bytes, VOLUME, "not all has come");
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// Reads all that a command writes.
fn drain(command: &mut Command) -> f64 {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let bytes = std::io::copy(child.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
    child.wait().unwrap();
    rate(bytes, began)
}

fn receive(host: &str, port: u16) -> f64 {
    let began = Instant::now();
    let bytes = std::io::copy(&mut TcpStream::connect((host, port)).unwrap(), &mut std::io::sink()).unwrap();
    rate(bytes, began)
}

fn forwarded(transport: &str, url: &str) -> f64 {
    let mut client = Command::new("kube-stream")
        .args(["forward", "--transport", transport, "--url", url, &format!("0:{PORT}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let port = line.split([' ', ':']).nth(2).unwrap().parse().unwrap();
    let rate = receive("127.0.0.1", port);
    drop(client.stdin.take());
    client.wait().unwrap();
    rate
}

/// A server in the pod's network that sends the volume to everyone who connects.
async fn serve_in(bench: &Bench, sandbox: &str) {
    let pid = bench.docker.inspect_container(sandbox).await.unwrap().state.pid;
    let listener = std::thread::spawn(move || {
        let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind(("0.0.0.0", PORT)).unwrap()
    });
    let listener = listener.join().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // A client that has enough may leave.
            let _ =
                std::io::copy(&mut std::io::repeat(0).take(VOLUME), &mut connection).and_then(|_| connection.flush());
        }
    });
}
