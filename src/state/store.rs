//! The index: every record with what its process does, in memory, behind one short lock.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::disk::Directory;
use super::disk::Error;
use super::feed::ChangeKind;
use super::feed::Changes;
use super::feed::Feed;
use super::feed::FeedCounts;
use super::locks::Guard;
use super::locks::Locks;
use super::process::Process;
use super::record::ContainerRecord;
use super::record::Phase;
use super::record::SandboxRecord;
use super::record::is_key;

/// A sandbox as clients see it. A value never changes; the store swaps in a new one.
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub record: SandboxRecord,
    /// The pause container's process.
    pub process: Process,
    /// Somebody is stopping it: nothing new is begun in it.
    pub stopping: bool,
}

impl Sandbox {
    /// A sandbox that nobody is stopping.
    pub fn new(record: SandboxRecord, process: Process) -> Sandbox {
        Sandbox { record, process, stopping: false }
    }

    /// READY in the sense of the CRI: wholly made, its pause process runs, and it has its network.
    pub fn is_ready(&self) -> bool {
        let released = self.record.network.as_ref().is_some_and(|network| network.released);
        self.record.phase == Phase::Live && self.process.is_running() && !released
    }
}

/// What an earlier process left unfinished.
#[derive(Debug, Default)]
pub struct HalfMadeAtStart {
    pub sandboxes: Vec<SandboxRecord>,
    pub containers: Vec<ContainerRecord>,
    /// Keys of records that cannot be read: what they were about has to go, as nobody can answer for it.
    pub damaged: HashSet<String>,
}

/// A container as clients see it.
#[derive(Debug, Clone)]
pub struct Container {
    pub record: ContainerRecord,
    pub process: Process,
    /// Docker did not say what became of it, and may be starting it: nobody can rely on that it does not run.
    pub unsettled: bool,
}

impl Container {
    /// A container that Docker has told of.
    pub fn new(record: ContainerRecord, process: Process) -> Container {
        Container { record, process, unsettled: false }
    }
}

/// What an id or the beginning of one stands for.
#[derive(Debug)]
pub enum Resolved<T> {
    One(Arc<T>),
    None,
    /// More than one object begins like this.
    Ambiguous,
}

/// The file with the node's pod CIDR.
const POD_CIDR: &str = "pod-cidr";

/// The directory with the files of each pod.
const POD_FILES: &str = "etc";

/// See the module's documentation.
#[derive(Debug)]
pub struct Store {
    pod_files: PathBuf,
    settings: Directory,
    sandbox_files: Directory,
    container_files: Directory,
    sandboxes: RwLock<HashMap<String, Arc<Sandbox>>>,
    containers: RwLock<HashMap<String, Arc<Container>>>,
    locks: Locks,
    feed: Feed,
    is_true: AtomicBool,
}

impl Store {
    /// Opens the records under `directory`. Objects that were made enter the index, with processes not known yet (see
    /// [`Store::is_true`]); what else is there is returned for the caller to undo.
    ///
    /// # Errors
    /// When the directories cannot be made or read. A damaged record is not an error.
    pub fn open(directory: &Path) -> Result<(Store, HalfMadeAtStart), Error> {
        let sandbox_files = Directory::open(directory.join("sandboxes"))?;
        let container_files = Directory::open(directory.join("containers"))?;
        let (sandboxes, damaged_sandboxes) = sandbox_files.read_all::<SandboxRecord>()?;
        let (containers, damaged_containers) = container_files.read_all::<ContainerRecord>()?;
        let (sandboxes, half_sandboxes): (Vec<_>, Vec<_>) =
            sandboxes.into_iter().partition(|record| record.phase != Phase::Creating);
        let (containers, half_containers): (Vec<_>, Vec<_>) =
            containers.into_iter().partition(|record| record.phase != Phase::Creating);
        let absolute = std::path::absolute(directory).map_err(|source| Error::Io {
            doing: "find the directory",
            path: directory.to_owned(),
            source,
        })?;
        let pod_files = absolute.join(POD_FILES);
        remove_strays(&pod_files, |key| !is_key(key) || sandbox_files.has(key));
        let store = Store {
            pod_files,
            settings: Directory::open(directory.to_owned())?,
            sandbox_files,
            container_files,
            sandboxes: RwLock::default(),
            containers: RwLock::default(),
            locks: Locks::default(),
            feed: Feed::new(),
            is_true: AtomicBool::new(false),
        };
        for record in sandboxes {
            store.put_sandbox(Sandbox::new(record, Process::Created));
        }
        for record in containers {
            store.put_container(Container::new(record, Process::Created));
        }
        let damaged = damaged_sandboxes.into_iter().chain(damaged_containers).collect();
        Ok((store, HalfMadeAtStart { sandboxes: half_sandboxes, containers: half_containers, damaged }))
    }

    /// Waits for the lock of the object with this key.
    pub async fn lock(&self, key: &str) -> Guard {
        self.locks.lock(key).await
    }

    /// Takes the lock of the object with this key if no verb holds it.
    pub fn try_lock(&self, key: &str) -> Option<Guard> {
        self.locks.try_lock(key)
    }

    // --- sandboxes ---

    /// Writes a sandbox's record to disk. The index is not touched.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn write_sandbox(&self, record: &SandboxRecord) -> Result<(), Error> {
        self.sandbox_files.write(&record.key, record).await
    }

    /// As [`Store::write_sandbox`], for what outlives this process, but need not outlive the machine.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn note_sandbox(&self, record: &SandboxRecord) -> Result<(), Error> {
        self.sandbox_files.note(&record.key, record).await
    }

    /// Where the files are that the containers of the sandbox with this key see. They go with its record.
    pub fn pod_files(&self, key: &str) -> PathBuf {
        self.pod_files.join(key)
    }

    /// Removes a sandbox's record from disk and index, and its files.
    ///
    /// # Errors
    /// When a file cannot be removed; then the index keeps the sandbox.
    pub async fn forget_sandbox(&self, record: &SandboxRecord) -> Result<(), Error> {
        remove_all(self.pod_files(&record.key)).await?;
        self.sandbox_files.remove(&record.key).await?;
        let mut sandboxes = self.sandboxes.write();
        if sandboxes.remove(&record.id).is_some() {
            self.feed.tell(&record.id, &record.id, ChangeKind::Deleted);
        }
        Ok(())
    }

    /// Puts a sandbox into the index, or replaces it there.
    pub fn put_sandbox(&self, sandbox: Sandbox) {
        let mut sandboxes = self.sandboxes.write();
        let (id, process) = (sandbox.record.id.clone(), sandbox.process.clone());
        if sandboxes.insert(id.clone(), Arc::new(sandbox)).is_none() {
            self.feed.tell(&id, &id, ChangeKind::Created);
            self.tell_process(&id, &id, &Process::Created, &process);
        }
    }

    /// Replaces one sandbox by what `change` makes of it; nothing happens when it is gone.
    pub fn change_sandbox(&self, id: &str, change: impl FnOnce(&mut Sandbox)) {
        // Told while the lock is held, so that nobody hears of two changes in the wrong order.
        if let Some(sandbox) = self.sandboxes.write().get_mut(id) {
            let before = sandbox.process.clone();
            change(Arc::make_mut(sandbox));
            self.tell_process(id, id, &before, &sandbox.process);
        }
    }

    /// All sandboxes, the oldest first.
    pub fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        let mut all: Vec<_> = self.sandboxes.read().values().cloned().collect();
        all.sort_unstable_by_key(|sandbox| sandbox.record.created_at);
        all
    }

    /// The sandbox with exactly this id.
    pub fn sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.sandboxes.read().get(id).cloned()
    }

    /// The sandbox whose id this is or begins with.
    pub fn resolve_sandbox(&self, id: &str) -> Resolved<Sandbox> {
        resolve(&self.sandboxes.read(), id)
    }

    /// The sandbox whose record has this key.
    pub fn sandbox_by_key(&self, key: &str) -> Option<Arc<Sandbox>> {
        self.sandboxes.read().values().find(|s| s.record.key == key).cloned()
    }

    /// Whether there is a record of a sandbox with this key: made, half-made, or written by a newer Dockside.
    pub fn has_sandbox_record(&self, key: &str) -> bool {
        self.sandbox_by_key(key).is_some() || self.sandbox_files.has(key)
    }

    // --- containers ---

    /// Writes a container's record to disk. The index is not touched.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn write_container(&self, record: &ContainerRecord) -> Result<(), Error> {
        self.container_files.write(&record.key, record).await
    }

    /// Removes a container's record from disk and index.
    ///
    /// # Errors
    /// When the file cannot be removed; then the index keeps the container.
    pub async fn forget_container(&self, record: &ContainerRecord) -> Result<(), Error> {
        self.container_files.remove(&record.key).await?;
        let mut containers = self.containers.write();
        if containers.remove(&record.id).is_some() {
            self.feed.tell(&record.id, &record.sandbox_id, ChangeKind::Deleted);
        }
        Ok(())
    }

    /// Puts a container into the index, or replaces it there.
    pub fn put_container(&self, container: Container) {
        let mut containers = self.containers.write();
        let record = &container.record;
        let (id, sandbox_id, process) = (record.id.clone(), record.sandbox_id.clone(), container.process.clone());
        if containers.insert(id.clone(), Arc::new(container)).is_none() {
            self.feed.tell(&id, &sandbox_id, ChangeKind::Created);
            self.tell_process(&id, &sandbox_id, &Process::Created, &process);
        }
    }

    /// Replaces one container by what `change` makes of it; nothing happens when it is gone.
    pub fn change_container(&self, id: &str, change: impl FnOnce(&mut Container)) {
        if let Some(container) = self.containers.write().get_mut(id) {
            let before = container.process.clone();
            change(Arc::make_mut(container));
            self.tell_process(id, &container.record.sandbox_id, &before, &container.process);
        }
    }

    /// Records whether Docker has told what became of a container.
    pub fn set_unsettled(&self, id: &str, unsettled: bool) {
        if self.container(id).is_some_and(|container| container.unsettled != unsettled) {
            self.change_container(id, |container| container.unsettled = unsettled);
        }
    }

    /// All containers, the oldest first.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self.containers.read().values().cloned().collect();
        all.sort_unstable_by_key(|container| container.record.created_at);
        all
    }

    /// The containers of one sandbox, the oldest first.
    pub fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        let mut own = self.containers();
        own.retain(|container| container.record.sandbox_id == sandbox_id);
        own
    }

    /// The container with exactly this id.
    pub fn container(&self, id: &str) -> Option<Arc<Container>> {
        self.containers.read().get(id).cloned()
    }

    /// The container whose id this is or begins with.
    pub fn resolve_container(&self, id: &str) -> Resolved<Container> {
        resolve(&self.containers.read(), id)
    }

    /// The container whose record has this key.
    pub fn container_by_key(&self, key: &str) -> Option<Arc<Container>> {
        self.containers.read().values().find(|c| c.record.key == key).cloned()
    }

    // --- both ---

    /// The changes from now on.
    pub fn changes(&self) -> Changes {
        self.feed.subscribe()
    }

    /// How the change feed does.
    pub fn feed_counts(&self) -> FeedCounts {
        self.feed.counts()
    }

    fn tell_process(&self, id: &str, sandbox_id: &str, before: &Process, after: &Process) {
        if after.is_running() && !before.is_running() {
            self.feed.tell(id, sandbox_id, ChangeKind::Started);
        }
        if after.exit().is_some() && before.exit().is_none() {
            self.feed.tell(id, sandbox_id, ChangeKind::Stopped);
        }
    }

    /// The pod CIDR that [`Store::remember_pod_cidr`] kept: a kubelet tells it once, not after each restart of ours.
    pub fn pod_cidr(&self) -> Option<String> {
        self.settings.read(POD_CIDR)
    }

    /// Keeps the node's pod CIDR.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn remember_pod_cidr(&self, cidr: &str) -> Result<(), Error> {
        self.settings.write(POD_CIDR, &cidr).await
    }

    /// Replaces what is known of the process `id`, be it a container's or a sandbox's.
    pub fn change_process(&self, id: &str, change: impl Fn(&Process) -> Process) {
        self.change_container(id, |container| container.process = change(&container.process));
        self.change_sandbox(id, |sandbox| sandbox.process = change(&sandbox.process));
    }

    /// Whether the processes were learnt from Docker since the start. Before, a list would tell a client that its
    /// pods do not run.
    pub fn is_true(&self) -> bool {
        self.is_true.load(Ordering::Acquire)
    }

    /// Refuses an answer that would not be true.
    ///
    /// # Errors
    /// [`Error::NotTrueYet`] before the processes were learnt from Docker.
    pub fn require_true(&self) -> Result<(), Error> {
        if self.is_true() { Ok(()) } else { Err(Error::NotTrueYet) }
    }

    /// Records that every process was learnt from Docker.
    pub fn set_true(&self) {
        self.is_true.store(true, Ordering::Release);
    }

    /// Whether a container or a sandbox has exactly this id.
    pub fn knows(&self, id: &str) -> bool {
        self.containers.read().contains_key(id) || self.sandboxes.read().contains_key(id)
    }
}

/// Removes a directory with all in it; one that is gone already is fine.
async fn remove_all(path: PathBuf) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(&path).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { doing: "remove the directory", path, source })
        }
        _ => Ok(()),
    }
}

/// Removes the files of pods that have no record, such as one that is damaged: nobody else would. What cannot be removed
/// harms nobody.
fn remove_strays(pod_files: &Path, wanted: impl Fn(&str) -> bool) {
    let Ok(entries) = std::fs::read_dir(pod_files) else { return };
    for entry in entries.filter_map(Result::ok) {
        if !wanted(&entry.file_name().to_string_lossy())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "could not remove the files of an unknown pod");
        }
    }
}

fn resolve<T>(all: &HashMap<String, Arc<T>>, id: &str) -> Resolved<T> {
    if let Some(exact) = all.get(id) {
        return Resolved::One(Arc::clone(exact));
    }
    if id.is_empty() {
        return Resolved::None;
    }
    let mut matches = all.iter().filter(|(full, _)| full.starts_with(id)).map(|(_, object)| object);
    match (matches.next(), matches.next()) {
        (Some(one), None) => Resolved::One(Arc::clone(one)),
        (None, _) => Resolved::None,
        (Some(_), Some(_)) => Resolved::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::record::VERSION;
    use crate::state::record::key_of;

    fn sandbox(name: &str, id: &str, phase: Phase) -> SandboxRecord {
        SandboxRecord {
            version: VERSION,
            key: key_of(name),
            name: name.into(),
            id: id.into(),
            phase,
            created_at: 1,
            runtime_handler: String::new(),
            netns: None,
            network: None,
            config: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_restart_finds_what_was_made_and_hands_back_what_was_half_made() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.write_sandbox(&sandbox("done", "aa1", Phase::Live)).await.unwrap();
        store.write_sandbox(&sandbox("half", "", Phase::Creating)).await.unwrap();
        let (store, half) = Store::open(dir.path()).unwrap();
        assert_eq!(store.sandboxes().len(), 1);
        assert_eq!(half.sandboxes[0].name, "half");
    }

    #[tokio::test]
    async fn files_of_a_pod_without_a_record_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let half = sandbox("half", "", Phase::Creating);
        store.write_sandbox(&half).await.unwrap();
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
    async fn the_beginning_of_an_id_is_enough_when_it_is_unique() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        for (name, id) in [("a", "aa1"), ("b", "aa2"), ("c", "b")] {
            store.put_sandbox(Sandbox::new(sandbox(name, id, Phase::Live), Process::Created));
        }
        assert!(matches!(store.resolve_sandbox("b"), Resolved::One(_)));
        assert!(matches!(store.resolve_sandbox("aa"), Resolved::Ambiguous));
        assert!(matches!(store.resolve_sandbox(""), Resolved::None));
        assert!(matches!(store.resolve_sandbox("c"), Resolved::None));
    }
}
