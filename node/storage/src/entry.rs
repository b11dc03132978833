//! A record as a scan comes across it.

use kv_core::partition_sum::RecordSize;

use crate::record::{self, Stored};
use crate::{StorageKey, StoreError};

/// A record that a scan has come across. It is verified when it is decoded, so that a damaged one
/// does no harm to a scan that passes it over.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The hash of the key.
    pub hash: u64,
    /// The key.
    pub key: &'a str,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(crate) fn new((hash, key): (u64, &'a str), bytes: &'a [u8]) -> Self {
        Self { hash, key, bytes }
    }

    pub(crate) fn storage_key(&self) -> StorageKey {
        StorageKey::of_parts((self.hash, self.key))
    }

    /// Verifies the record and reads it.
    ///
    /// # Errors
    /// [`StoreError::RecordCorrupt`] where it is damaged.
    pub fn decode(&self) -> Result<Stored<&'a [u8]>, StoreError> {
        record::decode((self.hash, self.key), self.bytes)
            .map_err(|damage| StoreError::RecordCorrupt(format!("{:?}: {damage}", self.key)))
    }

    /// The record without its value.
    ///
    /// # Errors
    /// As [`Entry::decode`].
    pub fn measure(&self) -> Result<RecordSize, StoreError> {
        self.decode().map(Stored::size)
    }

    /// The length of the value, `None` for a tombstone, as in [`record::value_bytes`].
    #[must_use]
    pub fn value_bytes(&self) -> Option<u64> {
        record::value_bytes(self.bytes)
    }
}
