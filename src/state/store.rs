//! The store: the only place that changes records and the index.

use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::disk::Directory;
use super::disk::Error;
use super::feed::Feed;
use super::index::Index;
use super::locks::Guard;
use super::locks::Locks;
use super::node_settings::NodeSettings;
use super::object::Container;
use super::object::Object;
use super::object::Sandbox;
use super::process::Process;
use super::record::ContainerRecord;
use super::record::Phase;
use super::record::Record;
use super::record::SandboxRecord;
use super::record::is_key;
use super::writer::Writer;

/// The directory with the files of each pod.
const POD_FILES: &str = "etc";

/// What an earlier process left for the caller to undo.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Sandboxes that were begun and not finished.
    pub sandboxes: Vec<SandboxRecord>,
    /// Containers that were begun and not finished.
    pub containers: Vec<ContainerRecord>,
    /// Keys of records that cannot be read. What they were about has to be removed, as its client gets no answer about
    /// it any more.
    pub damaged: HashSet<String>,
}

/// The writers of both kinds, and what belongs to neither. One process has one store: `dockside serve` holds a lock on
/// the state directory. Verbs, `refresh` and `watch` share it; everything else reads the
/// [`Index`].
#[derive(Debug)]
pub(crate) struct Store {
    /// Changes sandboxes.
    pub sandboxes: Writer<Sandbox>,
    /// Changes containers.
    pub containers: Writer<Container>,
    index: Index,
    synced: Arc<AtomicBool>,
    pod_files: PathBuf,
    node_settings: NodeSettings,
    locks: Locks,
}

impl Store {
    /// Opens the records under `directory`, and makes it if it is missing. Finished objects enter the index, with
    /// processes in state created until the index is synced (see [`Index::is_synced`]).
    ///
    /// # Errors
    /// If the directories cannot be made or read. A damaged record is not an error.
    pub(crate) fn open(directory: &Path) -> Result<(Store, Leftovers), Error> {
        let sandboxes = Directory::open(directory.join("sandboxes"))?;
        let containers = Directory::open(directory.join("containers"))?;
        let pod_files = std::path::absolute(directory).map(|directory| directory.join(POD_FILES));
        let pod_files = pod_files.map_err(|source| Error::Io {
            doing: "find the directory",
            path: directory.to_owned(),
            source,
        })?;
        let sandbox_records = Records::read(&sandboxes)?;
        let container_records = Records::read(&containers)?;
        remove_stale_files(&pod_files, |key| !is_key(key) || sandboxes.has(key));
        let (feed, synced) = (Feed::new(), Arc::new(AtomicBool::new(false)));
        let sandboxes = Writer::new(sandboxes, Some(pod_files.clone()), feed.clone());
        let containers = Writer::new(containers, None, feed.clone());
        let index = Index::new(sandboxes.reader(), containers.reader(), feed, Arc::clone(&synced));
        let node_settings = NodeSettings::open(directory)?;
        let store = Store { sandboxes, containers, index, synced, pod_files, node_settings, locks: Locks::default() };
        for record in sandbox_records.finished {
            store.sandboxes.insert(Sandbox::new(record, Process::Created));
        }
        for record in container_records.finished {
            store.containers.insert(Container::new(record, Process::Created));
        }
        let leftovers = Leftovers {
            sandboxes: sandbox_records.unfinished,
            containers: container_records.unfinished,
            damaged: sandbox_records.damaged.into_iter().chain(container_records.damaged).collect(),
        };
        Ok((store, leftovers))
    }

    /// For reading.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Waits for the lock of the object with this key.
    pub(crate) async fn lock(&self, key: &str) -> Guard {
        self.locks.lock(key).await
    }

    /// Takes the lock of the object with this key if no verb holds it.
    pub(crate) fn try_lock(&self, key: &str) -> Option<Guard> {
        self.locks.try_lock(key)
    }

    /// The directory with the files that the containers of the sandbox with this key see; removed with its record.
    pub(crate) fn pod_files(&self, key: &str) -> PathBuf {
        self.pod_files.join(key)
    }

    /// Changes what is known of the process of object `id`, a container's or a sandbox's.
    pub(crate) fn update_process(&self, id: &str, change: impl Fn(&Process) -> Process) {
        self.containers.update(id, |container| container.process = change(&container.process));
        self.sandboxes.update(id, |sandbox| sandbox.process = change(&sandbox.process));
    }

    /// Records whether Docker still owes an answer about a container's start.
    pub(crate) fn set_unsettled(&self, id: &str, unsettled: bool) {
        if self.index.containers.get(id).is_some_and(|container| container.unsettled != unsettled) {
            self.containers.update(id, |container| container.unsettled = unsettled);
        }
    }

    /// Records that the index was reconciled with Docker.
    pub(crate) fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// What is kept of the node, apart from records.
    pub(crate) fn node_settings(&self) -> &NodeSettings {
        &self.node_settings
    }
}

/// Objects that the store has a writer for.
pub(crate) trait Stored: Object {
    /// The writer of this kind.
    fn writer(store: &Store) -> &Writer<Self>;
}

impl Stored for Sandbox {
    fn writer(store: &Store) -> &Writer<Sandbox> {
        &store.sandboxes
    }
}

impl Stored for Container {
    fn writer(store: &Store) -> &Writer<Container> {
        &store.containers
    }
}

/// The records of one directory.
struct Records<R> {
    finished: Vec<R>,
    unfinished: Vec<R>,
    /// Keys of those that cannot be read.
    damaged: Vec<String>,
}

impl<R: Record> Records<R> {
    fn read(directory: &Directory) -> Result<Records<R>, Error> {
        let (records, damaged) = directory.read_all::<R>()?;
        let (unfinished, finished) = records.into_iter().partition(|record| record.phase() == Phase::Creating);
        Ok(Records { finished, unfinished, damaged })
    }
}

/// Removes the files of pods without a record, such as one whose record is damaged. A failure is logged: such files
/// cost space and nothing else.
fn remove_stale_files(pod_files: &Path, keep: impl Fn(&str) -> bool) {
    let Ok(entries) = std::fs::read_dir(pod_files) else { return };
    for entry in entries.filter_map(Result::ok) {
        if !keep(&entry.file_name().to_string_lossy())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "could not remove the files of an unknown pod");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::LookupError;
    use crate::state::key_of;

    fn sandbox(name: &str, id: &str, phase: Phase) -> SandboxRecord {
        let record = SandboxRecord::creating(name.to_owned(), 1, Default::default());
        SandboxRecord { id: id.to_owned(), phase, ..record }
    }

    #[tokio::test]
    async fn a_restart_indexes_finished_objects_and_returns_unfinished_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.sandboxes.save(&sandbox("done", "aa1", Phase::Live)).await.unwrap();
        store.sandboxes.save(&sandbox("half", "", Phase::Creating)).await.unwrap();
        let (store, half) = Store::open(dir.path()).unwrap();
        assert_eq!(store.index().sandboxes.list().len(), 1);
        assert_eq!(half.sandboxes[0].name, "half");
    }

    #[tokio::test]
    async fn files_of_a_pod_without_a_record_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let half = sandbox("half", "", Phase::Creating);
        store.sandboxes.save(&half).await.unwrap();
        let (kept, stray) = (store.pod_files(&half.key), store.pod_files(&key_of("stray")));
        let others = store.pod_files("ssl");
        for files in [&kept, &stray, &others] {
            std::fs::create_dir_all(files).unwrap();
            std::fs::write(files.join("hosts"), "").unwrap();
        }
        Store::open(dir.path()).unwrap();
        assert_eq!([&kept, &stray, &others].map(|files| files.exists()), [true, false, true]);
    }

    #[tokio::test]
    async fn an_id_prefix_is_enough_if_it_is_unique() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        for (name, id) in [("a", "aa1"), ("b", "aa2"), ("c", "b")] {
            store.sandboxes.insert(Sandbox::new(sandbox(name, id, Phase::Live), Process::Created));
        }
        let find =
            |id: &str| store.index().sandboxes.find(id).map(|found| found.map(|sandbox| sandbox.record.id.clone()));
        assert_eq!(find("b"), Ok(Some("b".to_owned())));
        assert!(matches!(find("aa"), Err(LookupError::Ambiguous { .. })));
        assert_eq!(find(""), Ok(None));
        assert_eq!(find("c"), Ok(None));
    }
}
