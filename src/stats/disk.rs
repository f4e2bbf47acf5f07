//! The size of writable layers. Walking a layer can take long, so it is measured in the background, and a response has
//! the last measurement with its time. Docker is asked for the size of a layer that is not an overlay.

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

use crate::cgroup::Mount;
use crate::cgroup::MountInfo;
use crate::clock::now_ns;
use crate::docker::Engine;
use crate::docker::EngineInfo;
use crate::proto::FilesystemIdentifier;
use crate::proto::FilesystemUsage;
use crate::proto::UInt64Value;

/// A measurement younger than this is not repeated.
const FRESH: Duration = Duration::from_secs(10);
/// The pause after a walk, as a multiple of how long the walk took: 2% of the time is spent walking.
const PAUSE_FACTOR: u32 = 50;
/// How long a response waits for the first walk of a layer.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// How many walks run at once. More than one, so that a layer of millions of files does not delay all others; few, because
/// each takes a thread, and a list asks for the layers of all containers at once.
const WALKERS: usize = 4;
/// The unit of `st_blocks` in bytes, on every filesystem (stat(2)).
const BLOCK: u64 = 512;
/// How many hard-linked files a walk remembers: a few megabytes of memory. Beyond that each name counts.
const MAX_LINKED: usize = 1 << 18;
/// Where Docker's own overlay driver keeps its layers, below Docker's root.
const OVERLAY_HOME: &str = "overlay2";

/// The writable layers of all containers, with their measurements.
pub(super) struct Disk {
    engine: Engine,
    layers: Arc<Mutex<Layers>>,
}

#[derive(Debug, Default)]
struct Layers {
    /// By container id.
    by_id: HashMap<String, Layer>,
    queue: VecDeque<Walk>,
    walkers: usize,
}

/// A walk in the queue.
#[derive(Debug)]
struct Walk {
    id: String,
    directory: Option<PathBuf>,
    done: Sender<()>,
}

#[derive(Debug, Clone)]
struct Layer {
    /// The directory to walk; `None` when Docker is asked for the size.
    directory: Option<PathBuf>,
    /// A directory on the layer's filesystem that outlives the container, the same for all layers if possible. The
    /// kubelet calls statfs on it after the response, and may drop all stats when it is missing.
    mountpoint: PathBuf,
    /// `None` until the first walk has finished, and when the directory is gone.
    measured: Option<Measured>,
    /// When the next walk is due; `None` while one is queued or running.
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    at: i64,
    bytes: u64,
    /// `None` where Docker was asked, which does not count inodes.
    inodes: Option<u64>,
}

impl Disk {
    pub(super) fn new(engine: Engine) -> Disk {
        Disk { engine, layers: Arc::default() }
    }

    /// The usage of a container's writable layer, as last measured. `pid` returns a process of the container, and is called
    /// only for a layer that is not known yet.
    pub(super) fn usage(
        &self,
        id: &str,
        info: Option<&EngineInfo>,
        pid: impl FnOnce(&EngineInfo) -> Option<i32>,
    ) -> FilesystemUsage {
        let known = self.layers.lock().by_id.get(id).cloned();
        let mut layer = match known {
            Some(layer) => layer,
            None => match info.and_then(|info| Layer::of_process(pid(info)?, info)) {
                Some(layer) => {
                    self.layers.lock().by_id.insert(id.to_owned(), layer.clone());
                    layer
                }
                // Not running, and never seen running.
                None => return unknown(),
            },
        };
        if layer.due.is_some_and(|due| due <= Instant::now()) {
            let done = self.walk(id, layer.directory.clone());
            // A new container's layer is small, so the first response can have its size.
            if layer.measured.is_none() && done.recv_timeout(FIRST_WAIT).is_ok() {
                layer.measured = self.layers.lock().by_id.get(id).and_then(|layer| layer.measured);
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

    /// Queues a walk, unless another call just did; the receiver gets a message when the walk has finished.
    fn walk(&self, id: &str, directory: Option<PathBuf>) -> Receiver<()> {
        let (done, finished) = channel();
        let mut layers = self.layers.lock();
        match layers.by_id.get_mut(id) {
            Some(layer) if layer.due.is_some() => layer.due = None,
            _ => return finished,
        }
        layers.queue.push_back(Walk { id: id.to_owned(), directory, done });
        if layers.walkers < WALKERS {
            layers.walkers += 1;
            tokio::spawn(walk_all(self.engine.clone(), Arc::clone(&self.layers)));
        }
        finished
    }

    /// Drops the layers of all containers for which `exists` is false.
    pub(super) fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.layers.lock().by_id.retain(|id, _| exists(id));
    }
}

/// Works the queue until it is empty.
async fn walk_all(engine: Engine, layers: Arc<Mutex<Layers>>) {
    loop {
        let next = {
            let mut layers = layers.lock();
            let next = layers.queue.pop_front();
            layers.walkers -= usize::from(next.is_none());
            next
        };
        let Some(walk) = next else { return };
        let started = Instant::now();
        let asks_docker = walk.directory.is_none();
        let measured = match walk.directory {
            Some(directory) => tokio::task::spawn_blocking(move || measure(&directory)).await.ok().flatten(),
            None => ask_docker(&engine, &walk.id).await,
        };
        if let Some(layer) = layers.lock().by_id.get_mut(&walk.id) {
            // While Docker does not answer, its last answer is kept.
            layer.measured = measured.or(layer.measured.filter(|_| asks_docker));
            layer.due = Some(Instant::now() + FRESH.max(started.elapsed() * PAUSE_FACTOR));
        }
        // The receiver may have stopped waiting.
        let _ = walk.done.send(());
    }
}

/// The size of a layer as Docker measures it.
async fn ask_docker(engine: &Engine, id: &str) -> Option<Measured> {
    match engine.layer_size(id).await {
        Ok(bytes) => Some(Measured { at: now_ns(), bytes: bytes?, inodes: None }),
        Err(error) => {
            tracing::debug!(%error, "could not get the size of a container's writable layer");
            None
        }
    }
}

fn unknown() -> FilesystemUsage {
    FilesystemUsage { timestamp: now_ns(), ..FilesystemUsage::default() }
}

/// The size of a directory tree, the directory included; `None` when it is missing. A hard-linked file counts once; a file
/// that is removed during the walk does not count.
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

/// The inodes of the hard-linked files that a walk has found. Other files are not remembered: there may be millions.
#[derive(Default)]
struct Linked(HashSet<u64>);

impl Linked {
    fn is_first_name(&mut self, file: &Metadata) -> bool {
        if file.is_dir() || file.nlink() < 2 {
            return true;
        }
        if self.0.len() < MAX_LINKED { self.0.insert(file.ino()) } else { !self.0.contains(&file.ino()) }
    }
}

impl Layer {
    /// The layer that a process has as its root: the upper directory of an overlay, whichever store made it. For any other
    /// root filesystem Docker has to be asked.
    fn of_process(pid: i32, info: &EngineInfo) -> Option<Layer> {
        let mounts = MountInfo::read(pid).ok()?;
        let directory = upper_of(&mounts, &info.root_dir.join(OVERLAY_HOME)).filter(|directory| directory.is_dir());
        let usual = [info.image_dir.as_path(), info.root_dir.as_path()];
        let mountpoint = match &directory {
            Some(directory) => mountpoint(directory, usual)?,
            None => usual.into_iter().find(|path| path.is_dir())?.to_owned(),
        };
        Some(Layer { directory, mountpoint, measured: None, due: Some(Instant::now()) })
    }
}

/// The first of the usual directories that is on the layer's filesystem, or else the highest parent of the layer that is.
fn mountpoint(layer: &Path, usual: [&Path; 2]) -> Option<PathBuf> {
    let device = fs::metadata(layer).ok()?.dev();
    let is_here = |path: &&Path| fs::metadata(path).is_ok_and(|found| found.dev() == device);
    let found = usual.into_iter().find(is_here).or_else(|| layer.ancestors().take_while(is_here).last());
    found.map(Path::to_owned)
}

/// The upper directory of the overlay at `/`. Docker makes paths relative to `home` when an image has too many layers for
/// absolute paths to fit the mount options.
fn upper_of(mounts: &MountInfo, home: &Path) -> Option<PathBuf> {
    let root = mounts.mounts().find(Mount::is_root).filter(|mount| mount.filesystem == b"overlay")?;
    Some(home.join(root.option_path("upperdir")?))
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

    /// A Docker that fails to give the size of container `c`'s layer the second time it is asked.
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

    /// The usage, once it has been measured.
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
        assert_eq!(upper_of(&MountInfo::from(mounts), home), Some(home.join("x/diff")));
        assert_eq!(upper_of(&MountInfo::from("900 800 8:1 / / rw - ext4 /dev/sda1 rw\n"), home), None);
    }

    #[test]
    fn the_upper_directory_of_an_image_with_many_layers_is_relative() {
        let mounts = "900 800 0:50 / / rw - overlay overlay rw,lowerdir=l/A:l/B,upperdir=x/diff,workdir=x/work\n";
        assert_eq!(upper_of(&MountInfo::from(mounts), Path::new(HOME)), Some(Path::new(HOME).join("x/diff")));
    }

    #[test]
    fn a_filesystem_is_identified_by_a_directory_that_outlives_the_container() {
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
    fn a_hard_linked_file_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let before = measure(dir.path()).unwrap();
        fs::write(dir.path().join("a"), vec![1; 100_000]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let after = measure(dir.path()).unwrap();
        assert_eq!(after.inodes.unwrap(), before.inodes.unwrap() + 1);
        assert!((100_000..120_000).contains(&(after.bytes - before.bytes)), "{after:?}");
    }

    #[test]
    fn only_hard_linked_files_are_remembered_up_to_a_limit() {
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
        let mut full = Linked((0..MAX_LINKED as u64).map(|number| u64::MAX - number).collect());
        assert!(full.is_first_name(&of(&twice)) && full.is_first_name(&of(&twice)));
        assert_eq!(full.0.len(), MAX_LINKED);
    }

    #[test]
    fn a_directory_that_is_gone_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(measure(dir.path()).unwrap().inodes, Some(1));
        assert_eq!(measure(&dir.path().join("gone")), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_measurement_is_kept_until_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _docker) = disk();
        assert!(disk.usage("a", None, |_| None).used_bytes.is_none());
        let mountpoint = PathBuf::from("/var/lib/docker");
        disk.layers.lock().by_id.insert("a".to_owned(), Layer { mountpoint, ..layer(dir.path()) });
        let found = known(&disk, "a").await;
        assert_eq!(found.inodes_used.unwrap().value, 1);
        assert_eq!(found.fs_id.unwrap().mountpoint, "/var/lib/docker");
        assert_eq!(disk.usage("a", None, |_| None).timestamp, found.timestamp);
        disk.retain(|id| id != "a");
        assert!(disk.usage("a", None, |_| None).used_bytes.is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn docker_is_asked_for_a_layer_without_a_directory_and_its_last_size_kept_while_it_fails() {
        let (disk, _docker) = disk();
        disk.layers.lock().by_id.insert("c".to_owned(), Layer { directory: None, ..layer(Path::new("/")) });
        let first = known(&disk, "c").await;
        assert_eq!((first.used_bytes.unwrap().value, first.inodes_used), (4000, None));
        let mut bytes = Vec::new();
        for _ in 0..2 {
            disk.layers.lock().by_id.get_mut("c").unwrap().due = Some(Instant::now());
            disk.walk("c", None).recv_timeout(Duration::from_secs(10)).unwrap();
            bytes.push(known(&disk, "c").await.used_bytes.unwrap().value);
        }
        assert_eq!(bytes, [4000, 4002]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_layers_than_walkers_are_all_walked() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, _docker) = disk();
        let ids: Vec<String> = (0..5 * WALKERS).map(|number| number.to_string()).collect();
        for id in &ids {
            disk.layers.lock().by_id.insert(id.clone(), layer(dir.path()));
        }
        let walks: Vec<_> = ids.iter().map(|id| disk.walk(id, Some(dir.path().to_owned()))).collect();
        assert!(disk.layers.lock().walkers <= WALKERS);
        for walk in walks {
            walk.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while disk.layers.lock().walkers > 0 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(disk.layers.lock().by_id.values().all(|layer| layer.measured.is_some()));
    }
}
