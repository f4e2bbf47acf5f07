//! Compares Dockside with other CRI servers and with raw Docker calls, in one run. `hack/bench` runs it in a box.
//!
//! `run` measures one lane, `report` renders the table, the JSON and the page of several lanes, `streams` measures exec
//! and port-forward. In a turn, one contender has the box to itself: its server starts, starts pods, is read, removes the
//! pods and stops. Rounds of turns alternate, so that load from outside does not hit one contender alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cni;
mod contender;
mod cri;
mod lane;
mod logs;
mod meter;
mod page;
mod pairs;
mod pod;
mod raw_docker;
mod report;
mod samples;
mod server;
mod streams;
mod table;
mod targets;
mod turn;

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use clap::Subcommand;

use contender::Candidate;
use contender::Contender;
use contender::RAW_DOCKER;
use lane::Lane;
use lane::Named;
use meter::UsageStart;
use samples::Recorder;
use turn::Plan;

/// Sizes above this take minutes per contender and are measured in the first round only.
const OFTEN: usize = 60;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Measures one lane, in a box, and writes the measurements to a file.
    Run(RunArgs),
    /// The speed of Dockside's streams.
    Streams {
        #[arg(long)]
        dockside: PathBuf,
    },
    /// Renders measurements.
    Report {
        /// Where bench.json and index.html go.
        #[arg(long)]
        out: PathBuf,
        /// The files that `run` wrote.
        lanes: Vec<PathBuf>,
    },
}

#[derive(Parser)]
struct RunArgs {
    #[arg(long)]
    lane: String,
    #[arg(long)]
    file: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pods: Vec<usize>,
    #[arg(long)]
    rounds: usize,
    /// What to measure: pods, logs, crowd.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
    #[arg(long)]
    dockside: PathBuf,
    #[arg(long)]
    containerd: Option<PathBuf>,
    #[arg(long)]
    cri_dockerd: Option<PathBuf>,
    /// A contender that is left out, and why: NAME=REASON.
    #[arg(long)]
    without: Vec<String>,
    #[arg(long, default_value_t = 20)]
    poll_seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match Args::parse().mode {
        Mode::Run(args) => run(args).await,
        Mode::Streams { dockside } => streams::run(&dockside).await,
        Mode::Report { out, lanes } => report::make(&out, &lanes),
    }
}

async fn run(args: RunArgs) {
    let load_before = meter::load();
    let whole = UsageStart::now();
    let mut candidates = candidates(&args);
    let mut absent: Vec<Named> = args.without.iter().map(|text| Named::parse(text)).collect();
    let versions = start_each_once(&mut candidates, &mut absent).await;
    let book = RefCell::new(Vec::new());
    for round in 0..args.rounds {
        let plan = plan(&args, round);
        for candidate in candidates.clone() {
            say(&format!("lane {}, round {} of {}: {}", args.lane, round + 1, args.rounds, candidate.name));
            let recorder = Recorder::new(&book, candidate.name, round);
            if let Err(error) = one_turn(&candidate, &args.parts, &plan, &recorder).await {
                say(&format!("{} is out: {error}", candidate.name));
                absent.push(Named::new(candidate.name, &first_line(&format!("from round {} on: {error}", round + 1))));
                candidates.retain(|other| other.name != candidate.name);
                clean_up();
            }
        }
        // Each round begins with another contender.
        let next = 1.min(candidates.len());
        candidates.rotate_left(next);
    }
    let used = whole.used();
    let lane = Lane {
        lane: args.lane,
        contenders: versions,
        absent,
        wrapped: std::env::var("BOX_RUNTIME").is_ok_and(|runtime| runtime == "wrapped"),
        processors: meter::processors(),
        load_before,
        others: used.others,
        seconds: used.elapsed.as_secs_f64(),
        rounds: args.rounds,
        sizes: args.pods,
        series: book.into_inner(),
    };
    std::fs::write(&args.file, serde_json::to_string(&lane).expect("plain data")).expect("write what was measured");
}

fn candidates(args: &RunArgs) -> Vec<Candidate> {
    let all = [
        (RAW_DOCKER, Some(None)),
        ("dockside", Some(Some(args.dockside.clone()))),
        ("containerd", args.containerd.clone().map(Some)),
        ("cri-dockerd", args.cri_dockerd.clone().map(Some)),
    ];
    all.into_iter().filter_map(|(name, program)| program.map(|program| Candidate { name, program })).collect()
}

/// Starts each contender once, for its version, and drops those that fail. Dockside precedes the others, because it
/// provides the pause image that all use.
async fn start_each_once(candidates: &mut Vec<Candidate>, absent: &mut Vec<Named>) -> Vec<Named> {
    let mut versions = Vec::new();
    let mut present = Vec::new();
    for candidate in candidates.drain(..) {
        let version = match candidate.start_server().await {
            Ok(contender) => version_of(&candidate, &contender).await,
            Err(error) => Err(error),
        };
        match version {
            Ok(version) => {
                versions.push(Named::new(candidate.name, &version));
                present.push(candidate);
            }
            Err(error) => {
                say(&format!("{} does not start: {error}", candidate.name));
                absent.push(Named::new(candidate.name, &first_line(&error)));
            }
        }
    }
    *candidates = present;
    versions
}

/// The version as `--version` prints it: over the CRI, two of the servers report Docker's version.
async fn version_of(candidate: &Candidate, contender: &Contender) -> Result<String, String> {
    let program = match (&candidate.program, contender) {
        (Some(program), Contender::Cri(cri)) => {
            if candidate.name == "containerd" {
                server::import_images(program, &cri.server)?;
            }
            program
        }
        _ => return contender.version().await,
    };
    let output = Command::new(program).arg("--version").output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn plan(args: &RunArgs, round: usize) -> Plan {
    let mut sizes = args.pods.clone();
    sizes.sort_unstable();
    let poll_at = targets::bar_size(&sizes);
    if round > 0 && sizes.first().is_some_and(|least| *least <= OFTEN) {
        sizes.retain(|size| *size <= OFTEN);
    }
    Plan { sizes, poll_at, poll_for: Duration::from_secs(args.poll_seconds) }
}

async fn one_turn(candidate: &Candidate, parts: &[String], plan: &Plan, recorder: &Recorder<'_>) -> Result<(), String> {
    let contender: Contender = candidate.start_server().await?;
    let wants = |part: &str| parts.iter().any(|name| name == part);
    if wants("pods") {
        turn::run(&contender, plan, recorder).await?;
        if candidate.name != RAW_DOCKER {
            pairs::run(&contender, recorder).await?;
        }
        recorder.set_context("", 0);
    }
    if wants("logs") {
        logs::run(&contender, recorder).await?;
    }
    if wants("crowd") {
        logs::many_writers(&contender, recorder).await?;
    }
    Ok(())
}

/// Removes what a failed contender left in Docker.
fn clean_up() {
    let script = "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes";
    let _ = Command::new("bash").args(["-c", script]).stdout(std::process::Stdio::null()).status();
}

fn say(text: &str) {
    eprintln!("bench: {}", first_line(text));
}

/// Some error messages have many lines.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
