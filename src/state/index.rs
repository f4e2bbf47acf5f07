//! The index for reading: every live record with the state of its process, in memory.
//!
//! A reader takes the lock only to clone an [`Arc`], so readers never wait for disk or Docker, nor make the writer wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::disk::Error;
use super::feed::Changes;
use super::feed::Feed;
use super::feed::FeedCounts;
use super::object::Container;
use super::object::Kind;
use super::object::Object;
use super::object::Sandbox;
use super::record::Record;

/// An id that does not stand for exactly one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No object has this id, or one that begins with it.
    #[error("{kind} {id:?} does not exist")]
    NotFound {
        /// What was looked up.
        kind: Kind,
        /// As the client sent it.
        id: String,
    },
    /// The id is the prefix of several.
    #[error("more than one {kind} has an id that begins with {id:?}")]
    Ambiguous {
        /// What was looked up.
        kind: Kind,
        /// As the client sent it.
        id: String,
    },
}

/// All objects, by id.
pub(super) type Objects<T> = HashMap<String, Arc<T>>;

/// The objects of one kind, for reading. Clones are cheap and see every change at once.
#[derive(Debug)]
pub(crate) struct Reader<T> {
    objects: Arc<RwLock<Objects<T>>>,
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Reader<T> {
        Reader { objects: Arc::clone(&self.objects) }
    }
}

impl<T: Object> Reader<T> {
    pub(super) fn new(objects: Arc<RwLock<Objects<T>>>) -> Reader<T> {
        Reader { objects }
    }

    /// All objects, the oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<T>> {
        let mut all: Vec<_> = self.objects.read().values().cloned().collect();
        all.sort_unstable_by_key(|object| object.record().created_at());
        all
    }

    /// The object with exactly this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<T>> {
        self.objects.read().get(id).cloned()
    }

    /// Whether an object has exactly this id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.objects.read().contains_key(id)
    }

    /// The object whose record has this key.
    pub(crate) fn by_key(&self, key: &str) -> Option<Arc<T>> {
        self.objects.read().values().find(|object| object.record().key() == key).cloned()
    }

    /// The object with this id or, if `id` is shorter, the only one whose id begins with it; `None` if there is none.
    ///
    /// # Errors
    /// [`LookupError::Ambiguous`] if several ids begin with `id`.
    pub(crate) fn find(&self, id: &str) -> Result<Option<Arc<T>>, LookupError> {
        let objects = self.objects.read();
        if let Some(exact) = objects.get(id) {
            return Ok(Some(Arc::clone(exact)));
        }
        if id.is_empty() {
            return Ok(None);
        }
        let mut matches = objects.iter().filter(|(full, _)| full.starts_with(id)).map(|(_, object)| object);
        match (matches.next(), matches.next()) {
            (first, None) => Ok(first.cloned()),
            (_, Some(_)) => Err(LookupError::Ambiguous { kind: T::KIND, id: id.to_owned() }),
        }
    }

    /// The objects that the `id` of a CRI filter selects: all if it is empty, otherwise as [`Reader::find`].
    ///
    /// # Errors
    /// [`LookupError::Ambiguous`] if several ids begin with `id`.
    pub(crate) fn select(&self, id: &str) -> Result<Vec<Arc<T>>, LookupError> {
        if id.is_empty() { Ok(self.list()) } else { Ok(self.find(id)?.into_iter().collect()) }
    }

    /// As [`Reader::find`], for an object that has to exist.
    ///
    /// # Errors
    /// Also [`LookupError::NotFound`].
    pub(crate) fn require(&self, id: &str) -> Result<Arc<T>, LookupError> {
        self.find(id)?.ok_or_else(|| LookupError::NotFound { kind: T::KIND, id: id.to_owned() })
    }
}

/// Sandboxes and containers, for reading. Clones are cheap and see every change at once.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// The pod sandboxes.
    pub sandboxes: Reader<Sandbox>,
    /// The containers of all sandboxes.
    pub containers: Reader<Container>,
    feed: Feed,
    synced: Arc<AtomicBool>,
}

impl Index {
    pub(super) fn new(
        sandboxes: Reader<Sandbox>,
        containers: Reader<Container>,
        feed: Feed,
        synced: Arc<AtomicBool>,
    ) -> Index {
        Index { sandboxes, containers, feed, synced }
    }

    /// The containers of one sandbox, the oldest first.
    pub(crate) fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        let mut own = self.containers.list();
        own.retain(|container| container.record.sandbox_id == sandbox_id);
        own
    }

    /// Whether a container or a sandbox has exactly this id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.containers.contains(id) || self.sandboxes.contains(id)
    }

    /// The changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        self.feed.subscribe()
    }

    /// Counts of the change feed, for metrics.
    pub(crate) fn feed_counts(&self) -> FeedCounts {
        self.feed.counts()
    }

    /// Whether the index was reconciled with Docker since Dockside started. Before, every process has the state
    /// created, and a list would make a client believe that its pods do not run.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Refuses an answer from an index that is not synced.
    ///
    /// # Errors
    /// [`Error::NotSynced`]
    pub(crate) fn require_synced(&self) -> Result<(), Error> {
        if self.is_synced() { Ok(()) } else { Err(Error::NotSynced) }
    }
}
