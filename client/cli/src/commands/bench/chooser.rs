//! Which key comes next. The distributions are those of YCSB's core workloads.

use rand::{Rng, RngExt};
use rand_distr::Zipf;

use super::records::Insertions;

/// YCSB's exponent: the record of rank r is drawn in proportion to r^-0.99.
const ZIPF_EXPONENT: f64 = 0.99;

/// Draws the numbers of records.
#[derive(Clone, Debug)]
pub(crate) enum Chooser {
    /// Every record is as likely as any other.
    Uniform {
        /// How many records there are.
        keys: u64,
    },
    /// Few records are drawn most of the time, and they are spread over all the records.
    Scrambled {
        /// How many records there are.
        keys: u64,
        /// The ranks' distribution.
        ranks: Zipf<f64>,
    },
    /// The later a record was inserted, the likelier it is.
    Latest {
        /// How many records there were when `ages` was made.
        keys: u64,
        /// The distribution of ranks by age.
        ages: Zipf<f64>,
    },
}

impl Chooser {
    pub(crate) fn uniform(keys: u64) -> Self {
        Self::Uniform { keys }
    }

    pub(crate) fn scrambled(keys: u64) -> Self {
        Self::Scrambled { keys, ranks: zipf(keys) }
    }

    pub(crate) fn latest(keys: u64) -> Self {
        Self::Latest { keys, ages: zipf(keys) }
    }

    /// Draws a record.
    pub(crate) fn draw(&mut self, dice: &mut impl Rng, insertions: &Insertions) -> u64 {
        match self {
            Self::Uniform { keys } => dice.random_range(0..*keys),
            Self::Scrambled { keys, ranks } => fnv1a(rank(dice, ranks)) % *keys,
            Self::Latest { keys, ages } => {
                // Only records that exist are read.
                let present = insertions.present();
                if present != *keys {
                    (*keys, *ages) = (present, zipf(present));
                }
                *keys - 1 - rank(dice, ages).min(*keys - 1)
            }
        }
    }
}

fn zipf(keys: u64) -> Zipf<f64> {
    Zipf::new(keys.max(1) as f64, ZIPF_EXPONENT).expect("there is at least one key")
}

/// A rank from 0.
fn rank(dice: &mut impl Rng, ranks: &Zipf<f64>) -> u64 {
    dice.sample(ranks) as u64 - 1
}

/// The hash by which YCSB scatters ranks over records.
fn fnv1a(number: u64) -> u64 {
    number.to_le_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    const KEYS: u64 = 1000;
    const DRAWS: u64 = 1_000_000;

    /// How often each record is drawn.
    fn counts(mut chooser: Chooser, insertions: &Insertions) -> Vec<u64> {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut counts = vec![0; KEYS as usize];
        for _ in 0..DRAWS {
            counts[chooser.draw(&mut dice, insertions) as usize] += 1;
        }
        counts
    }

    /// How often the record of this rank is to be drawn.
    fn expected(rank: usize) -> f64 {
        let weight = |rank: usize| (rank as f64).powf(-ZIPF_EXPONENT);
        DRAWS as f64 * weight(rank) / (1..=KEYS as usize).map(weight).sum::<f64>()
    }

    #[test]
    fn uniform_is_uniform() {
        let counts = counts(Chooser::uniform(KEYS), &Insertions::after(KEYS));
        let share = (DRAWS / KEYS) as f64;
        assert!(counts.iter().all(|it| (*it as f64 / share - 1.0).abs() < 0.2), "{counts:?}");
    }

    #[test]
    fn the_latest_are_drawn_by_zipfs_law() {
        let mut counts = counts(Chooser::latest(KEYS), &Insertions::after(KEYS));
        counts.reverse();
        for rank in [1, 2, 3, 10, 50] {
            let ratio = counts[rank - 1] as f64 / expected(rank);
            assert!((ratio - 1.0).abs() < 0.05, "rank {rank}: {ratio}");
        }
    }

    #[test]
    fn scrambled_records_are_drawn_by_zipfs_law_and_lie_apart() {
        let counts = counts(Chooser::scrambled(KEYS), &Insertions::after(KEYS));
        let place = |rank: u64| (fnv1a(rank - 1) % KEYS) as usize;
        for rank in 1..=3 {
            let ratio = counts[place(rank)] as f64 / expected(rank as usize);
            // Where ranks fall on the same record, it is drawn more often.
            assert!((0.95..1.3).contains(&ratio), "rank {rank}: {ratio}");
        }
        assert!(place(1).abs_diff(place(2)) > 1 && place(2).abs_diff(place(3)) > 1);
    }

    #[test]
    fn what_is_inserted_becomes_the_latest() {
        let insertions = Insertions::after(KEYS);
        let mut chooser = Chooser::latest(KEYS);
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(7);
        let fresh = insertions.begin();
        assert!((0..DRAWS).all(|_| chooser.draw(&mut dice, &insertions) < fresh));
        insertions.finish(fresh);
        assert!((0..DRAWS).any(|_| chooser.draw(&mut dice, &insertions) == fresh));
    }

    #[test]
    fn a_seed_replays_and_another_does_not() {
        let insertions = Insertions::after(KEYS);
        let draws = |seed| {
            let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut chooser = Chooser::scrambled(KEYS);
            (0..100).map(|_| chooser.draw(&mut dice, &insertions)).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
