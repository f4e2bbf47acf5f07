//! Amounts of resources.

use std::sync::Arc;

/// Amounts of extended resources and huge pages, sorted by name.
pub(crate) type Named = Vec<(Arc<str>, i64)>;

/// What a pod requests, or what a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Resources {
    /// In millicores.
    pub(crate) cpu: i64,
    /// In bytes.
    pub(crate) memory: i64,
    /// Local disk space, in bytes.
    pub(crate) ephemeral_storage: i64,
    /// Everything else.
    pub(crate) named: Named,
}

impl Resources {
    /// The amount of a resource in `named`.
    pub(crate) fn get(&self, name: &str) -> i64 {
        self.named.binary_search_by(|(known, _)| (**known).cmp(name)).map_or(0, |at| self.named[at].1)
    }
}

/// A sum that stays exact at any size: removing a pod subtracts exactly what it added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total(i128);

impl Total {
    /// Adds an amount.
    pub(crate) fn add(&mut self, amount: i64) {
        self.0 += i128::from(amount);
    }

    /// Subtracts what [`Total::add`] has added.
    pub(crate) fn remove(&mut self, amount: i64) {
        self.0 -= i128::from(amount);
    }

    /// The sum, or the largest i64 if it is larger, which is more than any node offers.
    pub(crate) fn get(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// The sum of several pods' requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// In millicores.
    pub(crate) cpu: Total,
    /// In bytes.
    pub(crate) memory: Total,
    /// In bytes.
    pub(crate) ephemeral_storage: Total,
    named: Vec<(Arc<str>, Total)>,
}

impl Totals {
    /// The sum of a resource other than these three.
    pub(crate) fn get(&self, name: &str) -> i64 {
        self.named.binary_search_by(|(known, _)| (**known).cmp(name)).map_or(0, |at| self.named[at].1.get())
    }

    /// Adds a pod's requests.
    pub(crate) fn add(&mut self, more: &Resources) {
        self.change(more, Total::add);
    }

    /// Subtracts what [`Totals::add`] has added.
    pub(crate) fn remove(&mut self, less: &Resources) {
        self.change(less, Total::remove);
    }

    fn change(&mut self, by: &Resources, change: impl Fn(&mut Total, i64)) {
        change(&mut self.cpu, by.cpu);
        change(&mut self.memory, by.memory);
        change(&mut self.ephemeral_storage, by.ephemeral_storage);
        for (name, amount) in &by.named {
            let at = self.named.binary_search_by(|(known, _)| known.cmp(name)).unwrap_or_else(|at| {
                self.named.insert(at, (name.clone(), Total::default()));
                at
            });
            change(&mut self.named[at].1, *amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(memory: i64, gpus: i64) -> Resources {
        Resources { cpu: 100, memory, ephemeral_storage: 1, named: vec![(Arc::from("gpu/x"), gpus)] }
    }

    fn shown(totals: &Totals) -> (i64, i64, i64, i64) {
        (totals.cpu.get(), totals.memory.get(), totals.ephemeral_storage.get(), totals.get("gpu/x"))
    }

    #[test]
    fn what_is_added_and_removed_leaves_nothing() {
        let mut sum = Totals::default();
        sum.add(&asks(5, 2));
        sum.add(&asks(5, 2));
        assert_eq!((shown(&sum), sum.get("gpu/y")), ((200, 10, 2, 4), 0));
        sum.remove(&asks(5, 2));
        sum.remove(&asks(5, 2));
        assert_eq!(shown(&sum), (0, 0, 0, 0));
    }

    #[test]
    fn huge_amounts_do_not_distort_the_sum() {
        let mut sum = Totals::default();
        sum.add(&asks(5, 2));
        for _ in 0..3 {
            sum.add(&asks(i64::MAX, i64::MAX));
        }
        assert_eq!((sum.memory.get(), sum.get("gpu/x")), (i64::MAX, i64::MAX));
        for _ in 0..3 {
            sum.remove(&asks(i64::MAX, i64::MAX));
        }
        assert_eq!(shown(&sum), (100, 5, 1, 2));
    }
}
