//! Container logs, checked line by line: every line once and in order, through rotations, restarts and kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lines;
mod paths;
mod restarts;
mod rotation;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use dockside::proto::*;
use harness::*;

/// These tests keep both processors busy and restart Docker, so they run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// 92 bytes, so that a line with its number and newline has 100.
const PAD: &str =
    "the quick brown fox jumps over the lazy dog <&> and \\\"quotes\\\" \\\\ need escapes, as does a\\ttab.";

/// A script that writes numbered lines at full speed.
fn numbered(lines: u32) -> String {
    format!("awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) printf \"%07d %s\\n\", i, \"{PAD}\" }}'")
}

/// A script that writes `thousands` times a thousand numbered lines, and sleeps after each thousand.
fn paced(thousands: u32, rest: Duration) -> String {
    format!(
        "i=0; while [ $i -lt {thousands} ]; do \
         awk -v a=$i 'BEGIN {{ for (j = 1; j <= 1000; j++) printf \"%07d %s\\n\", a * 1000 + j, \"{PAD}\" }}'; \
         i=$((i + 1)); usleep {}; done",
        rest.as_micros()
    )
}

/// One line of a CRI log.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    stream: &'a str,
    tag: &'a str,
    text: &'a str,
}

fn parse(line: &str) -> Line<'_> {
    let mut fields = line.splitn(4, ' ');
    let mut next = || fields.next().unwrap_or_else(|| panic!("not a CRI line: {line:?}"));
    let (time, stream, tag, text) = (next(), next(), next(), next());
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line:?}");
    Line { stream, tag, text }
}

/// The concatenated files; panics if one does not end with a newline.
fn read(paths: &[impl AsRef<Path>]) -> String {
    let text: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    text
}

/// The numbers of the lines; panics if a line has anything else.
fn numbers(text: &str) -> Vec<u32> {
    let pad = PAD.replace("\\\"", "\"").replace("\\t", "\t").replace("\\\\", "\\");
    let number = |line| {
        let line = parse(line);
        assert_eq!((line.stream, line.tag), ("stdout", "F"));
        let (number, rest) = line.text.split_once(' ').unwrap();
        assert_eq!(rest, pad);
        number.parse().unwrap()
    };
    text.lines().map(number).collect()
}

/// Checks that the files have every line from 1 to `last`, once and in order.
fn assert_all(paths: &[impl AsRef<Path>], last: u32) {
    let numbers = numbers(&read(paths));
    let wrong = numbers.iter().enumerate().find(|(index, number)| **number as usize != index + 1);
    assert_eq!(wrong.map(|(index, number)| (index + 1, *number)), None, "the first wrong line: (place, number)");
    assert_eq!(numbers.len(), last as usize);
}

fn log_file(pod: &PodSandboxConfig, container: &ContainerConfig) -> PathBuf {
    Path::new(&pod.log_directory).join(&container.log_path)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

async fn grows_to(path: &Path, bytes: u64) {
    eventually("the log grows", async || (size(path) >= bytes).then_some(())).await;
}

async fn reopen(runtime: &mut Runtime, id: &str) -> Result<(), tonic::Status> {
    runtime.reopen_container_log(ReopenContainerLogRequest { container_id: id.to_owned() }).await.map(|_| ())
}

/// Rotates as the kubelet does: renames the file, then calls ReopenContainerLog.
async fn rotate(runtime: &mut Runtime, id: &str, file: &Path, number: u32) -> PathBuf {
    let old = PathBuf::from(format!("{}.{number}", file.display()));
    fs::rename(file, &old).unwrap();
    reopen(runtime, id).await.unwrap();
    assert!(file.exists(), "the new file is there when the call returns");
    old
}

/// Waits longer than [`ended`] for a container to exit.
async fn ends(runtime: &mut Runtime, id: &str) -> ContainerStatus {
    for _ in 0..2 {
        let wait = tokio::time::timeout(DEADLINE - Duration::from_secs(1), ended(runtime, id)).await;
        if let Ok(status) = wait {
            return status;
        }
    }
    panic!("container {id} does not end")
}

async fn logs_info(runtime: &mut Runtime) -> serde_json::Value {
    let status = runtime.status(StatusRequest { verbose: true }).await.unwrap().into_inner();
    serde_json::from_str(&status.info["logs"]).unwrap()
}
