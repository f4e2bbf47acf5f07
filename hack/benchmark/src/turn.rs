//! One turn of one contender: its pods come, are read, are watched as a kubelet does, and go.

use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;

use super::contender::Contender;
use super::meter;
use super::meter::Mark;
use super::pod::Pod;
use super::samples::Notes;

/// One by one come half of the pods of a size, but no more than this: it tells no more, and takes long.
const SERIAL_LIMIT: usize = 30;
/// Calls at once, where they are not one by one.
pub const PARALLEL: usize = 8;
pub const SERIAL_MODE: &str = "serial";
pub const PARALLEL_MODE: &str = "parallel";
/// The reads of the CRI that are measured.
pub const READS: [&str; 10] = [
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
/// Each read is repeated this often, as far as it gets in this time, but no less than that.
const READ_LIMIT: usize = 200;
const READ_TIME: Duration = Duration::from_secs(1);
const READ_LEAST: usize = 5;
/// What is first started and removed unmeasured: it makes the bridge and warms every cache.
const WARM_UP: usize = 0;

/// What a turn consists of.
pub struct Plan {
    /// How many pods there are when the reads are measured, in rising order.
    pub sizes: Vec<usize>,
    /// Where the contender is watched: at one of the sizes.
    pub poll_at: usize,
    pub poll_for: Duration,
}

/// Pods that came in the same way and will go in the same way.
struct Batch {
    size: usize,
    mode: &'static str,
    pods: Vec<Pod>,
}

/// Runs one turn.
///
/// # Errors
/// The first call that failed.
pub async fn run(contender: &Contender, plan: &Plan, notes: &Notes<'_>) -> Result<(), String> {
    warm_up(contender).await?;
    let whole = Mark::now();
    let mut batches: Vec<Batch> = Vec::new();
    let mut there = 0;
    for &size in &plan.sizes {
        let serial = (size - there).div_ceil(2).min(SERIAL_LIMIT);
        batches.push(come(contender, notes, there + 1, serial, SERIAL_MODE, size).await?);
        batches.push(come(contender, notes, there + 1 + serial, size - there - serial, PARALLEL_MODE, size).await?);
        there = size;
        notes.turn_to("", size);
        if let Some(pid) = contender.pid() {
            notes.value("resident memory", "MB", meter::resident(pid));
        }
        let any = &batches[0].pods[0];
        for call in READS {
            read(contender, call, any, notes).await?;
        }
        if size == plan.poll_at && contender.pid().is_some() {
            poll(contender, any, plan.poll_for, notes).await?;
        }
    }
    while let Some(batch) = batches.pop() {
        go(contender, notes, batch).await?;
    }
    notes.turn_to("", 0);
    notes.value("others' share of the machine", "%", whole.used().others);
    Ok(())
}

async fn warm_up(contender: &Contender) -> Result<(), String> {
    let unread = std::cell::RefCell::default();
    let notes = Notes::new(&unread, "", 0);
    let made = contender.start(WARM_UP, &notes).await?;
    contender.stop(&made, &notes).await
}

async fn come(
    contender: &Contender,
    notes: &Notes<'_>,
    first: usize,
    count: usize,
    mode: &'static str,
    size: usize,
) -> Result<Batch, String> {
    notes.turn_to(mode, size);
    let before = Costs::now(contender);
    let at_once = if mode == PARALLEL_MODE { PARALLEL } else { 1 };
    let began = Instant::now();
    let pods: Vec<Result<Pod, String>> = stream::iter(first..first + count)
        .map(|number| contender.start(number, notes))
        .buffer_unordered(at_once)
        .collect()
        .await;
    let pods = pods.into_iter().collect::<Result<Vec<Pod>, String>>()?;
    if count > 0 {
        notes.value("pods started", "/s", count as f64 / began.elapsed().as_secs_f64());
        before.note_per_pod(contender, notes, count);
    }
    Ok(Batch { size, mode, pods })
}

async fn go(contender: &Contender, notes: &Notes<'_>, batch: Batch) -> Result<(), String> {
    notes.turn_to(batch.mode, batch.size);
    let at_once = if batch.mode == PARALLEL_MODE { PARALLEL } else { 1 };
    let ends: Vec<Result<(), String>> =
        stream::iter(&batch.pods).map(|pod| contender.stop(pod, notes)).buffer_unordered(at_once).collect().await;
    ends.into_iter().collect()
}

async fn read(contender: &Contender, call: &str, made: &Pod, notes: &Notes<'_>) -> Result<(), String> {
    // Not everybody has everything, and not everything works everywhere.
    match contender.read(call, made).await {
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
        notes.time(call, contender.read(call, made)).await?;
        count += 1;
    }
    if let (Some(pid), Some(before)) = (contender.pid(), before) {
        let used = meter::cpu(pid) - before;
        notes.value(&format!("server CPU per {call}"), "ms", used.as_secs_f64() * 1000.0 / count as f64);
    }
    Ok(())
}

/// Asks as a kubelet with a quiet node does, and takes down what that costs.
async fn poll(contender: &Contender, made: &Pod, long: Duration, notes: &Notes<'_>) -> Result<(), String> {
    /// Each call, and every how many seconds it comes. The two of one pod are for one that changes now and then. (With its
    /// gate PodAndContainerStatsFromCRI a kubelet asks for ListPodSandboxStats, and no more for ListContainerStats.)
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
                // What does not work has been told already, and costs its part all the same.
                let _ = contender.read(call, made).await;
            }
        }
    }
    tick.tick().await;
    before.note_share(contender, notes);
    Ok(())
}

/// What the contender and those who work for it have used so far.
struct Costs {
    mark: Mark,
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
            mark: Mark::now(),
        }
    }

    fn note_per_pod(&self, contender: &Contender, notes: &Notes<'_>, pods: usize) {
        let used = self.mark.used();
        let each = |name: &str, time: Duration| notes.value(name, "ms", time.as_secs_f64() * 1000.0 / pods as f64);
        each("CPU of everything per pod start", used.inside);
        let now = Costs::now(contender);
        each("dockerd's CPU per pod start", now.docker - self.docker);
        if contender.pid().is_some() {
            let server = now.server - self.server;
            each("server CPU per pod start", server);
            each("and its children and shims", server + (now.children - self.children));
        }
    }

    fn note_share(&self, contender: &Contender, notes: &Notes<'_>) {
        let used = self.mark.used();
        let now = Costs::now(contender);
        let share = |name: &str, time: Duration| {
            notes.value(name, "%", time.as_secs_f64() / used.elapsed.as_secs_f64() * 100.0)
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
