//! Log rotation by the kubelet.

use serde_json::json;

use crate::cluster::*;

const LINES: usize = 60_000;

/// All lines of the log files of a container, the oldest file first. `None` while the kubelet rotates: it compresses
/// into a file of another name.
fn lines(directory: &str) -> Option<Vec<String>> {
    let mut files: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path().display().to_string()).collect();
    // 0.log is the newest; the names of the others end with the time of their rotation.
    files.sort_by_key(|path| (path.ends_with("/0.log"), path.clone()));
    let mut all = Vec::new();
    for path in files {
        let output = try_run("zcat", &["-f", &path], "");
        if path.ends_with(".tmp") || !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).unwrap();
        all.extend(text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned));
    }
    Some(all)
}

#[test]
fn a_rotation_by_the_kubelet_loses_and_repeats_no_line() {
    let _node = shared();
    // About 4 MiB of CRI log in 12 s: the kubelet checks every 3 s, and keeps 5 files.
    let script = format!(
        "i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo line $i; [ $((i % 5000)) != 0 ] || sleep 1; done; {UNTIL_TERM}"
    );
    let pod = Pod::of("rotated", json!([shell("main", &script)]));
    let status = pod.ready();
    let uid = text(&status["metadata"]["uid"]);
    let directory = format!("/var/log/pods/default_rotated_{uid}/main");
    let lines = eventually("the last line is in the log", || {
        lines(&directory).filter(|lines| lines.last().is_some_and(|line| *line == format!("line {LINES}")))
    });
    let rotated = std::fs::read_dir(&directory).unwrap().count();
    assert!(rotated > 1, "the kubelet rotated the file");
    let expected: Vec<String> = (1..=LINES).map(|number| format!("line {number}")).collect();
    let wrong = lines.iter().zip(&expected).find(|(line, expected)| line != expected);
    assert_eq!((lines.len(), wrong), (LINES, None), "in {rotated} files");
    pod.delete();
}
