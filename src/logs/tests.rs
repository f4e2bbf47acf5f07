//! The room as a whole, beside a stand-in for Docker that writes and rotates as Docker does.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::logs::follower::Next;

/// Writes numbered records.
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

struct Room {
    dir: TempDir,
    docker: Docker,
    place: Place,
}

const ID: &str = "c1";

impl Room {
    fn new() -> Room {
        let dir = tempfile::tempdir().unwrap();
        let path = docker_file(&dir.path().join("docker").join(ID), ID);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let docker = Docker { path: path.clone(), max_files: 4, file: None, written: 0 };
        let place = Place { docker_file: path, directory: dir.path().join("pod"), path: "main/0.log".into() };
        Room { dir, docker, place }
    }

    fn logs(&self) -> Logs {
        Logs::open(self.dir.path().join("state")).unwrap()
    }

    fn checkpoints(&self) -> Arc<Checkpoints> {
        Arc::new(Checkpoints::open(self.dir.path().join("state")).unwrap())
    }

    fn cri(&self) -> PathBuf {
        self.place.cri_file()
    }
}

/// The numbers in a file, and that it has nothing else.
fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.rsplit_once(" stdout F ").unwrap().1.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_docker_writes_and_rotates_is_in_the_file_at_the_end() {
    let mut room = Room::new();
    let logs = room.logs();
    logs.begin(ID, room.place.clone()).await.unwrap();
    assert_eq!(fs::metadata(room.cri()).unwrap().mode() & 0o777, 0o640);
    for _ in 0..20 {
        room.docker.write(1000);
        room.docker.rotate();
        // Docker keeps three rotated files: one that is further ahead of its reader has thrown lines away.
        let lines = || fs::read(room.cri()).unwrap().iter().filter(|byte| **byte == b'\n').count() as u64;
        while lines() + 2000 < room.docker.written {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    room.docker.write(10);
    logs.finish(ID).await;
    assert_eq!(numbers(&room.cri()), (1..=20_010).collect::<Vec<_>>());
    // A second end finds nothing to do, and a removal nothing to keep.
    logs.finish(ID).await;
    logs.forget(ID).await.unwrap();
    assert_eq!(logs.counts().followed, 0);
    assert_eq!(fs::read_dir(room.dir.path().join("state")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_line_is_there_soon_without_anybody_asking() {
    let mut room = Room::new();
    let logs = room.logs();
    logs.begin(ID, room.place.clone()).await.unwrap();
    for round in 1..=5 {
        room.docker.write(1);
        let begun = std::time::Instant::now();
        while numbers(&room.cri()).len() < round {
            assert!(begun.elapsed() < Duration::from_secs(5), "line {round} does not come");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_second_run_of_the_same_container_is_appended() {
    let mut room = Room::new();
    let logs = room.logs();
    for last in [5, 10] {
        logs.begin(ID, room.place.clone()).await.unwrap();
        room.docker.write(5);
        logs.finish(ID).await;
        assert_eq!(numbers(&room.cri()).len(), last);
    }
}

#[tokio::test]
async fn reopening_divides_the_lines_between_the_files() {
    let mut room = Room::new();
    let logs = room.logs();
    logs.begin(ID, room.place.clone()).await.unwrap();
    let mut all = Vec::new();
    for round in 0..5 {
        room.docker.write(5000);
        let old = room.cri().with_extension(round.to_string());
        fs::rename(room.cri(), &old).unwrap();
        logs.reopen(ID).await.unwrap();
        assert!(room.cri().exists());
        all.extend(numbers(&old));
    }
    logs.finish(ID).await;
    all.extend(numbers(&room.cri()));
    assert_eq!(all, (1..=25_000).collect::<Vec<_>>());
    assert!(matches!(logs.reopen(ID).await, Err(Error::NotFollowed { .. })));
}

#[tokio::test]
async fn a_reopen_that_cannot_be_noted_leaves_no_new_file_and_the_old_one_goes_on() {
    let mut room = Room::new();
    let logs = room.logs();
    logs.begin(ID, room.place.clone()).await.unwrap();
    let (state, aside) = (room.dir.path().join("state"), room.dir.path().join("aside"));
    fs::rename(&state, &aside).unwrap();
    let old = room.cri().with_extension("old");
    fs::rename(room.cri(), &old).unwrap();
    assert!(logs.reopen(ID).await.is_err());
    assert!(!room.cri().exists());
    fs::rename(&old, room.cri()).unwrap();
    fs::rename(&aside, &state).unwrap();
    room.docker.write(10);
    logs.finish(ID).await;
    assert_eq!(numbers(&room.cri()).len(), 10);
}

#[tokio::test]
async fn a_path_that_leaves_the_directory_is_refused_by_the_name_of_its_field() {
    let room = Room::new();
    let logs = room.logs();
    let outside = room.dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(room.place.directory.join("dir.log")).unwrap();
    std::os::unix::fs::symlink(&outside, room.place.directory.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.join("x"), room.place.directory.join("link.log")).unwrap();
    for path in ["dir.log", "link/0.log", "link.log", "../0.log", "/0.log", ""] {
        let place = Place { path: path.into(), ..room.place.clone() };
        let refused = logs.begin(ID, place).await.unwrap_err();
        assert!(matches!(refused, Error::Place { field: "log_path", .. }), "{path}: {refused}");
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    fs::write(room.dir.path().join("file"), "").unwrap();
    let place = Place { directory: room.dir.path().join("file"), ..room.place.clone() };
    let refused = logs.begin(ID, place).await.unwrap_err();
    assert!(matches!(refused, Error::Place { field: "log_directory", .. }), "{refused}");
}

#[tokio::test]
async fn an_end_is_told_only_with_the_whole_log_however_long_that_takes() {
    // Long beside any pause that a busy machine makes.
    const LIMIT: Duration = Duration::from_secs(5);
    let mut room = Room::new();
    let mut logs = room.logs();
    logs.finish_limit = LIMIT;
    logs.begin(ID, room.place.clone()).await.unwrap();
    let entry = Arc::clone(&logs.entries.lock()[ID]);
    // Only now and then there is time for some steps.
    let busy = tokio::task::spawn_blocking(move || {
        for _ in 0..7 {
            let held = entry.follower.lock();
            std::thread::sleep(LIMIT / 5);
            // To the worker that waits for it.
            parking_lot::MutexGuard::unlock_fair(held);
        }
    });
    room.docker.write(300_000);
    logs.finish(ID).await;
    assert_eq!(numbers(&room.cri()).len(), 300_000);
    busy.await.unwrap();
}

#[tokio::test]
async fn a_log_that_could_not_go_on_before_its_end_holds_nobody_up() {
    let mut room = Room::new();
    let logs = room.logs();
    logs.begin(ID, room.place.clone()).await.unwrap();
    room.docker.write(10);
    logs.close().await;
    drop(logs);
    let aside = room.cri().with_extension("aside");
    fs::rename(room.cri(), &aside).unwrap();
    fs::create_dir(room.cri()).unwrap();
    let mut logs = room.logs();
    logs.finish_limit = Duration::from_millis(500);
    logs.resume([ID]);
    until(|| logs.troubles().len() == 1).await;
    assert!(logs.troubles()[0].reason.contains("log_path"), "{:?}", logs.troubles());
    let began = Instant::now();
    logs.finish(ID).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "it was not waited for");
    // Another one that has been in trouble for as long.
    logs.entries.lock()[ID].gave_up.store(false, Ordering::Relaxed);
    let began = Instant::now();
    logs.finish(ID).await;
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    // Once somebody has put it right, it is finished.
    fs::remove_dir(room.cri()).unwrap();
    fs::rename(&aside, room.cri()).unwrap();
    until(|| logs.followed(ID).is_none()).await;
    assert_eq!(numbers(&room.cri()).len(), 10);
}

#[tokio::test]
async fn a_path_that_went_wrong_while_nobody_followed_can_be_put_right() {
    let mut room = Room::new();
    let logs = room.logs();
    logs.begin(ID, room.place.clone()).await.unwrap();
    room.docker.write(10);
    until(|| numbers(&room.cri()).len() == 10).await;
    logs.close().await;
    drop(logs);
    let (old, outside) = (room.cri().with_extension("old"), room.dir.path().join("outside"));
    fs::rename(room.cri(), &old).unwrap();
    std::os::unix::fs::symlink(&outside, room.cri()).unwrap();
    room.docker.write(5);
    let logs = room.logs();
    logs.resume([ID]);
    until(|| logs.troubles().len() == 1).await;
    assert!(matches!(logs.reopen(ID).await, Err(Error::Place { .. })));
    fs::remove_file(room.cri()).unwrap();
    logs.reopen(ID).await.unwrap();
    until(|| logs.troubles().is_empty()).await;
    logs.finish(ID).await;
    assert!(!outside.exists());
    assert_eq!((numbers(&old), numbers(&room.cri())), ((1..=10).collect(), (11..=15).collect()));
}

/// Waits until a condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes steps until there is nothing more to take.
fn drain(follower: &mut Follower, scratch: &mut Scratch, ending: bool) {
    while !matches!(follower.step(scratch, ending), Next::Idle | Next::Done) {}
}

#[test]
fn a_torn_record_in_the_middle_is_left_out_and_the_next_one_kept() {
    let mut room = Room::new();
    let mut scratch = Scratch::new();
    let mut follower = Follower::begin(ID, &room.place, &room.checkpoints()).unwrap();
    room.docker.write(3);
    room.docker.raw(b"{\"log\":\"torn");
    drain(&mut follower, &mut scratch, false);
    room.docker.write(3);
    room.docker.raw(b"garbage\n");
    room.docker.write(3);
    room.docker.raw(b"{\"log\":\"never ended");
    drain(&mut follower, &mut scratch, true);
    assert_eq!(numbers(&room.cri()), (1..=9).collect::<Vec<_>>());
}

#[test]
fn without_a_checkpoint_the_last_line_tells_where_to_go_on() {
    let mut room = Room::new();
    let mut scratch = Scratch::new();
    let mut follower = Follower::begin(ID, &room.place, &room.checkpoints()).unwrap();
    room.docker.write(3000);
    room.docker.rotate();
    room.docker.write(3000);
    drain(&mut follower, &mut scratch, false);
    drop(follower);
    room.docker.write(10);
    room.docker.rotate();
    room.docker.write(10);
    fs::write(room.dir.path().join("state/c1.json"), "{\"damaged").unwrap();
    let known = room.checkpoints().read(ID);
    assert_eq!(known, None);
    let mut follower = Follower::resuming(ID, &room.place, &room.checkpoints(), known);
    drain(&mut follower, &mut scratch, true);
    assert_eq!(numbers(&room.cri()), (1..=6020).collect::<Vec<_>>());
}

#[test]
fn a_file_that_took_over_an_inode_is_not_mistaken_for_the_one_that_had_it() {
    let mut room = Room::new();
    room.docker.max_files = 2;
    let mut scratch = Scratch::new();
    let mut follower = Follower::begin(ID, &room.place, &room.checkpoints()).unwrap();
    room.docker.write(100);
    drain(&mut follower, &mut scratch, false);
    follower.save().unwrap();
    drop(follower);
    for _ in 0..6 {
        room.docker.rotate();
        room.docker.write(100);
    }
    let known = room.checkpoints().read(ID);
    let mut follower = Follower::resuming(ID, &room.place, &room.checkpoints(), known);
    drain(&mut follower, &mut scratch, true);
    let expected: Vec<u64> = (1..=100).chain(501..=700).collect();
    assert_eq!(numbers(&room.cri()), expected);
}

/// A log whose first hundred lines are written and noted, and ten more are to come.
fn interrupted() -> (Room, Scratch) {
    let mut room = Room::new();
    let mut scratch = Scratch::new();
    let mut follower = Follower::begin(ID, &room.place, &room.checkpoints()).unwrap();
    room.docker.write(100);
    drain(&mut follower, &mut scratch, false);
    follower.save().unwrap();
    room.docker.write(10);
    (room, scratch)
}

#[test]
fn a_device_with_another_number_after_a_restart_of_the_machine_is_the_same() {
    for (docker, cri) in [(true, true), (true, false), (false, true)] {
        let (room, mut scratch) = interrupted();
        let path = room.dir.path().join("state/c1.json");
        let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (file, changes) in [("read", docker), ("written", cri)] {
            let device = &mut noted[file]["file"]["device"];
            *device = (device.as_u64().unwrap() + u64::from(changes)).into();
        }
        fs::write(&path, noted.to_string()).unwrap();
        let mut follower = Follower::resuming(ID, &room.place, &room.checkpoints(), room.checkpoints().read(ID));
        drain(&mut follower, &mut scratch, true);
        assert_eq!(numbers(&room.cri()), (1..=110).collect::<Vec<_>>(), "{docker} {cri}");
    }
}

#[test]
fn a_copy_in_the_place_of_the_file_is_gone_on_with() {
    let (room, mut scratch) = interrupted();
    let old = room.cri().with_extension("old");
    fs::rename(room.cri(), &old).unwrap();
    fs::copy(&old, room.cri()).unwrap();
    fs::remove_file(old).unwrap();
    let mut follower = Follower::resuming(ID, &room.place, &room.checkpoints(), room.checkpoints().read(ID));
    drain(&mut follower, &mut scratch, true);
    assert_eq!(numbers(&room.cri()), (1..=110).collect::<Vec<_>>());
}

#[test]
fn another_file_in_the_place_of_the_file_gets_what_is_new() {
    let (room, mut scratch) = interrupted();
    // Made first, so that it is another inode.
    let other = room.cri().with_extension("other");
    fs::write(&other, "2026-01-01T00:00:00.000000001Z stdout F 4711\n").unwrap();
    fs::rename(other, room.cri()).unwrap();
    let mut follower = Follower::resuming(ID, &room.place, &room.checkpoints(), room.checkpoints().read(ID));
    drain(&mut follower, &mut scratch, true);
    assert_eq!(numbers(&room.cri()), std::iter::once(4711).chain(101..=110).collect::<Vec<_>>());
}

/// What happens to a log, in any order.
#[derive(Debug, Clone)]
enum Happening {
    Write(u64),
    DockerRotates,
    Step,
    Save,
    /// The kubelet renames and asks for a new file.
    Rotate,
    /// The kubelet renames and nobody hears of it.
    Rename,
    /// Killed in the middle of a write that the checkpoint does not know of: with so many bytes of a line more.
    Kill(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0u64..2000).prop_map(Happening::Write),
        1 => Just(Happening::DockerRotates),
        4 => Just(Happening::Step),
        1 => Just(Happening::Save),
        1 => Just(Happening::Rotate),
        1 => Just(Happening::Rename),
        2 => (0usize..40).prop_map(Happening::Kill),
    ];
    prop::collection::vec(one, 1..40)
}

fn play(happenings: &[Happening]) {
    static SCRATCH: OnceLock<Mutex<Scratch>> = OnceLock::new();
    let mut scratch = SCRATCH.get_or_init(|| Mutex::new(Scratch::new())).lock();
    let mut room = Room::new();
    room.docker.max_files = 100;
    room.docker.write(0);
    let mut follower = Follower::begin(ID, &room.place, &room.checkpoints()).unwrap();
    let mut files = Vec::new();
    let mut renamed = false;
    for happening in happenings {
        match happening {
            Happening::Write(count) => room.docker.write(*count),
            Happening::DockerRotates => room.docker.rotate(),
            Happening::Step => {
                follower.step(&mut scratch, false);
            }
            Happening::Save => follower.save().unwrap(),
            Happening::Rotate | Happening::Rename => {
                if !renamed {
                    files.push(room.cri().with_extension(files.len().to_string()));
                    fs::rename(room.cri(), files.last().unwrap()).unwrap();
                }
                renamed = matches!(happening, Happening::Rename);
                if !renamed {
                    follower.reopen(&mut scratch).unwrap();
                }
            }
            Happening::Kill(torn) => {
                let last = if renamed { files.last().unwrap().clone() } else { room.cri() };
                let tail = "2026-01-01T00:00:00.000000001Z stdout F 12345";
                OpenOptions::new().append(true).open(last).unwrap().write_all(&tail.as_bytes()[..*torn]).unwrap();
                let known = room.checkpoints().read(ID);
                follower = Follower::resuming(ID, &room.place, &room.checkpoints(), known);
                follower.resume(&mut scratch).unwrap();
                renamed = false;
            }
        }
    }
    drain(&mut follower, &mut scratch, true);
    if !renamed {
        files.push(room.cri());
    }
    let all: Vec<u64> = files.iter().flat_map(|file| numbers(file)).collect();
    assert_eq!(all, (1..=room.docker.written).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_each_record_becomes_one_line(happenings in happenings()) {
        play(&happenings);
    }
}
