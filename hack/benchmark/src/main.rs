//! How fast Dockside is, beside other servers of the CRI and beside raw calls to Docker, in the same run. `hack/bench`
//! runs it in a box.
//!
//! `run` measures in one lane, `report` makes the table, the JSON and the page of several lanes, `streams` looks at the
//! speed of exec and port-forward. A contender has the box to itself for a turn: its server starts, makes its pods, is
//! read, removes them and ends; then the next one. Rounds of such turns follow each other, so that a busy moment of the
//! machine hits no one alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cni;
mod contender;
mod cri;
mod floor;
mod lane;
mod logs;
mod meter;
mod page;
mod pairs;
mod pod;
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

use contender::Contender;
use contender::Entrant;
use contender::FLOOR;
use lane::Lane;
use lane::Named;
use meter::Mark;
use samples::Notes;
use turn::Plan;

/// Sizes above this take minutes for each contender: only the first round goes there.
const OFTEN: usize = 60;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Measures, in a box, and writes what was measured to a file.
    Run(RunArgs),
    /// The speed of Dockside's streams.
    Streams {
        #[arg(long)]
        dockside: PathBuf,
    },
    /// Shows what was measured.
    Report {
        /// Where bench.json and index.html go.
        #[arg(long)]
        out: PathBuf,
        /// What `run` has written.
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
    /// Who is left out, and why: NAME=REASON.
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
    let whole = Mark::now();
    let mut entrants = entrants(&args);
    let mut absent: Vec<Named> = args.without.iter().map(|text| Named::parse(text)).collect();
    let versions = first_look(&mut entrants, &mut absent).await;
    let book = RefCell::new(Vec::new());
    for round in 0..args.rounds {
        let plan = plan(&args, round);
        for entrant in entrants.clone() {
            say(&format!("lane {}, round {} of {}: {}", args.lane, round + 1, args.rounds, entrant.name));
            let notes = Notes::new(&book, entrant.name, round);
            if let Err(error) = one_turn(&entrant, &args.parts, &plan, &notes).await {
                say(&format!("{} is out: {error}", entrant.name));
                absent.push(Named::new(entrant.name, &first_words(&format!("from round {} on: {error}", round + 1))));
                entrants.retain(|other| other.name != entrant.name);
                clean_up();
            }
        }
        // Nobody is always first.
        let next = 1.min(entrants.len());
        entrants.rotate_left(next);
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

fn entrants(args: &RunArgs) -> Vec<Entrant> {
    let all = [
        (FLOOR, Some(None)),
        ("dockside", Some(Some(args.dockside.clone()))),
        ("containerd", args.containerd.clone().map(Some)),
        ("cri-dockerd", args.cri_dockerd.clone().map(Some)),
    ];
    all.into_iter().filter_map(|(name, program)| program.map(|program| Entrant { name, program })).collect()
}

/// Starts each of them once: who they say they are, and who does not come up. Dockside is among the first, as it brings
/// the pause image that all use.
async fn first_look(entrants: &mut Vec<Entrant>, absent: &mut Vec<Named>) -> Vec<Named> {
    let mut versions = Vec::new();
    let mut present = Vec::new();
    for entrant in entrants.drain(..) {
        let version = match entrant.enter().await {
            Ok(contender) => introduce(&entrant, &contender).await,
            Err(error) => Err(error),
        };
        match version {
            Ok(version) => {
                versions.push(Named::new(entrant.name, &version));
                present.push(entrant);
            }
            Err(error) => {
                say(&format!("{} does not start: {error}", entrant.name));
                absent.push(Named::new(entrant.name, &first_words(&error)));
            }
        }
    }
    *entrants = present;
    versions
}

/// Its version, as the program itself says it: over the CRI, two of them speak of Docker's.
async fn introduce(entrant: &Entrant, contender: &Contender) -> Result<String, String> {
    let program = match (&entrant.program, contender) {
        (Some(program), Contender::Cri(cri)) => {
            if entrant.name == "containerd" {
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

async fn one_turn(entrant: &Entrant, parts: &[String], plan: &Plan, notes: &Notes<'_>) -> Result<(), String> {
    let contender: Contender = entrant.enter().await?;
    let wants = |part: &str| parts.iter().any(|name| name == part);
    if wants("pods") {
        turn::run(&contender, plan, notes).await?;
        if entrant.name != FLOOR {
            pairs::run(&contender, notes).await?;
        }
        notes.turn_to("", 0);
    }
    if wants("logs") {
        logs::run(&contender, notes).await?;
    }
    if wants("crowd") {
        logs::crowd(&contender, notes).await?;
    }
    Ok(())
}

/// Takes away what a contender has left in Docker, which would be in the others' way.
fn clean_up() {
    let script = "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes";
    let _ = Command::new("bash").args(["-c", script]).stdout(std::process::Stdio::null()).status();
}

fn say(text: &str) {
    eprintln!("bench: {}", first_words(text));
}

/// Some servers answer in many lines.
fn first_words(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
