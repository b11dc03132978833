//! A node's draws, made without replacement.
//!
//! Plain rendezvous hashing draws independently for every partition, and some nodes are luckier than
//! others. Here a node deals itself the numbers `0..partitions`, each once, in an order that is a
//! pseudo-random permutation of its own; so all nodes draw equally well over all partitions, and only
//! whom they meet is left to chance. That halves the variance of their shares.

use kv_strategy::permutation::Permutation;
use kv_strategy::{hash, score};

/// The draws of one node for a power of two of partitions.
#[derive(Clone, Debug)]
pub struct Draws {
    /// The numbers that the node deals itself.
    dealt: Permutation,
    /// Where in a draw the dealt number is.
    shift: u32,
    /// The digits below it, the same for all partitions. It tells apart two nodes that have dealt
    /// themselves the same number.
    offset: u64,
}

impl Draws {
    /// The draws that come from `seed`, a hash of the node's id.
    #[must_use]
    pub fn new(seed: u64, partitions: u32) -> Self {
        let shift = score::DRAW_BITS - partitions.trailing_zeros();
        let offset = hash::nth(seed, 2) >> (u64::BITS - shift);
        Self { dealt: Permutation::new(seed, partitions), shift, offset }
    }

    /// The draw for `partition`, below 2^[`score::DRAW_BITS`].
    #[must_use]
    pub fn of(&self, partition: u32) -> u64 {
        u64::from(self.dealt.of(partition)) << self.shift | self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_in_range_and_no_two_are_equal() {
        for partitions in [1, 2, 4096, 65_536] {
            let nodes = [1, 2].map(|seed| Draws::new(hash::nth(seed, 0), partitions));
            let mut draws: Vec<u64> =
                (0..partitions).flat_map(|p| nodes.iter().map(move |node| node.of(p))).collect();
            assert!(draws.iter().all(|&draw| draw < 1 << score::DRAW_BITS));
            draws.sort_unstable();
            assert!(draws.windows(2).all(|pair| pair[0] < pair[1]), "{partitions} partitions");
        }
    }
}
