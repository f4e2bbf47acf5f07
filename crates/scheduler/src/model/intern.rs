//! One copy of values that many objects share: strings and pod shapes.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pod::Shape;

/// Interns strings and shapes that are in use. May be shared by several decoders.
#[derive(Debug, Default)]
pub(crate) struct Intern {
    strings: Mutex<Pool<str>>,
    shapes: Mutex<Pool<Shape>>,
}

impl Intern {
    /// The shared copy of a string.
    pub(crate) fn str(&self, text: &str) -> Arc<str> {
        let mut strings = self.strings.lock();
        if let Some(known) = strings.known.get(text) {
            return known.clone();
        }
        strings.keep(Arc::from(text))
    }

    /// The shared copy of a shape.
    pub(crate) fn shape(&self, shape: Shape) -> Arc<Shape> {
        let mut shapes = self.shapes.lock();
        if let Some(known) = shapes.known.get(&shape) {
            return known.clone();
        }
        shapes.keep(Arc::new(shape))
    }
}

/// A pool below this size is not swept.
const FIRST_SWEEP: usize = 1024;

#[derive(Debug)]
struct Pool<T: ?Sized> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Pool { known: HashSet::new(), sweep_at: FIRST_SWEEP }
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// Adds a value. Whenever the pool has doubled, values used nowhere else are dropped, so that names that come and
    /// go do not accumulate.
    fn keep(&mut self, one: Arc<T>) -> Arc<T> {
        self.known.insert(one.clone());
        if self.known.len() >= self.sweep_at {
            self.known.retain(|kept| Arc::strong_count(kept) > 1);
            self.sweep_at = FIRST_SWEEP.max(self.known.len() * 2);
        }
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_and_shapes_are_the_same() {
        let intern = Intern::default();
        assert!(Arc::ptr_eq(&intern.str("zone"), &intern.str("zone")));
        let shape = || Shape { priority: 7, ..Shape::default() };
        assert!(Arc::ptr_eq(&intern.shape(shape()), &intern.shape(shape())));
        assert!(!Arc::ptr_eq(&intern.shape(shape()), &intern.shape(Shape::default())));
    }

    #[test]
    fn values_used_nowhere_else_are_dropped() {
        let intern = Intern::default();
        let kept = intern.str("kept");
        for number in 0..10 * FIRST_SWEEP {
            intern.str(&format!("name-{number}"));
        }
        assert!(intern.strings.lock().known.len() <= FIRST_SWEEP);
        assert!(Arc::ptr_eq(&kept, &intern.str("kept")));
    }
}
