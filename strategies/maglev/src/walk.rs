//! The order in which a node would like to have the partitions.

use kv_strategy::permutation::Permutation;

/// A node's way through all partitions, in an order of its own.
pub struct Walk {
    order: Permutation,
    /// How many partitions are behind it.
    done: u32,
    partitions: u32,
}

impl Walk {
    /// The walk of the node whose hash is `seed`, at its beginning. There are a power of two of
    /// `partitions`.
    #[must_use]
    pub fn new(seed: u64, partitions: u32) -> Self {
        Self { order: Permutation::new(seed, partitions), done: 0, partitions }
    }
}

impl Iterator for Walk {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.done == self.partitions {
            return None;
        }
        let partition = self.order.of(self.done);
        self.done += 1;
        Some(partition)
    }
}

#[cfg(test)]
mod tests {
    use kv_strategy::hash;

    use super::*;

    #[test]
    fn a_walk_meets_every_partition_once_and_ends() {
        for partitions in [1, 2, 1024] {
            let mut met: Vec<u32> = Walk::new(hash::nth(3, 1), partitions).collect();
            met.sort_unstable();
            assert!(met.iter().copied().eq(0..partitions), "{partitions} partitions");
        }
    }

    #[test]
    fn nodes_walk_differently() {
        let first = |n| Walk::new(hash::nth(3, n), 65_536).take(3).collect::<Vec<_>>();
        assert!((1..100).all(|node| first(node) != first(0)));
    }
}
