//! Pods of the contender and of raw Docker in pairs, right after each other: the time that a call takes beyond Docker's own.
//!
//! On shared machines the speed of the processors changes from minute to minute by more than the few milliseconds that
//! Dockside adds. Within a pair it is the same.

use std::cell::RefCell;
use std::time::Instant;

use super::contender::Contender;
use super::contender::RAW_DOCKER;
use super::pod::Pod;
use super::raw_docker::RawDocker;
use super::samples::Recorder;

/// The compared calls, and the names of the differences.
const CALLS: [(&str, &str); 3] = [
    ("RunPodSandbox", "RunPodSandbox, beyond raw"),
    ("CreateContainer", "CreateContainer, beyond raw"),
    ("StartContainer", "StartContainer, beyond raw"),
];
const PAIRS: usize = 40;
/// Commands in two running pods.
const EXEC: &str = "ExecSync, beyond raw";
const EXEC_PAIRS: usize = 100;
/// The first number of this module's pods.
const FIRST: usize = 5000;

/// Starts and stops pods in pairs, and records how much longer the contender's calls take.
///
/// # Errors
/// The first call that failed.
pub(crate) async fn run(contender: &Contender, recorder: &Recorder<'_>) -> Result<(), String> {
    let raw = Contender::RawDocker(Box::new(RawDocker::connect().await?));
    recorder.set_context("", 0);
    for number in FIRST..FIRST + PAIRS {
        // The order alternates.
        let (ours, raw) = if number % 2 == 0 {
            let ours = times(contender, number).await?;
            (ours, times(&raw, number).await?)
        } else {
            let raw = times(&raw, number).await?;
            (times(contender, number).await?, raw)
        };
        for (at, (_, measure)) in CALLS.iter().enumerate() {
            recorder.record(measure, "ms", ours[at] - raw[at]);
        }
    }
    commands(contender, &raw, recorder).await
}

/// Runs commands in pairs, one in a pod of the contender and one in a raw one.
async fn commands(contender: &Contender, raw_docker: &Contender, recorder: &Recorder<'_>) -> Result<(), String> {
    let discarded = RefCell::default();
    let quiet = Recorder::new(&discarded, RAW_DOCKER, 0);
    let ours = contender.start(FIRST, &quiet).await?;
    let raw = raw_docker.start(FIRST, &quiet).await?;
    for number in 0..EXEC_PAIRS {
        let (long, short) = if number % 2 == 0 {
            let long = command(contender, &ours).await?;
            (long, command(raw_docker, &raw).await?)
        } else {
            let short = command(raw_docker, &raw).await?;
            (command(contender, &ours).await?, short)
        };
        recorder.record(EXEC, "ms", long - short);
    }
    contender.stop(&ours, &quiet).await?;
    raw_docker.stop(&raw, &quiet).await
}

/// How long a command takes, in milliseconds.
async fn command(contender: &Contender, pod_handle: &Pod) -> Result<f64, String> {
    let began = Instant::now();
    contender.read("ExecSync", pod_handle).await?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

/// Starts and stops one pod; returns how long each of the calls took, in milliseconds.
async fn times(contender: &Contender, number: usize) -> Result<[f64; CALLS.len()], String> {
    let book = RefCell::default();
    let recorder = Recorder::new(&book, RAW_DOCKER, 0);
    let pod_handle = contender.start(number, &recorder).await?;
    contender.stop(&pod_handle, &recorder).await?;
    Ok(CALLS.map(|(call, _)| {
        book.borrow().iter().find(|series| series.key.measure == call).map_or(f64::NAN, |series| series.at(0.5))
    }))
}
