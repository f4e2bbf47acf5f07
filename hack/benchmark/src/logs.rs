//! The time until a container's output is in its CRI log, compared with Docker's own log alone, and the cost of many small
//! writers.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use dockside::proto::*;

use super::contender::Contender;
use super::cri;
use super::cri::Cri;
use super::meter;
use super::raw_docker;
use super::raw_docker::RawDocker;
use super::samples::Recorder;

/// 2 million lines of 100 bytes with the newline.
const LINES: u64 = 2_000_000;
const WRITER: &str = "awk 'BEGIN { for (i = 1; i <= 2000000; i++) printf \"%08d %090d\\n\", i, 0 }'";
/// How often the writer's state is polled.
const LOOK: Duration = Duration::from_millis(20);
/// Containers that write ten lines each half a second, all at once.
const CROWD: usize = 100;
const CROWD_WRITER: &str =
    "while true; do awk 'BEGIN { for (i = 1; i <= 10; i++) printf \"%08d %090d\\n\", i, 0 }'; usleep 500000; done";
const CROWD_TIME: Duration = Duration::from_secs(10);
/// The first number of this module's pods.
const NUMBER: usize = 10_000;

/// Measures one large writer.
///
/// # Errors
/// The first call that failed, or what is wrong with the log.
pub(crate) async fn run(contender: &Contender, recorder: &Recorder<'_>) -> Result<(), String> {
    match contender {
        Contender::RawDocker(raw) => raw_writer(raw, recorder).await,
        Contender::Cri(cri) => cri_writer(cri, recorder).await,
    }
}

async fn raw_writer(raw: &RawDocker, recorder: &Recorder<'_>) -> Result<(), String> {
    let discarded = std::cell::RefCell::default();
    let pod_handle = raw.start(NUMBER, &Recorder::new(&discarded, "", 0)).await?;
    let message = |error: dockside::docker::Error| error.to_string();
    let body = raw_docker::container(NUMBER, &pod_handle.sandbox, ["sh", "-c", WRITER]);
    let id = raw.docker.create_container("floor-writer", &body).await.map_err(message)?;
    let began = Instant::now();
    raw.docker.start_container(&id).await.map_err(message)?;
    while raw.docker.inspect_container(&id).await.map_err(message)?.state.running {
        tokio::time::sleep(LOOK).await;
    }
    recorder.record("2 million log lines", "s", began.elapsed().as_secs_f64());
    raw.docker.remove_container(&id).await.map_err(message)?;
    raw.stop(&pod_handle, &Recorder::new(&discarded, "", 0)).await
}

async fn cri_writer(cri: &Cri, recorder: &Recorder<'_>) -> Result<(), String> {
    let pod = cri::pod(NUMBER);
    let sandbox = cri.run_pod(&pod).await?;
    let id = create(cri, &sandbox, &pod, "writer", WRITER).await?;
    let (began, before) = (Instant::now(), meter::cpu(cri.server.pid()));
    cri.start_container(&id).await?;
    let status = loop {
        let status = status(cri, &id).await?;
        if status.state() == ContainerState::ContainerExited {
            break status;
        }
        tokio::time::sleep(LOOK).await;
    };
    recorder.record("2 million log lines", "s", began.elapsed().as_secs_f64());
    let used = meter::cpu(cri.server.pid()) - before;
    recorder.record("server CPU for them", "s", used.as_secs_f64());
    recorder.record("resident memory after them", "MB", meter::resident(cri.server.pid()));
    let file = Path::new(&status.log_path);
    // A symbolic link points to Docker's own format: then there is no CRI log to check.
    if !file.is_symlink() {
        check(file)?;
    }
    remove_pod(cri, &sandbox).await?;
    std::fs::remove_dir_all(&pod.log_directory).map_err(|error| format!("{}: {error}", pod.log_directory))
}

/// Checks that every line is there once and in order.
fn check(file: &Path) -> Result<(), String> {
    let name = file.display();
    let open = std::fs::File::open(file).map_err(|error| format!("{name}: {error}"))?;
    let mut count = 0;
    for line in BufReader::new(open).lines() {
        count += 1;
        let line = line.map_err(|error| format!("{name}: {error}"))?;
        let number = line.splitn(4, ' ').nth(3).and_then(|text| text.split(' ').next());
        if number.and_then(|number| number.parse::<u64>().ok()) != Some(count) {
            return Err(format!("{name}: line {count} is missing or wrong"));
        }
    }
    if count == LINES { Ok(()) } else { Err(format!("{name} has {count} lines")) }
}

/// Measures many small writers.
///
/// # Errors
/// The first call that failed.
pub(crate) async fn many_writers(contender: &Contender, recorder: &Recorder<'_>) -> Result<(), String> {
    let Contender::Cri(cri) = contender else { return Ok(()) };
    let pod = cri::pod(NUMBER + 1);
    let sandbox = cri.run_pod(&pod).await?;
    for number in 0..CROWD {
        let id = create(cri, &sandbox, &pod, &format!("crowd-{number}"), CROWD_WRITER).await?;
        cri.start_container(&id).await?;
    }
    let before = meter::cpu(cri.server.pid());
    tokio::time::sleep(CROWD_TIME).await;
    let used = meter::cpu(cri.server.pid()) - before;
    recorder.record("server CPU with 100 writers", "%", used.as_secs_f64() / CROWD_TIME.as_secs_f64() * 100.0);
    recorder.record("resident memory with 100 writers", "MB", meter::resident(cri.server.pid()));
    remove_pod(cri, &sandbox).await
}

async fn create(cri: &Cri, sandbox: &str, pod: &PodSandboxConfig, name: &str, script: &str) -> Result<String, String> {
    cri::make_log_directory(pod, name);
    let config = ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        log_path: format!("{name}/0.log"),
        ..cri::container()
    };
    cri.create(sandbox, pod, config).await
}

async fn status(cri: &Cri, id: &str) -> Result<ContainerStatus, String> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let answer = cri.runtime.clone().container_status(request).await.map_err(|status| status.message().to_owned())?;
    answer.into_inner().status.ok_or("a status without a status".to_owned())
}

/// Removes a pod. Containers are removed first, because cri-dockerd's StopPodSandbox does not stop them.
async fn remove_pod(cri: &Cri, sandbox: &str) -> Result<(), String> {
    let message = |status: tonic::Status| status.message().to_owned();
    let mut runtime = cri.runtime.clone();
    let filter = ContainerFilter { pod_sandbox_id: sandbox.to_owned(), ..Default::default() };
    let request = ListContainersRequest { filter: Some(filter) };
    for container in runtime.list_containers(request).await.map_err(message)?.into_inner().containers {
        let request = RemoveContainerRequest { container_id: container.id };
        runtime.remove_container(request).await.map_err(message)?;
    }
    let request = StopPodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
    runtime.stop_pod_sandbox(request).await.map_err(message)?;
    let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
    runtime.remove_pod_sandbox(request).await.map_err(message)?;
    Ok(())
}
