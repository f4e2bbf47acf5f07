//! [`Logs`] and [`Follower`] as a whole, with a fake Docker that writes and rotates as the real one does.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::logs::follower::NextStep;

/// Writes numbered entries.
struct Docker {
    path: PathBuf,
    max_files: usize,
    file: Option<File>,
    written: u64,
}

impl Docker {
    fn write(&mut self, count: u64) {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).create(true).open(&self.path).unwrap());
        }
        let mut text = String::new();
        for number in self.written + 1..=self.written + count {
            let (seconds, nanos) = (number / 1000 % 60, number % 1000);
            text += &format!(
                "{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:{seconds:02}.{nanos:09}Z\"}}\n"
            );
        }
        self.written += count;
        self.file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.file.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn rotate(&mut self) {
        let at = |index: usize| PathBuf::from(format!("{}.{index}", self.path.display()));
        let _ = fs::remove_file(at(self.max_files - 1));
        for index in (1..self.max_files - 1).rev() {
            let _ = fs::rename(at(index), at(index + 1));
        }
        fs::rename(&self.path, at(1)).unwrap();
        self.file = Some(File::create(&self.path).unwrap());
    }
}

struct Fixture {
    dir: TempDir,
    docker: Docker,
    paths: LogPaths,
}

const ID: &str = "c1";

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = docker_file(&dir.path().join("docker").join(ID), ID);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let docker = Docker { path: path.clone(), max_files: 4, file: None, written: 0 };
        let paths =
            LogPaths { docker_file: path, log_directory: dir.path().join("pod"), log_path: "main/0.log".into() };
        Fixture { dir, docker, paths }
    }

    fn logs(&self) -> Logs {
        Logs::open(self.dir.path().join("state")).unwrap()
    }

    fn checkpoints(&self) -> Arc<Checkpoints> {
        Arc::new(Checkpoints::open(self.dir.path().join("state")).unwrap())
    }

    fn cri(&self) -> PathBuf {
        self.paths.cri_file()
    }
}

/// The numbers in a file; panics if it has anything else.
fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.rsplit_once(" stdout F ").unwrap().1.parse().unwrap()).collect()
}

#[tokio::test]
async fn everything_docker_writes_is_in_the_file_when_the_log_is_finished() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    assert_eq!(fs::metadata(fixture.cri()).unwrap().mode() & 0o777, 0o640);
    for _ in 0..20 {
        fixture.docker.write(1000);
        fixture.docker.rotate();
        // Docker keeps three rotated files: further ahead of its reader it would drop lines.
        let lines = || fs::read(fixture.cri()).unwrap().iter().filter(|byte| **byte == b'\n').count() as u64;
        while lines() + 2000 < fixture.docker.written {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    fixture.docker.write(10);
    logs.finish(ID).await;
    assert_eq!(numbers(&fixture.cri()), (1..=20_010).collect::<Vec<_>>());
    // A second finish does nothing, and a removal leaves no checkpoint.
    logs.finish(ID).await;
    logs.forget(ID).await.unwrap();
    assert_eq!(logs.counts().followed, 0);
    assert_eq!(fs::read_dir(fixture.dir.path().join("state")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_line_is_written_soon_after_docker_writes_its_entry() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    for round in 1..=5 {
        fixture.docker.write(1);
        let begun = std::time::Instant::now();
        while numbers(&fixture.cri()).len() < round {
            assert!(begun.elapsed() < Duration::from_secs(5), "line {round} was not written");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_second_start_of_a_container_appends_to_its_log() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    for last in [5, 10] {
        logs.begin(ID, fixture.paths.clone()).await.unwrap();
        fixture.docker.write(5);
        logs.finish(ID).await;
        assert_eq!(numbers(&fixture.cri()).len(), last);
    }
}

#[tokio::test]
async fn a_reopen_loses_and_repeats_no_line() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    let mut all = Vec::new();
    for round in 0..5 {
        fixture.docker.write(5000);
        let old = fixture.cri().with_extension(round.to_string());
        fs::rename(fixture.cri(), &old).unwrap();
        logs.reopen(ID).await.unwrap();
        assert!(fixture.cri().exists());
        all.extend(numbers(&old));
    }
    logs.finish(ID).await;
    all.extend(numbers(&fixture.cri()));
    assert_eq!(all, (1..=25_000).collect::<Vec<_>>());
    assert!(matches!(logs.reopen(ID).await, Err(Error::NotFollowed { .. })));
}

#[tokio::test]
async fn a_reopen_without_a_checkpoint_leaves_no_new_file_and_continues_the_old_one() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    let (state, aside) = (fixture.dir.path().join("state"), fixture.dir.path().join("aside"));
    fs::rename(&state, &aside).unwrap();
    let old = fixture.cri().with_extension("old");
    fs::rename(fixture.cri(), &old).unwrap();
    assert!(logs.reopen(ID).await.is_err());
    assert!(!fixture.cri().exists());
    fs::rename(&old, fixture.cri()).unwrap();
    fs::rename(&aside, &state).unwrap();
    fixture.docker.write(10);
    logs.finish(ID).await;
    assert_eq!(numbers(&fixture.cri()).len(), 10);
}

#[tokio::test]
async fn a_path_outside_the_directory_is_refused_with_the_name_of_its_field() {
    let fixture = Fixture::new();
    let logs = fixture.logs();
    let outside = fixture.dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(fixture.paths.log_directory.join("dir.log")).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.paths.log_directory.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.join("x"), fixture.paths.log_directory.join("link.log")).unwrap();
    for path in ["dir.log", "link/0.log", "link.log", "../0.log", "/0.log", ""] {
        let paths = LogPaths { log_path: path.into(), ..fixture.paths.clone() };
        let refused = logs.begin(ID, paths).await.unwrap_err();
        assert!(matches!(refused, Error::InvalidPath { field: "log_path", .. }), "{path}: {refused}");
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    fs::write(fixture.dir.path().join("file"), "").unwrap();
    let paths = LogPaths { log_directory: fixture.dir.path().join("file"), ..fixture.paths.clone() };
    let refused = logs.begin(ID, paths).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidPath { field: "log_directory", .. }), "{refused}");
}

#[tokio::test]
async fn finish_waits_for_the_whole_log_while_it_makes_progress() {
    // Longer than any pause on a busy machine.
    const LIMIT: Duration = Duration::from_secs(5);
    let mut fixture = Fixture::new();
    let mut logs = fixture.logs();
    logs.finish_limit = LIMIT;
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    let log = Arc::clone(&logs.followed.lock()[ID]);
    // Leaves little time for steps.
    let busy = tokio::task::spawn_blocking(move || {
        for _ in 0..7 {
            let held = log.follower.lock();
            std::thread::sleep(LIMIT / 5);
            // Hands the lock to the waiting worker.
            parking_lot::MutexGuard::unlock_fair(held);
        }
    });
    fixture.docker.write(300_000);
    logs.finish(ID).await;
    assert_eq!(numbers(&fixture.cri()).len(), 300_000);
    busy.await.unwrap();
}

#[tokio::test]
async fn finish_gives_up_on_a_log_that_was_stalled_before_the_exit() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    fixture.docker.write(10);
    logs.close().await;
    drop(logs);
    let aside = fixture.cri().with_extension("aside");
    fs::rename(fixture.cri(), &aside).unwrap();
    fs::create_dir(fixture.cri()).unwrap();
    let mut logs = fixture.logs();
    logs.finish_limit = Duration::from_millis(500);
    logs.resume([ID]);
    until(|| logs.stalled().len() == 1).await;
    assert!(logs.stalled()[0].reason.contains("log_path"), "{:?}", logs.stalled());
    let began = Instant::now();
    logs.finish(ID).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "finish did not wait");
    // The same for another log that has been stalled as long.
    logs.followed.lock()[ID].gave_up.store(false, Ordering::Relaxed);
    let began = Instant::now();
    logs.finish(ID).await;
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    // The log is finished once its path is repaired.
    fs::remove_dir(fixture.cri()).unwrap();
    fs::rename(&aside, fixture.cri()).unwrap();
    until(|| logs.find(ID).is_none()).await;
    assert_eq!(numbers(&fixture.cri()).len(), 10);
}

#[tokio::test]
async fn a_log_whose_path_was_replaced_during_downtime_continues_once_repaired() {
    let mut fixture = Fixture::new();
    let logs = fixture.logs();
    logs.begin(ID, fixture.paths.clone()).await.unwrap();
    fixture.docker.write(10);
    until(|| numbers(&fixture.cri()).len() == 10).await;
    logs.close().await;
    drop(logs);
    let (old, outside) = (fixture.cri().with_extension("old"), fixture.dir.path().join("outside"));
    fs::rename(fixture.cri(), &old).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.cri()).unwrap();
    fixture.docker.write(5);
    let logs = fixture.logs();
    logs.resume([ID]);
    until(|| logs.stalled().len() == 1).await;
    assert!(matches!(logs.reopen(ID).await, Err(Error::InvalidPath { .. })));
    fs::remove_file(fixture.cri()).unwrap();
    logs.reopen(ID).await.unwrap();
    until(|| logs.stalled().is_empty()).await;
    logs.finish(ID).await;
    assert!(!outside.exists());
    assert_eq!((numbers(&old), numbers(&fixture.cri())), ((1..=10).collect(), (11..=15).collect()));
}

/// Waits until a condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs steps until everything is converted.
fn drain(follower: &mut Follower, buffers: &mut Buffers, ending: bool) {
    while !matches!(follower.step(buffers, ending), NextStep::OnWrite | NextStep::Never) {}
}

#[test]
fn a_torn_entry_is_left_out_and_the_next_one_kept() {
    let mut fixture = Fixture::new();
    let mut buffers = Buffers::new();
    let mut follower = Follower::begin(ID, &fixture.paths, &fixture.checkpoints()).unwrap();
    fixture.docker.write(3);
    fixture.docker.raw(b"{\"log\":\"torn");
    drain(&mut follower, &mut buffers, false);
    fixture.docker.write(3);
    fixture.docker.raw(b"garbage\n");
    fixture.docker.write(3);
    fixture.docker.raw(b"{\"log\":\"never ended");
    drain(&mut follower, &mut buffers, true);
    assert_eq!(numbers(&fixture.cri()), (1..=9).collect::<Vec<_>>());
}

#[test]
fn without_a_checkpoint_the_log_continues_after_the_last_line() {
    let mut fixture = Fixture::new();
    let mut buffers = Buffers::new();
    let mut follower = Follower::begin(ID, &fixture.paths, &fixture.checkpoints()).unwrap();
    fixture.docker.write(3000);
    fixture.docker.rotate();
    fixture.docker.write(3000);
    drain(&mut follower, &mut buffers, false);
    drop(follower);
    fixture.docker.write(10);
    fixture.docker.rotate();
    fixture.docker.write(10);
    fs::write(fixture.dir.path().join("state/c1.json"), "{\"damaged").unwrap();
    let known = fixture.checkpoints().read(ID);
    assert_eq!(known, None);
    let mut follower = Follower::resuming(ID, &fixture.paths, &fixture.checkpoints(), known);
    drain(&mut follower, &mut buffers, true);
    assert_eq!(numbers(&fixture.cri()), (1..=6020).collect::<Vec<_>>());
}

#[test]
fn a_file_with_a_reused_inode_is_not_mistaken_for_the_earlier_one() {
    let mut fixture = Fixture::new();
    fixture.docker.max_files = 2;
    let mut buffers = Buffers::new();
    let mut follower = Follower::begin(ID, &fixture.paths, &fixture.checkpoints()).unwrap();
    fixture.docker.write(100);
    drain(&mut follower, &mut buffers, false);
    follower.save_position().unwrap();
    drop(follower);
    for _ in 0..6 {
        fixture.docker.rotate();
        fixture.docker.write(100);
    }
    let known = fixture.checkpoints().read(ID);
    let mut follower = Follower::resuming(ID, &fixture.paths, &fixture.checkpoints(), known);
    drain(&mut follower, &mut buffers, true);
    let expected: Vec<u64> = (1..=100).chain(501..=700).collect();
    assert_eq!(numbers(&fixture.cri()), expected);
}

/// A log with a checkpoint after its first hundred lines, and ten more entries.
fn interrupted() -> (Fixture, Buffers) {
    let mut fixture = Fixture::new();
    let mut buffers = Buffers::new();
    let mut follower = Follower::begin(ID, &fixture.paths, &fixture.checkpoints()).unwrap();
    fixture.docker.write(100);
    drain(&mut follower, &mut buffers, false);
    follower.save_position().unwrap();
    fixture.docker.write(10);
    (fixture, buffers)
}

#[test]
fn a_log_continues_when_its_device_has_another_number() {
    for (docker, cri) in [(true, true), (true, false), (false, true)] {
        let (fixture, mut buffers) = interrupted();
        let path = fixture.dir.path().join("state/c1.json");
        let mut checkpoint: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (file, changes) in [("read", docker), ("written", cri)] {
            let device = &mut checkpoint[file]["file"]["device"];
            *device = (device.as_u64().unwrap() + u64::from(changes)).into();
        }
        fs::write(&path, checkpoint.to_string()).unwrap();
        let mut follower =
            Follower::resuming(ID, &fixture.paths, &fixture.checkpoints(), fixture.checkpoints().read(ID));
        drain(&mut follower, &mut buffers, true);
        assert_eq!(numbers(&fixture.cri()), (1..=110).collect::<Vec<_>>(), "{docker} {cri}");
    }
}

#[test]
fn a_copy_of_the_file_at_its_path_is_continued() {
    let (fixture, mut buffers) = interrupted();
    let old = fixture.cri().with_extension("old");
    fs::rename(fixture.cri(), &old).unwrap();
    fs::copy(&old, fixture.cri()).unwrap();
    fs::remove_file(old).unwrap();
    let mut follower = Follower::resuming(ID, &fixture.paths, &fixture.checkpoints(), fixture.checkpoints().read(ID));
    drain(&mut follower, &mut buffers, true);
    assert_eq!(numbers(&fixture.cri()), (1..=110).collect::<Vec<_>>());
}

#[test]
fn another_file_at_the_path_gets_the_new_lines() {
    let (fixture, mut buffers) = interrupted();
    // Created before the rename, so that it has another inode.
    let other = fixture.cri().with_extension("other");
    fs::write(&other, "2026-01-01T00:00:00.000000001Z stdout F 4711\n").unwrap();
    fs::rename(other, fixture.cri()).unwrap();
    let mut follower = Follower::resuming(ID, &fixture.paths, &fixture.checkpoints(), fixture.checkpoints().read(ID));
    drain(&mut follower, &mut buffers, true);
    assert_eq!(numbers(&fixture.cri()), std::iter::once(4711).chain(101..=110).collect::<Vec<_>>());
}

/// An event in the life of a log.
#[derive(Debug, Clone)]
enum Event {
    Write(u64),
    DockerRotates,
    Step,
    Save,
    /// The kubelet renames the file and reopens the log.
    Rotate,
    /// The kubelet renames the file and is killed.
    Rename,
    /// Dockside is killed during a write after the checkpoint, with this many bytes of a torn line.
    Kill(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        4 => (0u64..2000).prop_map(Event::Write),
        1 => Just(Event::DockerRotates),
        4 => Just(Event::Step),
        1 => Just(Event::Save),
        1 => Just(Event::Rotate),
        1 => Just(Event::Rename),
        2 => (0usize..40).prop_map(Event::Kill),
    ];
    prop::collection::vec(one, 1..40)
}

fn play(events: &[Event]) {
    static BUFFERS: OnceLock<Mutex<Buffers>> = OnceLock::new();
    let mut buffers = BUFFERS.get_or_init(|| Mutex::new(Buffers::new())).lock();
    let mut fixture = Fixture::new();
    fixture.docker.max_files = 100;
    fixture.docker.write(0);
    let mut follower = Follower::begin(ID, &fixture.paths, &fixture.checkpoints()).unwrap();
    let mut files = Vec::new();
    let mut renamed = false;
    for event in events {
        match event {
            Event::Write(count) => fixture.docker.write(*count),
            Event::DockerRotates => fixture.docker.rotate(),
            Event::Step => {
                follower.step(&mut buffers, false);
            }
            Event::Save => follower.save_position().unwrap(),
            Event::Rotate | Event::Rename => {
                if !renamed {
                    files.push(fixture.cri().with_extension(files.len().to_string()));
                    fs::rename(fixture.cri(), files.last().unwrap()).unwrap();
                }
                renamed = matches!(event, Event::Rename);
                if !renamed {
                    follower.reopen(&mut buffers).unwrap();
                }
            }
            Event::Kill(torn) => {
                let last = if renamed { files.last().unwrap().clone() } else { fixture.cri() };
                let tail = "2026-01-01T00:00:00.000000001Z stdout F 12345";
                OpenOptions::new().append(true).open(last).unwrap().write_all(&tail.as_bytes()[..*torn]).unwrap();
                let known = fixture.checkpoints().read(ID);
                follower = Follower::resuming(ID, &fixture.paths, &fixture.checkpoints(), known);
                follower.resume(&mut buffers).unwrap();
                renamed = false;
            }
        }
    }
    drain(&mut follower, &mut buffers, true);
    if !renamed {
        files.push(fixture.cri());
    }
    let all: Vec<u64> = files.iter().flat_map(|file| numbers(file)).collect();
    assert_eq!(all, (1..=fixture.docker.written).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn in_any_order_of_events_each_entry_becomes_one_line(events in events()) {
        play(&events);
    }
}
