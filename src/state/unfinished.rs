//! Records of objects that were begun and neither finished nor undone: Dockside was killed, or Docker went away, in
//! the middle of a verb.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::record::Record;

/// Unfinished objects of one kind, by key. They are not in the index.
#[derive(Debug)]
pub(crate) struct Unfinished<R>(Mutex<HashMap<String, R>>);

impl<R: Record> Unfinished<R> {
    /// Begins with the records of an earlier process.
    pub(crate) fn new(records: Vec<R>) -> Unfinished<R> {
        Unfinished(Mutex::new(records.into_iter().map(|record| (record.key().to_owned(), record)).collect()))
    }

    /// The unfinished object with this key.
    pub(crate) fn get(&self, key: &str) -> Option<R> {
        self.0.lock().get(key).cloned()
    }

    /// Adds an object, or replaces it.
    pub(crate) fn insert(&self, record: R) {
        self.0.lock().insert(record.key().to_owned(), record);
    }

    /// Removes an object that was undone; an unknown key is ignored.
    pub(crate) fn remove(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// The keys of all unfinished objects.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }

    /// The unfinished objects that match `predicate`.
    pub(crate) fn filter(&self, predicate: impl Fn(&R) -> bool) -> Vec<R> {
        self.0.lock().values().filter(|record| predicate(record)).cloned().collect()
    }
}
