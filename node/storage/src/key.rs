//! How a key lies in the engine.
//!
//! A storage key is a marker byte, the key's 64-bit hash (big-endian) and the key itself. A
//! partition is therefore one contiguous range whatever the number of partitions, and comparisons
//! end within the first bytes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kv_core::partition::key_hash;

/// What the engine's bookkeeping records start with; they sort before all data.
pub(crate) const MARK_META: u8 = 0;
/// What data records start with.
pub(crate) const MARK_DATA: u8 = 1;

const HEAD_BYTES: usize = 9;

/// A key with its hash. Storage keys are ordered as their bytes are: by the hash, then by the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorageKey {
    hash: u64,
    /// Shared, since a memtable has it in several places.
    text: Arc<str>,
}

impl Hash for StorageKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl nohash_hasher::IsEnabled for StorageKey {}

impl StorageKey {
    /// The storage key of `key`.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self { hash: key_hash(key), text: key.into() }
    }

    /// The place before all keys with this hash.
    #[must_use]
    pub fn first_of_hash(hash: u64) -> Self {
        Self { hash, text: Arc::default() }
    }

    pub(crate) fn of_parts((hash, text): (u64, &str)) -> Self {
        Self { hash, text: text.into() }
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The key.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The hash and the key.
    pub(crate) fn parts(&self) -> (u64, &str) {
        (self.hash, &self.text)
    }

    /// The storage key's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.text.len());
        bytes.push(MARK_DATA);
        bytes.extend_from_slice(&self.hash.to_be_bytes());
        bytes.extend_from_slice(self.text.as_bytes());
        bytes
    }

    /// The hash and the key that `bytes` stand for, where they are a data record's storage key.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(u64, &str)> {
        let (head, key) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (marker, hash) = head.split_first_chunk::<1>()?;
        let hash = u64::from_be_bytes(hash.try_into().ok()?);
        (*marker == [MARK_DATA]).then_some((hash, std::str::from_utf8(key).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_key_leads_back_to_its_key() {
        let storage_key = StorageKey::new("na\u{ef}ve");
        let parts = (key_hash("na\u{ef}ve"), "na\u{ef}ve");
        assert_eq!(StorageKey::parse(&storage_key.to_bytes()), Some(parts));
        assert_eq!(storage_key.parts(), parts);
        assert!(StorageKey::first_of_hash(key_hash("na\u{ef}ve")) < storage_key);
        assert_eq!(StorageKey::parse(&[MARK_META; 20]), None);
        assert_eq!(StorageKey::parse(&[MARK_DATA]), None);
        assert_eq!(StorageKey::parse(&[MARK_DATA, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]), None);
    }

    #[test]
    fn storage_keys_are_ordered_as_their_bytes() {
        let mut keys: Vec<_> = (0..1000).map(|it| StorageKey::new(&format!("k{it}"))).collect();
        keys.sort();
        assert!(keys.is_sorted_by_key(StorageKey::to_bytes));
    }
}
