//! Which partition a key belongs to: a part of the protocol, pinned by recorded vectors.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::PARTITIONS_MAX;

/// The 64-bit hash that places a key: XXH3 of the key's bytes, with seed 0.
#[must_use]
pub fn key_hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// How many partitions a cluster has: a power of two from 1 to 65,536, fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PartitionCount(u32);

/// A number of partitions that no cluster can have.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a number of partitions: expected a power of two from 1 to {PARTITIONS_MAX}")]
pub struct InvalidPartitionCount(u32);

/// A partition: one of a cluster's fixed hash buckets.
///
/// It holds the keys whose hash starts with its bits, so it is one contiguous range of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

impl PartitionCount {
    /// Checks that `count` is a power of two within the limits.
    ///
    /// # Errors
    /// [`InvalidPartitionCount`] where it is not.
    pub const fn new(count: u32) -> Result<Self, InvalidPartitionCount> {
        if count.is_power_of_two() && count <= PARTITIONS_MAX {
            Ok(Self(count))
        } else {
            Err(InvalidPartitionCount(count))
        }
    }

    /// The count as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The partition of a key whose hash is `hash`: its top bits.
    #[must_use]
    pub const fn partition(self, hash: u64) -> Partition {
        // Shifting in two steps keeps the shift below 64 for a single partition. The result is
        // below 65,536, so it fits.
        Partition(((hash >> 1) >> (63 - self.bits())) as u32)
    }

    /// The partition of `key`.
    #[must_use]
    pub fn partition_of(self, key: &str) -> Partition {
        self.partition(key_hash(key))
    }

    /// The smallest and the largest hash in `partition`.
    #[must_use]
    pub const fn hash_range(self, partition: Partition) -> (u64, u64) {
        let width_bits = 64 - self.bits();
        let first = if width_bits == 64 { 0 } else { (partition.0 as u64) << width_bits };
        (first, first | (u64::MAX >> self.bits()))
    }

    const fn bits(self) -> u32 {
        self.0.trailing_zeros()
    }
}

impl TryFrom<u32> for PartitionCount {
    type Error = InvalidPartitionCount;

    fn try_from(count: u32) -> Result<Self, InvalidPartitionCount> {
        Self::new(count)
    }
}

impl From<PartitionCount> for u32 {
    fn from(count: PartitionCount) -> Self {
        count.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_are_counts() {
        for count in [0, 3, 4095, PARTITIONS_MAX * 2, u32::MAX] {
            assert!(PartitionCount::new(count).is_err(), "{count}");
        }
        for count in [1, 2, 4096, PARTITIONS_MAX] {
            assert_eq!(PartitionCount::new(count).unwrap().get(), count);
        }
    }

    #[test]
    fn a_partition_is_its_hash_range() {
        for count in [1, 2, 16, 4096, PARTITIONS_MAX] {
            let count = PartitionCount::new(count).unwrap();
            let mut expected_first = 0_u64;
            for index in 0..count.get() {
                let (first, last) = count.hash_range(Partition(index));
                assert_eq!(first, expected_first);
                assert_eq!(count.partition(first), Partition(index));
                assert_eq!(count.partition(last), Partition(index));
                expected_first = last.wrapping_add(1);
            }
            assert_eq!(expected_first, 0, "the last range ends at the largest hash");
        }
    }
}
