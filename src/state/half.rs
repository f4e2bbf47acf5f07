//! Objects that were begun and neither finished nor undone: the process was killed, or Docker went away in the middle.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Half-made objects, by key.
#[derive(Debug)]
pub struct HalfMade<R>(Mutex<HashMap<String, R>>);

impl<R: Clone> HalfMade<R> {
    pub fn new(records: impl IntoIterator<Item = (String, R)>) -> HalfMade<R> {
        HalfMade(Mutex::new(records.into_iter().collect()))
    }

    pub fn get(&self, key: &str) -> Option<R> {
        self.0.lock().get(key).cloned()
    }

    pub fn insert(&self, key: String, record: R) {
        self.0.lock().insert(key, record);
    }

    pub fn remove(&self, key: &str) {
        self.0.lock().remove(key);
    }

    pub fn keys(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }

    /// Those that `wanted` picks.
    pub fn find(&self, wanted: impl Fn(&R) -> bool) -> Vec<R> {
        self.0.lock().values().filter(|record| wanted(record)).cloned().collect()
    }
}
