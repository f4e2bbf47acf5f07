//! The throughput of streams with client-go's programs, compared with `docker exec` and a direct connection.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use dockside::proto::*;

use super::contender::Candidate;
use super::contender::Contender;
use super::cri::Cri;
use super::raw_docker::RawDocker;
use super::samples::Recorder;

/// Bytes of each stream.
const VOLUME: u64 = 500_000_000;
/// Rounds alternate between the streams.
const ROUNDS: usize = 3;
const PORT: u16 = 8080;

/// Starts Dockside, measures all streams and prints the results.
pub(crate) async fn run(dockside: &Path) {
    let candidate = Candidate { name: "dockside", program: Some(dockside.to_owned()) };
    let contender = candidate.start_server().await.expect("start Dockside");
    let discarded = std::cell::RefCell::default();
    let pod_handle = contender.start(0, &Recorder::new(&discarded, "", 0)).await.expect("a pod");
    let Contender::Cri(mut cri) = contender else { return };
    streams(&mut cri, &pod_handle.container, &pod_handle.sandbox).await;
}

async fn streams(cri: &mut Cri, id: &str, sandbox: &str) {
    println!("streams of {} MB, MB/s, median of {ROUNDS}:", VOLUME / 1_000_000);
    let volume = VOLUME.to_string();
    let write = ["head", "-c", &volume, "/dev/zero"];
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut note = |name, rate| match rows.iter_mut().find(|(known, _)| *known == name) {
        Some((_, rates)) => rates.push(rate),
        None => rows.push((name, vec![rate])),
    };
    serve_in(sandbox).await;
    let status = PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: false };
    let status = cri.runtime.pod_sandbox_status(status).await.unwrap().into_inner().status.unwrap();
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
            let url = cri.runtime.exec(request).await.unwrap().into_inner().url;
            let mut client = Command::new("kube-stream");
            note(name, drain(client.args(["exec", "--no-stderr", "--transport", transport, "--url", &url])));
        }
        note("connection to the pod's IP", receive(&ip, PORT));
        for (transport, name) in [("spdy", "port-forward over SPDY"), ("websocket", "port-forward over WebSocket")] {
            let request = PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: vec![] };
            let url = cri.runtime.port_forward(request).await.unwrap().into_inner().url;
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

/// Reads a command's whole output.
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

/// Starts a server in the pod's network that sends `VOLUME` bytes on each connection.
async fn serve_in(sandbox: &str) {
    let raw = RawDocker::connect().await.unwrap();
    let pid = raw.docker.inspect_container(sandbox).await.unwrap().state.pid;
    let listener = std::thread::spawn(move || {
        let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind(("0.0.0.0", PORT)).unwrap()
    });
    let listener = listener.join().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // The client may close the connection early.
            let _ =
                std::io::copy(&mut std::io::repeat(0).take(VOLUME), &mut connection).and_then(|_| connection.flush());
        }
    });
}
