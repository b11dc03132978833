//! Which key comes next: as in YCSB, and as `kvclient bench` draws it.

use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand_distr::Zipf;

/// YCSB's exponent: the key of rank r is drawn in proportion to r^-0.99.
const EXPONENT: f64 = 0.99;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// A distribution in which a few keys, spread over all of them, are drawn most of the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipfian {
    keys: u64,
    ranks: Zipf<f64>,
}

impl Zipfian {
    /// One over the numbers below `keys`.
    ///
    /// # Errors
    /// Where there are no keys.
    pub(crate) fn new(keys: usize) -> anyhow::Result<Self> {
        Ok(Self { keys: keys as u64, ranks: Zipf::new(keys as f64, EXPONENT)? })
    }

    /// The next number.
    pub(crate) fn draw(&self, random: &mut SmallRng) -> usize {
        let rank = random.sample(self.ranks) as u64 - 1;
        let hash = rank
            .to_le_bytes()
            .into_iter()
            .fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        (hash % self.keys) as usize
    }
}
