//! The keys and values of the records, and the records that a workload adds.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kv_system::lock::lock;
use rand::{Rng, RngExt};

/// The digits of a record's number in its key.
pub(crate) const KEY_DIGITS: usize = 10;

/// How much longer than a value the bytes are from which values are cut.
const VARIETY_BYTES: usize = 64 << 10;

/// Makes keys: a prefix and the record's number, all of one length.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) prefix: String,
}

impl Keys {
    /// The key of a record.
    pub(crate) fn key(&self, record: u64) -> String {
        let mut digits = [b'0'; KEY_DIGITS];
        let mut rest = record;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        let mut key = String::with_capacity(self.prefix.len() + KEY_DIGITS);
        key.push_str(&self.prefix);
        key.extend(digits.map(char::from));
        key
    }
}

/// Makes values of one length. They are random bytes, so that nothing on the way makes them shorter.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    length: usize,
}

impl Values {
    /// Values of `length` bytes.
    pub(crate) fn new(length: usize, dice: &mut impl Rng) -> Self {
        let mut bytes = vec![0; length + VARIETY_BYTES];
        dice.fill(&mut bytes[..]);
        Self { bytes, length }
    }

    /// A value of that length, which differs from most others.
    pub(crate) fn draw(&self, dice: &mut impl Rng) -> Vec<u8> {
        let start = dice.random_range(0..VARIETY_BYTES);
        self.bytes[start..start + self.length].to_vec()
    }
}

/// The records that a workload adds to those that were loaded.
#[derive(Debug)]
pub(crate) struct Insertions {
    /// The number of the next record that no worker inserts yet.
    next: AtomicU64,
    /// All records below this number are there.
    present: AtomicU64,
    /// The records above that which are there too.
    ahead: Mutex<BTreeSet<u64>>,
}

impl Insertions {
    /// Where `keys` records are there.
    pub(crate) fn after(keys: u64) -> Self {
        Self { next: keys.into(), present: keys.into(), ahead: Mutex::default() }
    }

    /// The number of a new record, to be inserted.
    pub(crate) fn begin(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes note that a record has been inserted, or never will be.
    pub(crate) fn finish(&self, record: u64) {
        let mut ahead = lock(&self.ahead);
        ahead.insert(record);
        let mut present = self.present.load(Ordering::Relaxed);
        while ahead.remove(&present) {
            present += 1;
        }
        self.present.store(present, Ordering::Relaxed);
    }

    /// How many records are there, from number 0 without a gap.
    pub(crate) fn present(&self) -> u64 {
        self.present.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn keys_have_one_length() {
        let keys = Keys { prefix: "bench-".into() };
        assert_eq!(keys.key(0), "bench-0000000000");
        assert_eq!(keys.key(1_234_567_890), "bench-1234567890");
    }

    #[test]
    fn values_have_the_length_and_differ() {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(1);
        for length in [0, 1, 100, 1 << 20] {
            let values = Values::new(length, &mut dice);
            let (one, other) = (values.draw(&mut dice), values.draw(&mut dice));
            assert_eq!((one.len(), other.len()), (length, length));
            assert!(length < 100 || one != other);
        }
    }

    #[test]
    fn a_gap_holds_back_what_comes_after_it() {
        let insertions = Insertions::after(10);
        assert_eq!([insertions.begin(), insertions.begin(), insertions.begin()], [10, 11, 12]);
        assert_eq!(insertions.present(), 10);
        insertions.finish(11);
        assert_eq!(insertions.present(), 10);
        insertions.finish(10);
        assert_eq!(insertions.present(), 12);
        insertions.finish(12);
        assert_eq!(insertions.present(), 13);
    }
}
