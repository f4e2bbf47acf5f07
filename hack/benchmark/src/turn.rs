//! One turn of one contender: starts pods, measures reads, polls as a kubelet does, and removes the pods.

use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;

use super::contender::Contender;
use super::meter;
use super::meter::UsageStart;
use super::pod::Pod;
use super::samples::Recorder;

/// Half of the pods of a size start one by one, but at most this many: more would only take longer.
const SERIAL_LIMIT: usize = 30;
/// The number of concurrent calls in parallel mode.
pub(crate) const PARALLEL: usize = 8;
pub(crate) const SERIAL_MODE: &str = "serial";
pub(crate) const PARALLEL_MODE: &str = "parallel";
/// The reads of the CRI that are measured.
pub(crate) const READS: [&str; 10] = [
    "ListPodSandbox",
    "ListContainers",
    "PodSandboxStatus",
    "ContainerStatus",
    "ImageStatus",
    "ListImages",
    "ListContainerStats",
    "ListPodSandboxStats",
    "ImageFsInfo",
    "ExecSync",
];
/// Each read is repeated until one of the first two limits, but at least `READ_LEAST` times.
const READ_LIMIT: usize = 200;
const READ_TIME: Duration = Duration::from_secs(1);
const READ_LEAST: usize = 5;
/// The number of the pod that is started and removed first, unmeasured, to create the bridge and warm caches.
const WARM_UP: usize = 0;

/// What a turn consists of.
pub(crate) struct Plan {
    /// The numbers of running pods at which reads are measured, ascending.
    pub sizes: Vec<usize>,
    /// The size at which idle cost is measured by polling.
    pub poll_at: usize,
    pub poll_for: Duration,
}

/// Pods that were started in one mode and are stopped in the same mode.
struct Batch {
    size: usize,
    mode: &'static str,
    pods: Vec<Pod>,
}

/// Runs one turn.
///
/// # Errors
/// The first call that failed.
pub(crate) async fn run(contender: &Contender, plan: &Plan, recorder: &Recorder<'_>) -> Result<(), String> {
    warm_up(contender).await?;
    let whole = UsageStart::now();
    let mut batches: Vec<Batch> = Vec::new();
    let mut running = 0;
    for &size in &plan.sizes {
        let serial = (size - running).div_ceil(2).min(SERIAL_LIMIT);
        batches.push(start_batch(contender, recorder, running + 1, serial, SERIAL_MODE, size).await?);
        batches.push(
            start_batch(contender, recorder, running + 1 + serial, size - running - serial, PARALLEL_MODE, size)
                .await?,
        );
        running = size;
        recorder.set_context("", size);
        if let Some(pid) = contender.pid() {
            recorder.record("resident memory", "MB", meter::resident(pid));
        }
        let any = &batches[0].pods[0];
        for call in READS {
            read(contender, call, any, recorder).await?;
        }
        if size == plan.poll_at && contender.pid().is_some() {
            poll(contender, any, plan.poll_for, recorder).await?;
        }
    }
    while let Some(batch) = batches.pop() {
        stop_batch(contender, recorder, batch).await?;
    }
    recorder.set_context("", 0);
    recorder.record("others' share of the machine", "%", whole.used().others);
    Ok(())
}

async fn warm_up(contender: &Contender) -> Result<(), String> {
    let discarded = std::cell::RefCell::default();
    let recorder = Recorder::new(&discarded, "", 0);
    let pod_handle = contender.start(WARM_UP, &recorder).await?;
    contender.stop(&pod_handle, &recorder).await
}

async fn start_batch(
    contender: &Contender,
    recorder: &Recorder<'_>,
    first: usize,
    count: usize,
    mode: &'static str,
    size: usize,
) -> Result<Batch, String> {
    recorder.set_context(mode, size);
    let before = Costs::now(contender);
    let at_once = if mode == PARALLEL_MODE { PARALLEL } else { 1 };
    let began = Instant::now();
    let pods: Vec<Result<Pod, String>> = stream::iter(first..first + count)
        .map(|number| contender.start(number, recorder))
        .buffer_unordered(at_once)
        .collect()
        .await;
    let pods = pods.into_iter().collect::<Result<Vec<Pod>, String>>()?;
    if count > 0 {
        recorder.record("pods started", "/s", count as f64 / began.elapsed().as_secs_f64());
        before.record_per_pod(contender, recorder, count);
    }
    Ok(Batch { size, mode, pods })
}

async fn stop_batch(contender: &Contender, recorder: &Recorder<'_>, batch: Batch) -> Result<(), String> {
    recorder.set_context(batch.mode, batch.size);
    let at_once = if batch.mode == PARALLEL_MODE { PARALLEL } else { 1 };
    let ends: Vec<Result<(), String>> =
        stream::iter(&batch.pods).map(|pod| contender.stop(pod, recorder)).buffer_unordered(at_once).collect().await;
    ends.into_iter().collect()
}

async fn read(contender: &Contender, call: &str, pod_handle: &Pod, recorder: &Recorder<'_>) -> Result<(), String> {
    // Some contenders lack some calls.
    match contender.read(call, pod_handle).await {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(error) => {
            super::say(&format!("not measured: {error}"));
            return Ok(());
        }
    }
    let (began, before) = (Instant::now(), contender.pid().map(meter::cpu));
    let mut count = 0;
    while count < READ_LEAST || (count < READ_LIMIT && began.elapsed() < READ_TIME) {
        recorder.time(call, contender.read(call, pod_handle)).await?;
        count += 1;
    }
    if let (Some(pid), Some(before)) = (contender.pid(), before) {
        let used = meter::cpu(pid) - before;
        recorder.record(&format!("server CPU per {call}"), "ms", used.as_secs_f64() * 1000.0 / count as f64);
    }
    Ok(())
}

/// Polls as the kubelet of an idle node does, and records the cost.
async fn poll(contender: &Contender, pod_handle: &Pod, long: Duration, recorder: &Recorder<'_>) -> Result<(), String> {
    /// Each call and its period in seconds. The two statuses stand for a pod that changes now and then. (With the feature
    /// gate PodAndContainerStatsFromCRI, a kubelet calls ListPodSandboxStats in place of ListContainerStats.)
    const CALLS: [(&str, u64); 8] = [
        ("ListPodSandbox", 1),
        ("ListContainers", 1),
        ("Status", 5),
        ("PodSandboxStatus", 5),
        ("ContainerStatus", 5),
        ("ListContainerStats", 10),
        ("ImageFsInfo", 10),
        ("ListImages", 30),
    ];
    let before = Costs::now(contender);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for second in 0..long.as_secs() {
        tick.tick().await;
        for (call, every) in CALLS {
            if second % every == 0 {
                // A failing call was reported before, and its cost counts.
                let _ = contender.read(call, pod_handle).await;
            }
        }
    }
    tick.tick().await;
    before.record_share(contender, recorder);
    Ok(())
}

/// CPU time of the contender, its helpers and dockerd so far.
struct Costs {
    mark: UsageStart,
    server: Duration,
    children: Duration,
    docker: Duration,
}

impl Costs {
    fn now(contender: &Contender) -> Costs {
        Costs {
            server: contender.pid().map_or(Duration::ZERO, meter::cpu),
            children: contender.helpers_cpu(),
            docker: docker_pid().map_or(Duration::ZERO, meter::cpu),
            mark: UsageStart::now(),
        }
    }

    fn record_per_pod(&self, contender: &Contender, recorder: &Recorder<'_>, pods: usize) {
        let used = self.mark.used();
        let each = |name: &str, time: Duration| recorder.record(name, "ms", time.as_secs_f64() * 1000.0 / pods as f64);
        each("CPU of everything per pod start", used.inside);
        let now = Costs::now(contender);
        each("dockerd's CPU per pod start", now.docker - self.docker);
        if contender.pid().is_some() {
            let server = now.server - self.server;
            each("server CPU per pod start", server);
            each("and its children and shims", server + (now.children - self.children));
        }
    }

    fn record_share(&self, contender: &Contender, recorder: &Recorder<'_>) {
        let used = self.mark.used();
        let now = Costs::now(contender);
        let share = |name: &str, time: Duration| {
            recorder.record(name, "%", time.as_secs_f64() / used.elapsed.as_secs_f64() * 100.0)
        };
        let server = now.server - self.server;
        share("server CPU while polled", server);
        share("and its children and shims, polled", server + (now.children - self.children));
        share("dockerd's CPU while polled", now.docker - self.docker);
    }
}

fn docker_pid() -> Option<u32> {
    std::fs::read_to_string("/run/box/dockerd.pid").ok()?.trim().parse().ok()
}
