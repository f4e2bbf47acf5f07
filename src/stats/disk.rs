//! How much containers have written over their images. Walking through a layer can take long, so it is done in the
//! background, and an answer has what was found last, with the time of that.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::fs;
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

use crate::observe::now_ns;
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

/// The layers that were measured.
#[derive(Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Book>>);

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
    directory: PathBuf,
    done: Sender<()>,
}

#[derive(Debug, Clone)]
struct Layer {
    directory: PathBuf,
    /// `None` until the first walk has ended.
    measured: Option<Measured>,
    /// When the next walk is due; `None` while one is under way.
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    at: i64,
    bytes: u64,
    inodes: u64,
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk::default()
    }

    /// What is known of a container's writable layer. `process` gives a process in it, for the first time.
    pub(super) fn usage(&self, id: &str, process: impl FnOnce() -> Option<i32>) -> FilesystemUsage {
        let known = self.0.lock().layers.get(id).cloned();
        let mut layer = match known {
            Some(layer) => layer,
            None => match process().and_then(upper_directory) {
                Some(directory) => {
                    let layer = Layer { directory, measured: None, due: Some(Instant::now()) };
                    self.0.lock().layers.insert(id.to_owned(), layer.clone());
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
                layer.measured = self.0.lock().layers.get(id).and_then(|layer| layer.measured);
            }
        }
        match layer.measured {
            Some(measured) => FilesystemUsage {
                timestamp: measured.at,
                fs_id: Some(FilesystemIdentifier { mountpoint: layer.directory.display().to_string() }),
                used_bytes: Some(UInt64Value { value: measured.bytes }),
                inodes_used: Some(UInt64Value { value: measured.inodes }),
            },
            None => unknown(),
        }
    }

    /// Begins a walk, unless another call just did; what is returned tells its end.
    fn walk(&self, id: &str, directory: PathBuf) -> Receiver<()> {
        let (done, told) = channel();
        let mut book = self.0.lock();
        match book.layers.get_mut(id) {
            Some(layer) if layer.due.is_some() => layer.due = None,
            _ => return told,
        }
        book.waiting.push_back(Walk { id: id.to_owned(), directory, done });
        if book.walkers < WALKERS {
            book.walkers += 1;
            let book = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || walk_all(&book));
        }
        told
    }

    /// Forgets what is not to be kept.
    pub(super) fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.0.lock().layers.retain(|id, _| wanted(id));
    }
}

/// Walks until nothing waits any more.
fn walk_all(book: &Mutex<Book>) {
    loop {
        let next = {
            let mut book = book.lock();
            let next = book.waiting.pop_front();
            book.walkers -= usize::from(next.is_none());
            next
        };
        let Some(walk) = next else { return };
        let began = Instant::now();
        let (bytes, inodes) = measure(&walk.directory);
        if let Some(layer) = book.lock().layers.get_mut(&walk.id) {
            layer.measured = Some(Measured { at: now_ns(), bytes, inodes });
            layer.due = Some(Instant::now() + FRESH.max(began.elapsed() * REST));
        }
        // Nobody may have waited so long.
        let _ = walk.done.send(());
    }
}

fn unknown() -> FilesystemUsage {
    FilesystemUsage { timestamp: now_ns(), ..FilesystemUsage::default() }
}

/// Bytes and inodes below a directory, itself included. A file of several names counts once, one that vanishes does not.
fn measure(directory: &Path) -> (u64, u64) {
    let (mut bytes, mut seen) = (0, HashSet::new());
    for entry in WalkDir::new(directory).same_file_system(true).into_iter().filter_map(Result::ok) {
        if let Ok(found) = entry.metadata()
            && seen.insert((found.dev(), found.ino()))
        {
            bytes += found.blocks() * BLOCK;
        }
    }
    (bytes, seen.len() as u64)
}

/// The upper directory of the overlay that is a process's root, whichever store made it.
fn upper_directory(pid: i32) -> Option<PathBuf> {
    upper_of(&fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?)
}

/// `/proc/PID/mountinfo` (proc_pid_mountinfo(5)): the fifth field is the mount point, the last one has the options of the
/// file system, with octal escapes.
fn upper_of(mounts: &str) -> Option<PathBuf> {
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"))?;
    let (_, file_system) = root.split_once(" - ")?;
    let options = file_system.strip_prefix("overlay ")?.split(' ').nth(1)?;
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    Some(PathBuf::from(upper.replace("\\040", " ").replace("\\054", ",").replace("\\134", "\\")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_directory_is_that_of_the_root() {
        let mounts = "\
900 800 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/var/lib/docker/overlay2/x/diff,workdir=/w
901 900 0:51 / /data rw - overlay overlay rw,lowerdir=/l,upperdir=/other,workdir=/w
";
        assert_eq!(upper_of(mounts), Some(PathBuf::from("/var/lib/docker/overlay2/x/diff")));
        assert_eq!(upper_of("900 800 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }

    #[test]
    fn a_file_of_two_names_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let before = measure(dir.path());
        fs::write(dir.path().join("a"), vec![1; 100_000]).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let (bytes, inodes) = measure(dir.path());
        assert_eq!(inodes, before.1 + 1);
        assert!((100_000..120_000).contains(&(bytes - before.0)), "{bytes}");
    }

    #[tokio::test]
    async fn what_a_walk_found_is_kept_until_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        assert!(disk.usage("a", || None).used_bytes.is_none());
        let layer = Layer { directory: dir.path().to_owned(), measured: None, due: Some(Instant::now()) };
        disk.0.lock().layers.insert("a".to_owned(), layer);
        let deadline = Instant::now() + Duration::from_secs(10);
        let found = loop {
            let usage = disk.usage("a", || None);
            if usage.used_bytes.is_some() {
                break usage;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(found.inodes_used.unwrap().value, 1);
        assert_eq!(found.fs_id.unwrap().mountpoint, dir.path().display().to_string());
        assert_eq!(disk.usage("a", || None).timestamp, found.timestamp);
        disk.keep(|id| id != "a");
        assert!(disk.usage("a", || None).used_bytes.is_none());
    }

    #[tokio::test]
    async fn more_layers_than_walkers_are_walked_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        let ids: Vec<String> = (0..5 * WALKERS).map(|number| number.to_string()).collect();
        for id in &ids {
            let layer = Layer { directory: dir.path().to_owned(), measured: None, due: Some(Instant::now()) };
            disk.0.lock().layers.insert(id.clone(), layer);
        }
        let walks: Vec<_> = ids.iter().map(|id| disk.walk(id, dir.path().to_owned())).collect();
        assert!(disk.0.lock().walkers <= WALKERS);
        for walk in walks {
            walk.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while disk.0.lock().walkers > 0 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(disk.0.lock().layers.values().all(|layer| layer.measured.is_some()));
    }
}
