//! The numbers that are stored with the data.

use serde::{Deserialize, Serialize};

use crate::StoreError;

pub(crate) const BYTES: usize = 32;

/// Numbers that are stored with the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// The values that are stored.
    pub keys: u64,
    /// The bytes of their keys and of themselves.
    pub bytes: u64,
    /// The number of the last write.
    pub sequence: u64,
    /// The tombstones that are stored.
    #[serde(default)]
    pub tombstones: u64,
}

impl Counters {
    /// Counts a record that is there now: its key's length and its value's, `None` for a tombstone.
    pub fn add(&mut self, key_bytes: usize, value_bytes: Option<u64>) {
        match value_bytes {
            Some(value_bytes) => {
                self.keys += 1;
                self.bytes += key_bytes as u64 + value_bytes;
            }
            None => self.tombstones += 1,
        }
    }

    /// Counts a record that is there no more.
    pub fn subtract(&mut self, key_bytes: usize, value_bytes: Option<u64>) {
        match value_bytes {
            Some(value_bytes) => {
                self.keys = self.keys.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(key_bytes as u64 + value_bytes);
            }
            None => self.tombstones = self.tombstones.saturating_sub(1),
        }
    }

    pub(crate) fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let numbers = [self.keys, self.bytes, self.sequence, self.tombstones];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let Ok(bytes) = <[u8; BYTES]>::try_from(bytes) else {
            return Err(StoreError::RecordCorrupt(format!(
                "the counters have {} bytes, expected {BYTES}",
                bytes.len()
            )));
        };
        let mut numbers = bytes
            .chunks_exact(8)
            .map(|number| number.iter().rev().fold(0, |high, byte| high << 8 | u64::from(*byte)));
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Self { keys: next(), bytes: next(), sequence: next(), tombstones: next() })
    }
}
