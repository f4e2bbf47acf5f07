//! The one handle that changes the objects of one kind: their files, the index and the change feed.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

use super::disk::Directory;
use super::disk::Error;
use super::feed::ChangeKind;
use super::feed::Feed;
use super::index::Objects;
use super::index::Reader;
use super::object::Object;
use super::process::Process;
use super::record::Record;

/// Changes the objects of one kind. A verb saves a record first, calls Docker, and then changes the index.
#[derive(Debug)]
pub(crate) struct Writer<T> {
    directory: Directory,
    /// A directory with further files of each object, in a subdirectory named by its key.
    files: Option<PathBuf>,
    objects: Arc<RwLock<Objects<T>>>,
    feed: Feed,
}

impl<T: Object> Writer<T> {
    pub(super) fn new(directory: Directory, files: Option<PathBuf>, feed: Feed) -> Writer<T> {
        Writer { directory, files, objects: Arc::new(RwLock::new(HashMap::new())), feed }
    }

    /// For reading.
    pub(crate) fn reader(&self) -> Reader<T> {
        Reader::new(Arc::clone(&self.objects))
    }

    /// Writes a record to disk and flushes it. The index is not touched.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) async fn save(&self, record: &T::Record) -> Result<(), Error> {
        self.directory.write(record.key(), record).await
    }

    /// As [`Writer::save`] without the flush: it survives a kill of this process, but not a crash of the machine.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) async fn save_unflushed(&self, record: &T::Record) -> Result<(), Error> {
        self.directory.write_unflushed(record.key(), record).await
    }

    /// Whether a record with this key exists: in the index, unfinished, or written by a newer Dockside.
    pub(crate) fn has_record(&self, key: &str) -> bool {
        self.reader().by_key(key).is_some() || self.directory.has(key)
    }

    /// Adds an object to the index, or replaces it there. Only an object that is new is announced in the change feed.
    pub(crate) fn insert(&self, object: T) {
        let mut objects = self.objects.write();
        let object = Arc::new(object);
        let id = object.record().id();
        if objects.insert(id.to_owned(), Arc::clone(&object)).is_none() {
            self.feed.publish(id, object.sandbox_id(), ChangeKind::Created);
            self.publish_process(&object, &Process::Created);
        }
    }

    /// Replaces one object by what `change` makes of it; an unknown id is ignored.
    pub(crate) fn update(&self, id: &str, change: impl FnOnce(&mut T)) {
        // Published with the lock held, so that subscribers get changes in the order in which they were made.
        if let Some(object) = self.objects.write().get_mut(id) {
            let before = object.process().clone();
            change(Arc::make_mut(object));
            self.publish_process(object, &before);
        }
    }

    /// Removes an object's files, then the object from the index.
    ///
    /// # Errors
    /// If a file cannot be removed; then the index keeps the object.
    pub(crate) async fn remove(&self, record: &T::Record) -> Result<(), Error> {
        if let Some(files) = &self.files {
            remove_directory(files.join(record.key())).await?;
        }
        self.directory.remove(record.key()).await?;
        let mut objects = self.objects.write();
        if let Some(object) = objects.remove(record.id()) {
            self.feed.publish(record.id(), object.sandbox_id(), ChangeKind::Deleted);
        }
        Ok(())
    }

    fn publish_process(&self, object: &T, before: &Process) {
        let after = object.process();
        let publish = |kind| self.feed.publish(object.record().id(), object.sandbox_id(), kind);
        if after.is_running() && !before.is_running() {
            publish(ChangeKind::Started);
        }
        if after.exit().is_some() && before.exit().is_none() {
            publish(ChangeKind::Stopped);
        }
    }
}

/// Removes a directory and everything in it; one that is missing is fine.
async fn remove_directory(path: PathBuf) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(&path).await {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { doing: "remove the directory", path, source })
        }
        _ => Ok(()),
    }
}
