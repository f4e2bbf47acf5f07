//! Dockside's pods and the floor's in pairs, one right after the other: what a call takes beyond Docker's own time.
//!
//! Where the processors are shared with other machines they are not equally fast in one minute and in the next, and
//! that is far more than the milliseconds that Dockside adds. Within a pair it is the same.

use std::cell::RefCell;
use std::time::Instant;

use super::contender::Contender;
use super::contender::FLOOR;
use super::floor::Floor;
use super::pod::Pod;
use super::samples::Notes;

/// The calls that are compared, and what the difference is called.
const CALLS: [(&str, &str); 3] = [
    ("RunPodSandbox", "RunPodSandbox, beyond raw"),
    ("CreateContainer", "CreateContainer, beyond raw"),
    ("StartContainer", "StartContainer, beyond raw"),
];
const PAIRS: usize = 40;
/// Commands in two pods that live side by side.
const EXEC: &str = "ExecSync, beyond raw";
const EXEC_PAIRS: usize = 100;
/// Names that no other part of a turn gives.
const FIRST: usize = 5000;

/// Starts and stops pods in pairs, and takes down how much longer the contender's take.
///
/// # Errors
/// The first call that failed.
pub async fn run(contender: &Contender, notes: &Notes<'_>) -> Result<(), String> {
    let floor = Contender::Floor(Box::new(Floor::connect().await?));
    notes.turn_to("", 0);
    for number in FIRST..FIRST + PAIRS {
        // Nobody is always first.
        let (ours, raw) = if number % 2 == 0 {
            let ours = times(contender, number).await?;
            (ours, times(&floor, number).await?)
        } else {
            let raw = times(&floor, number).await?;
            (times(contender, number).await?, raw)
        };
        for (at, (_, measure)) in CALLS.iter().enumerate() {
            notes.value(measure, "ms", ours[at] - raw[at]);
        }
    }
    commands(contender, &floor, notes).await
}

/// Runs commands in pairs, one in a pod of the contender and one in a raw one.
async fn commands(contender: &Contender, floor: &Contender, notes: &Notes<'_>) -> Result<(), String> {
    let unread = RefCell::default();
    let quiet = Notes::new(&unread, FLOOR, 0);
    let ours = contender.start(FIRST, &quiet).await?;
    let raw = floor.start(FIRST, &quiet).await?;
    for number in 0..EXEC_PAIRS {
        let (long, short) = if number % 2 == 0 {
            let long = command(contender, &ours).await?;
            (long, command(floor, &raw).await?)
        } else {
            let short = command(floor, &raw).await?;
            (command(contender, &ours).await?, short)
        };
        notes.value(EXEC, "ms", long - short);
    }
    contender.stop(&ours, &quiet).await?;
    floor.stop(&raw, &quiet).await
}

/// How long a command takes, in milliseconds.
async fn command(contender: &Contender, made: &Pod) -> Result<f64, String> {
    let began = Instant::now();
    contender.read("ExecSync", made).await?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

/// What each of the calls takes, in milliseconds, for one pod that comes and goes.
async fn times(contender: &Contender, number: usize) -> Result<[f64; CALLS.len()], String> {
    let book = RefCell::default();
    let notes = Notes::new(&book, FLOOR, 0);
    let made = contender.start(number, &notes).await?;
    contender.stop(&made, &notes).await?;
    Ok(CALLS.map(|(call, _)| {
        book.borrow().iter().find(|series| series.key.measure == call).map_or(f64::NAN, |series| series.at(0.5))
    }))
}
