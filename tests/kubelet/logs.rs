//! Logs as the kubelet rotates them.

use serde_json::json;

use crate::cluster::*;

const LINES: usize = 60_000;

/// All lines of the log files of a container, the oldest file first, as they were written.
fn lines(directory: &str) -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|path| path.contains("/0.log"))
        .collect();
    // 0.log is the newest; the others end in the time of their rotation.
    files.sort_by_key(|path| (path.ends_with("/0.log"), path.clone()));
    let all: String = files.iter().map(|path| run("zcat", &["-f", path], "") + "\n").collect();
    all.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect()
}

#[test]
fn a_log_is_rotated_and_no_line_is_lost_or_doubled() {
    let _node = shared();
    // About 4 MiB of CRI log in some 12 s: the kubelet looks every 3 s, and keeps 5 files.
    let script = format!(
        "i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo line $i; [ $((i % 5000)) != 0 ] || sleep 1; done; {UNTIL_TERM}"
    );
    let pod = Pod::of("rotated", json!([shell("main", &script)]));
    let status = pod.ready();
    let uid = text(&status["metadata"]["uid"]);
    let directory = format!("/var/log/pods/default_rotated_{uid}/main");
    eventually("the last line is in the log", || {
        lines(&directory).last().is_some_and(|line| *line == format!("line {LINES}")).then_some(())
    });
    let rotated = std::fs::read_dir(&directory).unwrap().count();
    assert!(rotated > 1, "the kubelet rotated the file");
    let lines = lines(&directory);
    let expected: Vec<String> = (1..=LINES).map(|number| format!("line {number}")).collect();
    let wrong = lines.iter().zip(&expected).find(|(line, expected)| line != expected);
    assert_eq!((lines.len(), wrong), (LINES, None), "in {rotated} files");
    pod.delete();
}
