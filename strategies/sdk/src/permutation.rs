//! Pseudo-random permutations of the partitions.

use crate::hash;

/// A permutation of the numbers below a power of two, such as the partitions of a cluster.
///
/// Every step of its arithmetic can be undone modulo that power, so every number comes up once: sums,
/// products with odd numbers, and folding the upper bits of a number down on the lower ones. Two such
/// permutations of the same numbers meet each other like random ones, as far as balance and movement of
/// strategies can tell. It costs about as much as [`hash::nth`].
#[derive(Clone, Debug)]
pub struct Permutation {
    factors: [u32; 2],
    summands: [u32; 2],
    /// The bits of a number.
    mask: u32,
    /// How far upper bits are folded down: at least half of the bits of a number, so that the bits that are
    /// folded on do not change.
    fold: u32,
}

impl Permutation {
    /// The permutation that comes from `seed`, a hash, of the numbers below `count`, which must be a
    /// power of two.
    #[must_use]
    pub const fn new(seed: u64, count: u32) -> Self {
        debug_assert!(count.is_power_of_two());
        let (factors, summands) = (hash::nth(seed, 0), hash::nth(seed, 1));
        Self {
            factors: [factors as u32 | 1, (factors >> 32) as u32 | 1],
            summands: [summands as u32, (summands >> 32) as u32],
            mask: count - 1,
            fold: count.trailing_zeros().div_ceil(2),
        }
    }

    /// The number in the place of `number`, which is below the count as well.
    #[must_use]
    pub const fn of(&self, number: u32) -> u32 {
        let [first, second] = self.factors;
        let mut number = number.wrapping_add(self.summands[0]);
        number = number.wrapping_mul(first) & self.mask;
        number ^= number >> self.fold;
        number = number.wrapping_mul(second).wrapping_add(self.summands[1]) & self.mask;
        number ^= number >> self.fold;
        number = number.wrapping_mul(first) & self.mask;
        number ^ (number >> self.fold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_up_once() {
        for bits in 0..=16 {
            for seed in 0..4 {
                let permutation = Permutation::new(hash::nth(7, seed), 1 << bits);
                let mut numbers: Vec<u32> = (0..1 << bits).map(|n| permutation.of(n)).collect();
                numbers.sort_unstable();
                assert!(numbers.iter().copied().eq(0..1 << bits), "{bits} bits");
            }
        }
    }

    #[test]
    fn it_is_pinned() {
        // The same arithmetic, done in a language whose integers have no size.
        let permutation = Permutation::new(1_234_567, 4096);
        let first: Vec<u32> = (0..8).map(|n| permutation.of(n)).collect();
        assert_eq!(first, [919, 990, 3460, 635, 2442, 2858, 1443, 2509]);
    }

    #[test]
    fn two_permutations_are_as_good_as_independent() {
        // Where both are random, the number of wins deviates by 18 from the half, and once in some
        // thousand pairs by four times that.
        for pair in 0..200 {
            let [one, other] = [0, 1].map(|n| Permutation::new(hash::nth(pair, n), 4096));
            let wins = (0..4096).filter(|&n| one.of(n) > other.of(n)).count();
            assert!((1948..=2148).contains(&wins), "{wins}");
        }
    }
}
