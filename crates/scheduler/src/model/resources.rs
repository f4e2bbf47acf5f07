//! Amounts of what a node has and a pod asks for.

use std::sync::Arc;

/// Resources with names of their own (extended resources, huge pages), sorted by name.
pub type Named = Vec<(Arc<str>, i64)>;

/// What a pod asks for, or what a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// In thousandths of a processor.
    pub cpu: i64,
    /// In bytes.
    pub memory: i64,
    /// Local disk space, in bytes.
    pub ephemeral_storage: i64,
    pub named: Named,
}

impl Resources {
    /// How much there is of a resource that is not one of the three.
    pub fn get(&self, name: &str) -> i64 {
        self.named.binary_search_by(|(known, _)| (**known).cmp(name)).map_or(0, |at| self.named[at].1)
    }
}

/// A sum that stays exact however large it gets: each pod that goes takes away what it brought, and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total(i128);

impl Total {
    pub fn add(&mut self, amount: i64) {
        self.0 += i128::from(amount);
    }

    /// Takes away what [`Total::add`] has added.
    pub fn remove(&mut self, amount: i64) {
        self.0 -= i128::from(amount);
    }

    /// The sum; of one that is more than what fits, the largest that does, which is more than any node has to give.
    pub fn get(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// What several pods ask for together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub cpu: Total,
    pub memory: Total,
    pub ephemeral_storage: Total,
    named: Vec<(Arc<str>, Total)>,
}

impl Totals {
    /// How much of a resource that is not one of the three.
    pub fn get(&self, name: &str) -> i64 {
        self.named.binary_search_by(|(known, _)| (**known).cmp(name)).map_or(0, |at| self.named[at].1.get())
    }

    pub fn add(&mut self, more: &Resources) {
        self.change(more, Total::add);
    }

    /// Takes away what [`Totals::add`] has added.
    pub fn remove(&mut self, less: &Resources) {
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
    fn the_largest_amounts_leave_the_others_as_they_were() {
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
