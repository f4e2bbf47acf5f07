//! Amounts of what a node has and a pod asks for.

use std::sync::Arc;

/// Resources with names of their own (extended resources, huge pages), sorted by name.
pub type Named = Vec<(Arc<str>, i64)>;

/// A sum of requests, or what a node offers.
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

    pub fn add(&mut self, more: &Resources) {
        self.change(more, 1);
    }

    /// Takes away what [`Resources::add`] has added.
    pub fn remove(&mut self, less: &Resources) {
        self.change(less, -1);
    }

    fn change(&mut self, by: &Resources, sign: i64) {
        let add = |sum: &mut i64, amount: i64| *sum = sum.saturating_add(amount.saturating_mul(sign));
        add(&mut self.cpu, by.cpu);
        add(&mut self.memory, by.memory);
        add(&mut self.ephemeral_storage, by.ephemeral_storage);
        for (name, amount) in &by.named {
            match self.named.binary_search_by(|(known, _)| known.cmp(name)) {
                Ok(at) => add(&mut self.named[at].1, *amount),
                Err(at) => self.named.insert(at, (name.clone(), amount.saturating_mul(sign))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_and_removed_leaves_nothing() {
        let pod = Resources { cpu: 100, memory: 5, ephemeral_storage: 1, named: vec![(Arc::from("gpu/x"), 2)] };
        let mut sum = Resources::default();
        sum.add(&pod);
        sum.add(&pod);
        assert_eq!((sum.cpu, sum.get("gpu/x"), sum.get("gpu/y")), (200, 4, 0));
        sum.remove(&pod);
        sum.remove(&pod);
        assert_eq!((sum.cpu, sum.memory, sum.ephemeral_storage, sum.get("gpu/x")), (0, 0, 0, 0));
    }
}
