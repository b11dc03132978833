//! What stands for all records of a partition: copies of it that are equal have equal sums.
//!
//! Nodes compare the sums of their copies, so [`record_digest`] is a part of the protocol, pinned by recorded
//! vectors. A version is given once, so that a key with a version stands for a record; the digests are added up,
//! so that the order in which records came does not matter, and each can be taken out again.

use xxhash_rust::xxh3::xxh3_128;

use crate::version::Version;

/// The records of a partition, or of several, summed up. All sums wrap around, so that what is subtracted before
/// it is added does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionSum {
    /// The sum of the [digests](record_digest) of all records, of tombstones too.
    pub digest: u128,
    /// The values that are stored.
    pub keys: u64,
    /// The tombstones that are stored.
    pub tombstones: u64,
    /// The bytes of the values and of their keys.
    pub bytes: u64,
}

/// A record as far as it counts in a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSize {
    /// The record's version.
    pub version: Version,
    /// How long the value is, in bytes; `None` for a tombstone.
    pub value_bytes: Option<u64>,
}

/// The digest of a record of the key with this [hash](crate::partition::key_hash): XXH3, 128 bits with seed 0, of
/// the hash, the version's epoch and its sequence number, each as 8 bytes, little-endian.
#[inline]
#[must_use]
pub fn record_digest(key_hash: u64, version: Version) -> u128 {
    let mut bytes = [0; 24];
    let numbers = [key_hash, version.epoch, version.sequence];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    xxh3_128(&bytes)
}

impl PartitionSum {
    /// Adds a record of the key with this hash and length in bytes.
    #[inline]
    pub fn add(&mut self, (key_hash, key_bytes): (u64, usize), record: RecordSize) {
        *self = self.plus(Self::of((key_hash, key_bytes), record));
    }

    /// Takes out a record that was added.
    #[inline]
    pub fn subtract(&mut self, (key_hash, key_bytes): (u64, usize), record: RecordSize) {
        let record = Self::of((key_hash, key_bytes), record);
        self.digest = self.digest.wrapping_sub(record.digest);
        self.keys = self.keys.wrapping_sub(record.keys);
        self.tombstones = self.tombstones.wrapping_sub(record.tombstones);
        self.bytes = self.bytes.wrapping_sub(record.bytes);
    }

    /// The records of both.
    #[inline]
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            digest: self.digest.wrapping_add(other.digest),
            keys: self.keys.wrapping_add(other.keys),
            tombstones: self.tombstones.wrapping_add(other.tombstones),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    #[inline]
    fn of((key_hash, key_bytes): (u64, usize), record: RecordSize) -> Self {
        let digest = record_digest(key_hash, record.version);
        match record.value_bytes {
            Some(value_bytes) => {
                Self { digest, keys: 1, tombstones: 0, bytes: key_bytes as u64 + value_bytes }
            }
            None => Self { digest, keys: 0, tombstones: 1, bytes: 0 },
        }
    }
}
