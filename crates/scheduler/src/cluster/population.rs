//! Equal pods, counted together.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use super::NodeId;
use crate::model::Pod;
use crate::model::Shape;

/// All pods of one shape.
#[derive(Debug)]
pub(crate) struct Population {
    /// What they have in common.
    pub(crate) shape: Arc<Shape>,
    /// Their number by node. No count is zero.
    pub(crate) on: HashMap<NodeId, Count>,
}

/// A number of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// All of them.
    pub(crate) all: i64,
    /// Those that are terminating.
    pub(crate) terminating: i64,
}

impl Count {
    /// Those that are not terminating.
    pub(crate) fn not_terminating(self) -> i64 {
        self.all - self.terminating
    }

    fn change(&mut self, pod: &Pod, by: i64) {
        self.all += by;
        self.terminating += if pod.terminating { by } else { 0 };
    }
}

/// A shape's address. Shapes are interned, and a population keeps its shape alive.
type Key = usize;

fn key(shape: &Arc<Shape>) -> Key {
    Arc::as_ptr(shape).addr()
}

/// All populations of a cluster.
#[derive(Debug, Default)]
pub(super) struct Populations {
    all: HashMap<Key, Population>,
    with_anti_affinity: HashSet<Key>,
    with_pod_terms: HashSet<Key>,
}

impl Populations {
    pub(super) fn add(&mut self, pod: &Arc<Pod>, node: NodeId) {
        let key = key(&pod.shape);
        let population = self.all.entry(key).or_insert_with(|| {
            if !pod.shape.anti_affinity.is_empty() {
                self.with_anti_affinity.insert(key);
            }
            if pod.shape.has_pod_terms() {
                self.with_pod_terms.insert(key);
            }
            Population { shape: pod.shape.clone(), on: HashMap::new() }
        });
        population.on.entry(node).or_default().change(pod, 1);
    }

    pub(super) fn remove(&mut self, pod: &Arc<Pod>, node: NodeId) {
        let key = key(&pod.shape);
        let Some(population) = self.all.get_mut(&key) else { return };
        if let Some(count) = population.on.get_mut(&node) {
            count.change(pod, -1);
            if count.all == 0 {
                population.on.remove(&node);
            }
        }
        if population.on.is_empty() {
            self.all.remove(&key);
            self.with_anti_affinity.remove(&key);
            self.with_pod_terms.remove(&key);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Population> {
        self.all.values()
    }

    pub(super) fn with_anti_affinity(&self) -> impl Iterator<Item = &Population> {
        self.with_anti_affinity.iter().filter_map(|key| self.all.get(key))
    }

    pub(super) fn with_pod_terms(&self) -> impl Iterator<Item = &Population> {
        self.with_pod_terms.iter().filter_map(|key| self.all.get(key))
    }
}
