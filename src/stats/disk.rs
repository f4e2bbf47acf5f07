//! How much containers have written over their images. Walking through a layer can take long, so it is done in the
//! background, and an answer has what was found last, with the time of that. Where the kernel does not tell which
//! directory to walk through, as an overlay does, Docker is asked to find out.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::fs;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use walkdir::WalkDir;

use crate::clock::now_ns;
use crate::docker::Engine;
use crate::docker::EngineInfo;
use crate::proto::FilesystemIdentifier;
use crate::proto::FilesystemUsage;
use crate::proto::UInt64Value;

/// What is younger is good enough.
const FRESH: Duration = Duration::from_secs(10);
/// A walk may take this part of the time: after one of a second, the next comes after so many seconds.
const REST: u32 = 50;
/// How long an answer waits for the first walk through a layer.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// How many walks go on at once. More than one, so that a layer of millions of files does not hold up all others; few, as
/// each takes a thread, and a list asks for the layers of all containers in one moment.
const WALKERS: usize = 4;
/// What `st_blocks` counts in, whatever the file system (stat(2)).
const BLOCK: u64 = 512;
/// How many files of several names a walk remembers: a few megabytes of memory. Beyond that each name counts.
const MOST_LINKED: usize = 1 << 18;
/// Where Docker's own overlay driver keeps its layers, below Docker's root.
const OVERLAY_HOME: &str = "overlay2";

/// The layers that were measured.
pub(super) struct Disk {
    engine: Engine,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// By container.
    layers: HashMap<String, Layer>,
    waiting: VecDeque<Walk>,
    walkers: usize,
}

/// A walk that is to be done.
#[derive(Debug)]
struct Walk {
    id: String,
    directory: Option<PathBuf>,
    done: Sender<()>,
}

#[derive(Debug, Clone)]
struct Layer {
    /// What to walk through; `None` for one that Docker is asked about.
    directory: Option<PathBuf>,
    /// What stands for its file system: a directory that is still there when the container is gone, and the same for all.
    /// A client looks at it after the answer, and may give up all it wanted to tell when it is missing.
    mountpoint: PathBuf,
    /// `None` until the first walk has ended, and when the directory is gone.
    measured: Option<Measured>,
    /// When the next walk is due; `None` while one is under way.
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    at: i64,
    bytes: u64,
    /// Docker does not tell them.
    inodes: Option<u64>,
}

impl Disk {
    pub(super) fn new(engine: Engine) -> Disk {
        Disk { engine, book: Arc::default() }
    }

    /// What is known of a container's writable layer. `process` gives a process in it, for the first time.
    pub(super) fn usage(
        &self,
        id: &str,
        info: Option<&EngineInfo>,
        process: impl FnOnce(&EngineInfo) -> Option<i32>,
    ) -> FilesystemUsage {
        let known = self.book.lock().layers.get(id).cloned();
        let mut layer = match known {
            Some(layer) => layer,
            None => match info.and_then(|info| Layer::of_process(process(info)?, info)) {
                Some(layer) => {
                    self.book.lock().layers.insert(id.to_owned(), layer.clone());
                    layer
                }
                // One that does not run any more, and was never seen running.
                None => return unknown(),
            },
        };
        if layer.due.is_some_and(|due| due <= Instant::now()) {
            let done = self.walk(id, layer.directory.clone());
            // A new container's layer is small: nobody needs to ask twice.
            if layer.measured.is_none() && done.recv_timeout(FIRST_WAIT).is_ok() {
                layer.measured = self.book.lock().layers.get(id).and_then(|layer| layer.measured);
            }
        }
        match layer.measured {
            Some(measured) => FilesystemUsage {
                timestamp: measured.at,
                fs_id: Some(FilesystemIdentifier { mountpoint: layer.mountpoint.display().to_string() }),
                used_bytes: Some(UInt64Value { value: measured.bytes }),
                inodes_used: measured.inodes.map(|value| UInt64Value { value }),
            },
            None => unknown(),
        }
    }

    /// Begins a walk, unless another call just did; what is returned tells its end.
    fn walk(&self, id: &str, directory: Option<PathBuf>) -> Receiver<()> {
        let (done, told) = channel();
        let mut book = self.book.lock();
        match book.layers.get_mut(id) {
            Some(layer) if layer.due.is_some() => layer.due = None,
            _ => return told,
        }
        book.waiting.push_back(Walk { id: id.to_owned(), directory, done });
        if book.walkers < WALKERS {
            book.walkers += 1;
            tokio::spawn(walk_all(self.engine.clone(), Arc::clone(&self.book)));
        }
        told
    }

    /// Forgets what is not to be kept.
    pub(super) fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.book.lock().layers.retain(|id, _| wanted(id));
    }
}

/// Walks until nothing waits any more.
async fn walk_all(engine: Engine, book: Arc<Mutex<Book>>) {
    loop {
        let next = {
            let mut book = book.lock();
            let next = book.waiting.pop_front();
            book.walkers -= usize::from(next.is_none());
            next
        };
        let Some(walk) = next else { return };
        let began = Instant::now();
        let by_docker = walk.directory.is_none();
        let measured = match walk.directory {
            Some(directory) => tokio::task::spawn_blocking(move || measure(&directory)).await.ok().flatten(),
            None => ask(&engine, &walk.id).await,
        };
        if let Some(layer) = book.lock().layers.get_mut(&walk.id) {
            // Docker may just be away.
            layer.measured = measured.or(layer.measured.filter(|_| by_docker));
            layer.due = Some(Instant::now() + FRESH.max(began.elapsed() * REST));
        }
        // Nobody may have waited so long.
        let _ = walk.done.send(());
    }
}

/// What Docker finds in a layer.
async fn ask(engine: &Engine, id: &str) -> Option<Measured> {
    match engine.layer_size(id).await {
        Ok(bytes) => Some(Measured { at: now_ns(), bytes: bytes?, inodes: None }),
        Err(error) => {
            tracing::debug!(%error, "could not learn how much a container has written");
            None
        }
    }
}

fn unknown() -> FilesystemUsage {
    FilesystemUsage { timestamp: now_ns(), ..FilesystemUsage::default() }
}

/// What is below a directory, itself included; `None` when it is not there. A file of several names counts once, one that
/// vanishes does not.
fn measure(directory: &Path) -> Option<Measured> {
    let (mut bytes, mut inodes, mut linked) = (0, 0_u64, Linked::default());
    for entry in WalkDir::new(directory).same_file_system(true).into_iter().filter_map(Result::ok) {
        if let Ok(found) = entry.metadata()
            && linked.is_first_name(&found)
        {
            bytes += found.blocks() * BLOCK;
            inodes += 1;
        }
    }
    (inodes > 0).then(|| Measured { at: now_ns(), bytes, inodes: Some(inodes) })
}

/// The files of several names that were found in a layer. Others are not remembered: there may be millions.
#[derive(Default)]
struct Linked(HashSet<u64>);

impl Linked {
    fn is_first_name(&mut self, file: &Metadata) -> bool {
        if file.is_dir() || file.nlink() < 2 {
            return true;
        }
        if self.0.len() < MOST_LINKED { self.0.insert(file.ino()) } else { !self.0.contains(&file.ino()) }
    }
}

impl Layer {
    /// The layer that a process has for its root: the upper directory of an overlay, whichever store made it. Of any
    /// other root only Docker knows what in it is the container's own.
    fn of_process(pid: i32, info: &EngineInfo) -> Option<Layer> {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
        let directory = upper_of(&mounts, &info.root_dir.join(OVERLAY_HOME)).filter(|directory| directory.is_dir());
        let usual = [info.image_dir.as_path(), info.root_dir.as_path()];
        let mountpoint = match &directory {
            Some(directory) => mountpoint(directory, usual)?,
            None => usual.into_iter().find(|path| path.is_dir())?.to_owned(),
        };
        Some(Layer { directory, mountpoint, measured: None, due: Some(Instant::now()) })
    }
}

/// The first of the usual directories that is on the layer's file system, or the highest one above the layer that is.
fn mountpoint(layer: &Path, usual: [&Path; 2]) -> Option<PathBuf> {
    let device = fs::metadata(layer).ok()?.dev();
    let is_here = |path: &&Path| fs::metadata(path).is_ok_and(|found| found.dev() == device);
    let found = usual.into_iter().find(is_here).or_else(|| layer.ancestors().take_while(is_here).last());
    found.map(Path::to_owned)
}

/// `/proc/PID/mountinfo` (proc_pid_mountinfo(5)): the fifth field is the mount point, the last one has the options of the
/// file system, with octal escapes. Docker makes paths relative to `home` when an image has so many layers that the options
/// would be too long.
fn upper_of(mounts: &str, home: &Path) -> Option<PathBuf> {
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"))?;
    let (_, file_system) = root.split_once(" - ")?;
    let options = file_system.strip_prefix("overlay ")?.split(' ').nth(1)?;
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    Some(home.join(upper.replace("\\040", " ").replace("\\054", ",").replace("\\134", "\\")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use tempfile::TempDir;

    use super::*;
    use crate::docker::testing;

    const HOME: &str = "/var/lib/docker/overlay2";

    fn layer(directory: &Path) -> Layer {
        let (mountpoint, directory) = (directory.to_owned(), Some(directory.to_owned()));
        Layer { mountpoint, directory, measured: None, due: Some(Instant::now()) }
    }

    /// A Docker that does not know how large the layer of container `c` is when it is asked for the second time.
    fn disk() -> (Disk, TempDir) {
        let asked = AtomicU32::new(0);
        let (engine, docker) = testing::engine(move |request| {
            assert_eq!(request, "GET /containers/c/json");
            match asked.fetch_add(1, Ordering::Relaxed) {
                1 => (500, r#"{"message": "busy"}"#.to_owned()),
                number => (200, format!(r#"{{"Id": "c", "SizeRw": {}}}"#, 4000 + number)),
            }
        });
        (Disk::new(engine), docker)
    }

    /// What is told once something is known.
    async fn known(disk: &Disk, id: &str) -> FilesystemUsage {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let usage = disk.usage(id, None, |_| None);
            if usage.used_bytes.is_some() {
                return usage;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn the_upper_directory_is_that_of_the_root() {
        let mounts = "\
900 800 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/var/lib/docker/overlay2/x/diff,workdir=/w
901 900 0:51 / /data rw - overlay overlay rw,lowerdir=/l,upperdir=/other,workdir=/w
";
        let home = Path::new(HOME);
        assert_eq!(upper_of(mounts, home), Some(home.join("x/diff")));
        assert_eq!(upper_of("900 800 8:1 / / rw - ext4 /dev/sda1 rw\n", home), None);
    }

    #[test]
    fn the_upper_directory_of_an_image_with_many_layers_is_relative() {
        let mounts = "900 800 0:50 / / rw - overlay overlay rw,lowerdir=l/A:l/B,upperdir=x/diff,workdir=x/work\n";
        assert_eq!(upper_of(mounts, Path::new(HOME)), Some(Path::new(HOME).join("x/diff")));
    }

    #[test]
    fn a_file_system_is_told_by_a_directory_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (root, layer) = (dir.path().join("docker"), dir.path().join("elsewhere/x/diff"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&layer).unwrap();
        let (missing, other) = (dir.path().join("containerd"), Path::new("/proc"));
        assert_eq!(mountpoint(&layer, [&missing, &root]), Some(root));
        let highest = mountpoint(&layer, [&missing, other]).unwrap();
        assert!(dir.path().starts_with(&highest), "{}", highest.display());
        assert_eq!(mountpoint(&missing, [&missing, other]), None);
    }

    #[test]
    fn a_file_of_two_names_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let before = measure(dir.path()).unwrap();
        fs::write(dir.path().join("a"), vec![1; 100_000]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let after = measure(dir.path()).unwrap();
        assert_eq!(after.inodes.unwrap(), before.inodes.unwrap() + 1);
        assert!((100_000..120_000).contains(&(after.bytes - before.bytes)), "{after:?}");
    }

    #[test]
    fn only_files_of_several_names_are_remembered_and_not_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, twice) = (dir.path().join("plain"), dir.path().join("twice"));
        fs::write(&plain, "").unwrap();
        fs::write(&twice, "").unwrap();
        fs::hard_link(&twice, dir.path().join("second")).unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        let of = |path: &Path| path.metadata().unwrap();
        let mut linked = Linked::default();
        for path in [&plain, &plain, dir.path(), dir.path()] {
            assert!(linked.is_first_name(&of(path)));
        }
        assert!(linked.0.is_empty());
        assert!(linked.is_first_name(&of(&twice)) && !linked.is_first_name(&of(&twice)));
        let mut full = Linked((0..MOST_LINKED as u64).map(|number| u64::MAX - number).collect());
        assert!(full.is_first_name(&of(&twice)) && full.is_first_name(&of(&twice)));
        assert_eq!(full.0.len(), MOST_LINKED);
    }

    #[test]
    fn a_directory_that_is_gone_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(measure(dir.path()).unwrap().inodes, Some(1));
        assert_eq!(measure(&dir.path().join("gone")), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_walk_found_is_kept_until_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _docker) = disk();
        assert!(disk.usage("a", None, |_| None).used_bytes.is_none());
        let mountpoint = PathBuf::from("/var/lib/docker");
        disk.book.lock().layers.insert("a".to_owned(), Layer { mountpoint, ..layer(dir.path()) });
        let found = known(&disk, "a").await;
        assert_eq!(found.inodes_used.unwrap().value, 1);
        assert_eq!(found.fs_id.unwrap().mountpoint, "/var/lib/docker");
        assert_eq!(disk.usage("a", None, |_| None).timestamp, found.timestamp);
        disk.keep(|id| id != "a");
        assert!(disk.usage("a", None, |_| None).used_bytes.is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn docker_is_asked_for_a_layer_without_a_directory_and_its_answer_kept_while_it_cannot_tell() {
        let (disk, _docker) = disk();
        disk.book.lock().layers.insert("c".to_owned(), Layer { directory: None, ..layer(Path::new("/")) });
        let first = known(&disk, "c").await;
        assert_eq!((first.used_bytes.unwrap().value, first.inodes_used), (4000, None));
        let mut bytes = Vec::new();
        for _ in 0..2 {
            disk.book.lock().layers.get_mut("c").unwrap().due = Some(Instant::now());
            disk.walk("c", None).recv_timeout(Duration::from_secs(10)).unwrap();
            bytes.push(known(&disk, "c").await.used_bytes.unwrap().value);
        }
        assert_eq!(bytes, [4000, 4002]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_layers_than_walkers_are_walked_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _docker) = disk();
        let ids: Vec<String> = (0..5 * WALKERS).map(|number| number.to_string()).collect();
        for id in &ids {
            disk.book.lock().layers.insert(id.clone(), layer(dir.path()));
        }
        let walks: Vec<_> = ids.iter().map(|id| disk.walk(id, Some(dir.path().to_owned()))).collect();
        assert!(disk.book.lock().walkers <= WALKERS);
        for walk in walks {
            walk.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while disk.book.lock().walkers > 0 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(disk.book.lock().layers.values().all(|layer| layer.measured.is_some()));
    }
}
