//! One lock per object: verbs on the same object run one after the other, on different objects concurrently.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::OwnedMutexGuard;

/// Holds an object's lock until it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    locks: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
    key: String,
    held: Option<OwnedMutexGuard<()>>,
}

/// All locks, by object key. An entry exists only while its lock is held or awaited.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locks: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
}

impl Locks {
    pub(super) async fn lock(&self, key: &str) -> Guard {
        let lock = Arc::clone(self.locks.lock().entry(key.to_owned()).or_default());
        self.guard(key, lock.lock_owned().await)
    }

    /// Takes the lock only if it is free.
    pub(super) fn try_lock(&self, key: &str) -> Option<Guard> {
        let lock = Arc::clone(self.locks.lock().entry(key.to_owned()).or_default());
        lock.try_lock_owned().ok().map(|held| self.guard(key, held))
    }

    fn guard(&self, key: &str, held: OwnedMutexGuard<()>) -> Guard {
        Guard { locks: Arc::clone(&self.locks), key: key.to_owned(), held: Some(held) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut locks = self.locks.lock();
        self.held = None;
        // Only the map's own reference is left: the lock is neither held nor awaited.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_lock_is_not_taken_twice_and_leaves_nothing_behind() {
        let locks = Locks::default();
        let guard = locks.lock("a").await;
        assert!(locks.try_lock("a").is_none());
        assert!(locks.try_lock("b").is_some());
        drop(guard);
        assert!(locks.try_lock("a").is_some());
        assert!(locks.locks.lock().is_empty());
    }
}
