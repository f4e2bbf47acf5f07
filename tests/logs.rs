//! Container logs, checked line by line: every line once and in order, whatever happens meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dockside::proto::*;
use harness::*;
use tonic::Code;

/// These tests keep both processors busy and restart Docker, so they run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// 92 bytes, so that a line with its number and newline has 100.
const PAD: &str =
    "the quick brown fox jumps over the lazy dog <&> and \\\"quotes\\\" \\\\ need escapes, as does a\\ttab.";

/// A writer of numbered lines at full speed.
fn numbered(lines: u32) -> String {
    format!("awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) printf \"%07d %s\\n\", i, \"{PAD}\" }}'")
}

/// A writer of so many thousand numbered lines that rests after each thousand.
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

/// The whole lines of files, in their order.
fn read(paths: &[PathBuf]) -> String {
    let text: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    text
}

/// The numbers of the lines, and that nothing else is in them.
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

/// Every line from 1 to `last`, once and in order.
fn assert_all(paths: &[PathBuf], last: u32) {
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

/// As the kubelet rotates: renames the file, then tells the runtime.
async fn rotate(runtime: &mut Runtime, id: &str, file: &Path, number: u32) -> PathBuf {
    let old = PathBuf::from(format!("{}.{number}", file.display()));
    fs::rename(file, &old).unwrap();
    reopen(runtime, id).await.unwrap();
    assert!(file.exists(), "the new file is there when the call returns");
    old
}

/// Waits for an end that may come late.
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

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_when_every_line_is_in_the_file() {
    const LINES: u32 = 500_000;
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let (pod, config) = (pod("plain"), container("writer", &numbered(LINES)));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = create(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    assert!(!file.exists());
    let before = node.docker_requests().await;
    start(&mut runtime, &id).await;
    let metadata = fs::metadata(&file).expect("the file is there when StartContainer returns");
    assert_eq!(metadata.mode() & 0o777, 0o640);
    let after = node.docker_requests().await;
    let more: u64 = after.values().sum::<u64>() - before.values().sum::<u64>();
    assert_eq!(more, 1, "StartContainer costs one request: {before:?} {after:?}");
    ends(&mut runtime, &id).await;
    assert_all(&[file.clone()], LINES);
    assert_eq!(container_status(&mut runtime, &id).await.log_path, file.display().to_string());
    // Docker's own copy is bounded and there.
    assert!(docker(&["logs", "--tail", "1", &id]).starts_with(&format!("{LINES:07} ")));
    remove_pod(&mut runtime, &sandbox).await;
    assert!(file.exists(), "the file is the client's to remove");
    assert_eq!(fs::read_dir(node.dir.join("state/logs")).unwrap().count(), 0);
    assert_eq!(logs_info(&mut runtime).await["followed"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_short_containers_have_their_output_in_the_file_when_they_have_ended() {
    const AT_ONCE: usize = 5;
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("short");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let tasks = (0..AT_ONCE).map(|task| {
        let (mut runtime, sandbox, pod) = (runtime.clone(), sandbox.clone(), pod.clone());
        async move {
            for number in 0..100 / AT_ONCE {
                let config = container(&format!("c{task}-{number}"), "echo first; echo last words >&2; exit 3");
                let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
                let status = ended(&mut runtime, &id).await;
                // Read at once: a kubelet takes the termination message from here.
                let text = read(&[log_file(&pod, &config)]);
                let mut lines: Vec<_> = text.lines().map(parse).collect();
                lines.sort_by_key(|line| line.stream);
                let line = |stream, text| Line { stream, tag: "F", text };
                assert_eq!(lines, [line("stderr", "last words"), line("stdout", "first")], "{number}");
                assert_eq!(status.exit_code, 3);
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_line_is_written_as_a_kubelet_reads_it() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("kinds");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let long = "x".repeat(16384);
    let cases = [
        ("no-newline", "printf 'one\\ntwo'", false, vec![("F", "one".to_owned()), ("P", "two".to_owned())]),
        ("empty-lines", "printf '\\n\\n'", false, vec![("F", String::new()), ("F", String::new())]),
        ("binary", "printf 'a\\377\\001\\033[0mb\\n'", false, vec![("F", "a\u{fffd}\u{1}\u{1b}[0mb".to_owned())]),
        ("terminal", "echo out; echo err >&2", true, vec![("F", "out\r".to_owned()), ("F", "err\r".to_owned())]),
        (
            "long",
            "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short",
            false,
            vec![("P", long.clone()), ("P", long.clone()), ("F", "x".repeat(40000 - 2 * 16384)), ("F", "short".into())],
        ),
        ("silent", "true", false, vec![]),
    ];
    for (name, script, tty, expected) in cases {
        let config = ContainerConfig { tty, ..container(name, script) };
        let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
        ended(&mut runtime, &id).await;
        let text = read(&[log_file(&pod, &config)]);
        let lines: Vec<_> = text.split_terminator('\n').map(parse).collect();
        assert!(lines.iter().all(|line| line.stream == "stdout"));
        let lines: Vec<_> = lines.iter().map(|line| (line.tag, line.text.to_owned())).collect();
        assert_eq!(lines, expected, "{name}");
    }
    // One that wants no file gets none, and docker logs all the same.
    let config = ContainerConfig { log_path: String::new(), ..container("unlogged", "echo hello; sleep 100") };
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    eventually("docker logs has it", async || (docker(&["logs", &id]) == "hello").then_some(())).await;
    assert_eq!(container_status(&mut runtime, &id).await.log_path, "");
    reopen(&mut runtime, &id).await.unwrap();
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_path_that_leads_elsewhere_is_refused_by_its_name() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("paths");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let directory = Path::new(&pod.log_directory);
    let outside = node.dir.join("outside");
    fs::create_dir_all(directory.join("directory/0.log")).unwrap();
    fs::create_dir_all(directory.join("linked")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(outside.join("victim"), directory.join("linked/0.log")).unwrap();
    std::os::unix::fs::symlink(&outside, directory.join("through")).unwrap();
    fs::create_dir_all(directory.join("pipe")).unwrap();
    run("mkfifo", &[directory.join("pipe/0.log").to_str().unwrap()]);
    for name in ["directory", "linked", "through", "pipe"] {
        let id = create(&mut runtime, &sandbox, &pod, &container(name, "echo hello")).await;
        let refused = runtime.start_container(StartContainerRequest { container_id: id }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused}");
        assert!(refused.message().contains(&format!("container {name}: log_path: ")), "{refused}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was written outside");
    // Directories that are missing are made, as other runtimes do.
    let config = ContainerConfig { log_path: "new/and/deep.log".into(), ..container("deep", "echo hello") };
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    assert_eq!(parse(read(&[log_file(&pod, &config)]).trim_end()).text, "hello");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_does_not_run_has_no_log_to_reopen() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("reopen");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let created = container("created", "true");
    let id = create(&mut runtime, &sandbox, &pod, &created).await;
    assert_eq!(reopen(&mut runtime, &id).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!log_file(&pod, &created).exists());
    let config = container("ended", "echo hello");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    let file = log_file(&pod, &config);
    fs::remove_file(&file).unwrap();
    assert_eq!(reopen(&mut runtime, &id).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!file.exists(), "an error leaves no new file");
    assert_eq!(reopen(&mut runtime, "no-such-container").await.unwrap_err().code(), Code::NotFound);
    // In the place of a running container's file, something that is no log.
    let config = container("running", "while true; do echo hello; sleep 0.05; done");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let (file, aside) = (log_file(&pod, &config), log_file(&pod, &config).with_extension("aside"));
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(reopen(&mut runtime, &id).await.unwrap_err().code(), Code::InvalidArgument);
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    let before = size(&file);
    grows_to(&file, before + 1).await;
    reopen(&mut runtime, &id).await.unwrap();
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_logs_are_rotated_while_they_are_written() {
    const CONTAINERS: u32 = 20;
    const THOUSANDS: u32 = 20;
    const ROTATIONS: u32 = 5;
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("rotated");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let mut running = Vec::new();
    for number in 0..CONTAINERS {
        let script = format!("{}; sleep 1000", paced(THOUSANDS, Duration::from_millis(100)));
        let config = container(&format!("c{number}"), &script);
        let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
        running.push((id, log_file(&pod, &config), Vec::new()));
    }
    for rotation in 1..=ROTATIONS {
        for (id, file, old) in &mut running {
            old.push(rotate(&mut runtime, id, file, rotation).await);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (id, file, old) in &running {
        let mut paths = old.clone();
        paths.push(file.clone());
        eventually("all lines are there", async || {
            let last = |path: &PathBuf| tail(&fs::read_to_string(path).unwrap(), 1);
            let mut newest = paths.iter().rev().map(last).find(|line| !line.is_empty())?;
            newest = parse(&newest).text.split(' ').next()?.to_owned();
            (newest == format!("{:07}", THOUSANDS * 1000)).then_some(())
        })
        .await;
        assert_all(&paths, THOUSANDS * 1000);
        // Once more, while the container is being stopped.
        let mut stopping = runtime.clone();
        let stopped = id.clone();
        let stop = tokio::spawn(async move { stop_container(&mut stopping, &stopped, 1).await });
        fs::rename(file, file.with_extension("last")).unwrap();
        match reopen(&mut runtime, id).await {
            Ok(()) => assert!(file.exists()),
            Err(error) => {
                assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
                assert!(!file.exists());
            }
        }
        stop.abort();
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_by_docker_loses_no_line() {
    const LINES: u32 = 400_000;
    let _alone = ALONE.lock().await;
    let node = Node::start(&["--container-log-max-size", "4m"]).await;
    let mut runtime = node.runtime().await;
    let (pod, config) = (pod("docker-rotates"), container("writer", &numbered(LINES)));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ends(&mut runtime, &id).await;
    assert_all(&[log_file(&pod, &config)], LINES);
    let docker_file = format!("/var/lib/docker/containers/{id}/{id}-json.log");
    assert!(Path::new(&format!("{docker_file}.2")).exists(), "Docker rotated");
    assert!(!Path::new(&format!("{docker_file}.3")).exists(), "Docker keeps three files");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_while_a_container_writes_at_full_speed_neither_loses_nor_doubles_a_line() {
    const LINES: u32 = 1_000_000;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&["--container-log-max-size", "1g"]).await;
    let mut runtime = node.runtime().await;
    let (pod, config) = (pod("killed"), container("writer", &format!("{}; sleep 1000", numbered(LINES))));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    let whole = u64::from(LINES) * 132;
    let mut kills = 0;
    for down in [10, 200, 700, 3_000, 50, 50, 50] {
        grows_to(&file, (size(&file) + 300_000).min(whole)).await;
        node.kill();
        kills += u32::from(size(&file) < whole);
        tokio::time::sleep(Duration::from_millis(down)).await;
        node.spawn();
        eventually("dockside serves again", async || node.try_runtime().await.map(|_| ())).await;
    }
    assert!(kills >= 3, "only {kills} kills hit a log that was being written");
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    eventually("the last line is there", async || {
        (size(&file) >= whole && tail(&fs::read_to_string(&file).unwrap(), 1).contains(&format!(" F {LINES:07} ")))
            .then_some(())
    })
    .await;
    stop_container(&mut runtime, &id, 0).await;
    assert_all(&[file], LINES);
    assert!(!node.log().contains("has a gap"));
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_while_both_docker_and_the_kubelet_rotate_neither_loses_nor_doubles_a_line() {
    const THOUSANDS: u32 = 250;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&["--container-log-max-size", "2m", "--container-log-max-files", "8"]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; sleep 1000", paced(THOUSANDS, Duration::from_millis(10)));
    let (pod, config) = (pod("all-at-once"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    let mut paths = Vec::new();
    for round in 1..=4 {
        grows_to(&file, 500_000).await;
        // The kubelet renames, and neither it nor Dockside lives to see the other's answer.
        let old = PathBuf::from(format!("{}.{round}", file.display()));
        if round % 2 == 0 {
            fs::rename(&file, &old).unwrap();
            node.kill();
        } else {
            node.kill();
            fs::rename(&file, &old).unwrap();
        }
        paths.push(old);
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.spawn();
        eventually("the new file appears", async || file.exists().then_some(())).await;
    }
    paths.push(file.clone());
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    eventually("the last line is there", async || {
        let last = tail(&fs::read_to_string(&file).unwrap(), 1);
        last.contains(&format!(" F {:07} ", THOUSANDS * 1000)).then_some(())
    })
    .await;
    assert_all(&paths, THOUSANDS * 1000);
    assert!(!node.log().contains("has a gap"), "{}", node.log());
    assert!(Path::new(&format!("/var/lib/docker/containers/{id}/{id}-json.log.1")).exists(), "Docker rotated");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_docker_dropped_while_dockside_was_down_are_named_as_a_gap() {
    const THOUSANDS: u32 = 40;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&["--container-log-max-size", "1m", "--container-log-max-files", "2"]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; touch /tmp/done; sleep 1000", paced(THOUSANDS, Duration::from_millis(10)));
    let (pod, config) = (pod("gap"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    grows_to(&file, 100_000).await;
    node.kill();
    let written = numbers(&read(&[file.clone()]).rsplit_once('\n').map(|(whole, _)| whole.to_owned()).unwrap()).len();
    eventually("the container has written all", async || {
        let probe = Command::new("docker").args(["exec", &id, "test", "-e", "/tmp/done"]).status().unwrap();
        probe.success().then_some(())
    })
    .await;
    node.spawn();
    node.wait_ready().await;
    let last = format!(" F {:07} ", THOUSANDS * 1000);
    eventually("the rest is there", async || {
        tail(&fs::read_to_string(&file).unwrap(), 1).contains(&last).then_some(())
    })
    .await;
    let numbers = numbers(&read(&[file.clone()]));
    let jumps: Vec<usize> = (1..numbers.len()).filter(|at| numbers[*at] != numbers[at - 1] + 1).collect();
    assert_eq!(jumps.len(), 1, "one gap and nothing out of order: {jumps:?}");
    assert!(jumps[0] >= written, "what was written stays");
    let text = read(&[file]);
    let time = |at: usize| text.lines().nth(at).unwrap().split(' ').next().unwrap().to_owned();
    let (from, until) = (time(jumps[0] - 1), time(jumps[0]));
    let log = node.log();
    let warning = log.lines().find(|line| line.contains("has a gap")).expect("the gap is named");
    for part in [&id, &from, &until] {
        assert!(warning.contains(part.as_str()), "{part} is not in: {warning}");
    }
    let mut runtime = node.runtime().await;
    remove_pod(&mut runtime, &sandbox).await;
}

/// Restarts the box's Docker with other flags.
fn restart_docker(flags: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/hack/box-dockerd");
    let status = Command::new(script).arg("restart").env("BOX_DOCKERD_FLAGS", flags).status().unwrap();
    assert!(status.success(), "hack/box-dockerd restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_that_restarts_under_its_containers_costs_no_line_that_it_kept() {
    let _alone = ALONE.lock().await;
    restart_docker("--live-restore");
    let node = Node::start(&["--container-log-max-size", "2m", "--container-log-max-files", "20"]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; sleep 1000", paced(150, Duration::from_millis(10)));
    let (pod, config) = (pod("live-restore"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    grows_to(&file, 1_000_000).await;
    restart_docker("--live-restore");
    node.wait_ready().await;
    assert_eq!(container_status(&mut runtime, &id).await.state(), ContainerState::ContainerRunning);
    eventually("the last line is there", async || {
        tail(&fs::read_to_string(&file).unwrap(), 1).contains(" F 0150000 ").then_some(())
    })
    .await;
    // Docker itself may lose lines in its own restart; what it has, we have.
    let text = read(&[file]);
    let ours: Vec<&str> = text.lines().map(|line| parse(line).text).collect();
    let dockers = docker(&["logs", &id]);
    assert!(
        ours == dockers.lines().collect::<Vec<_>>(),
        "{} lines, Docker has {}",
        ours.len(),
        dockers.lines().count()
    );
    remove_pod(&mut runtime, &sandbox).await;
    drop(node);
    restart_docker("");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_log_but_not_the_container_and_no_line_is_lost_or_doubled() {
    const THOUSANDS: u32 = 60;
    let _alone = ALONE.lock().await;
    let mut node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let script = format!("{}; touch /tmp/done; sleep 1000", paced(THOUSANDS, Duration::from_millis(5)));
    let (pod, config) = (pod("full"), container("writer", &script));
    let sandbox = run_pod(&mut runtime, &pod).await;
    fs::create_dir_all(&pod.log_directory).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &pod.log_directory]);
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let file = log_file(&pod, &config);
    let trouble = eventually("Status tells of the full disk", async || {
        let troubles = logs_info(&mut runtime).await["troubles"].clone();
        troubles.get(0).cloned()
    })
    .await;
    assert_eq!(trouble["container"], id.as_str());
    assert!(trouble["reason"].as_str().unwrap().contains("No space left on device"), "{trouble}");
    let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner().status.unwrap();
    let ready = status.conditions.iter().find(|c| c.r#type == "RuntimeReady").unwrap();
    assert!(ready.status && ready.message.contains("No space left"), "{ready:?}");
    assert!(fs::read(&file).unwrap().ends_with(b"\n"), "no torn line is left");
    // The container runs on to its last line, and a restart of ours changes nothing.
    eventually("the container has written all", async || {
        let probe = Command::new("docker").args(["exec", &id, "test", "-e", "/tmp/done"]).status().unwrap();
        probe.success().then_some(())
    })
    .await;
    node.kill();
    node.spawn();
    node.wait_ready().await;
    let mut runtime = node.runtime().await;
    run("mount", &["-o", "remount,size=64m", &pod.log_directory]);
    eventually("the log goes on", async || {
        let last = tail(&fs::read_to_string(&file).unwrap(), 1);
        last.contains(&format!(" F {:07} ", THOUSANDS * 1000)).then_some(())
    })
    .await;
    assert_all(&[file.clone()], THOUSANDS * 1000);
    assert_eq!(logs_info(&mut runtime).await["troubles"], serde_json::json!([]));
    remove_pod(&mut runtime, &sandbox).await;
    run("umount", &["-l", &pod.log_directory]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_with_docker_keeps_the_log_whole() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("by-hand");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let config = container("again", "echo hello");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    docker(&["start", &id]);
    eventually("the second run is logged too", async || {
        (read(&[log_file(&pod, &config)]).lines().count() == 2).then_some(())
    })
    .await;
    // Removed behind our back, with a line that was just written.
    let config = container("removed", "echo first; trap 'echo last; exit' TERM; while true; do sleep 0.1; done");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    grows_to(&log_file(&pod, &config), 1).await;
    docker(&["stop", &id]);
    docker(&["rm", "-f", &id]);
    ended(&mut runtime, &id).await;
    let text = read(&[log_file(&pod, &config)]);
    assert_eq!(text.lines().map(|line| parse(line).text).collect::<Vec<_>>(), ["first", "last"]);
    remove_pod(&mut runtime, &sandbox).await;
    eventually("nothing is followed any more", async || (logs_info(&mut runtime).await["followed"] == 0).then_some(()))
        .await;
}
