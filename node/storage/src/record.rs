//! How a record lies on disk. Its checksum is verified on every read.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format, 1 |
//! | 1 | flags: 0, or 1 where the record is a tombstone, which has no value |
//! | 8 | epoch of the version, little-endian |
//! | 8 | sequence number of the version, little-endian |
//! | 4 | CRC-32 of the storage key, the 18 bytes before and the value, little-endian |
//! | rest | the value |
//!
//! The storage key is part of the checksum, so that a record in another's place is found out too.

use kv_core::operation::Record;
use kv_core::partition_sum::RecordSize;
use kv_core::version::Version;

use super::key::MARK_DATA;

const FORMAT: u8 = 1;
const FLAGS_NONE: u8 = 0;
const FLAGS_TOMBSTONE: u8 = 1;
const CHECKED_BYTES: usize = 18;
const HEADER_BYTES: usize = CHECKED_BYTES + 4;

/// A key's record; `V` owns or borrows the value's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<V> {
    /// The record's version.
    pub version: Version,
    /// The value; `None` where the record is a tombstone: there is no value of the key, for certain.
    pub value: Option<V>,
}

/// Bytes that are no intact record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Damage(String);

impl Stored<&[u8]> {
    /// The same without the value.
    #[must_use]
    pub fn size(self) -> RecordSize {
        let value_bytes = self.value.map(|value| value.len() as u64);
        RecordSize { version: self.version, value_bytes }
    }

    /// The same with a value of its own.
    #[must_use]
    pub fn to_owned(self) -> Stored<Vec<u8>> {
        Stored { version: self.version, value: self.value.map(<[u8]>::to_vec) }
    }
}

impl Stored<Vec<u8>> {
    /// The same with the value borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Stored<&[u8]> {
        Stored { version: self.version, value: self.value.as_deref() }
    }

    /// The record as it is told to clients; `None` where it is a tombstone.
    #[must_use]
    pub fn into_record(self) -> Option<Record> {
        let version = Some(self.version);
        self.value.map(|value| Record { value, version })
    }
}

/// Appends the record of a key, given as its hash and itself, to `bytes`; one without a value is a
/// tombstone.
pub fn append(bytes: &mut Vec<u8>, key: (u64, &str), version: Version, value: Option<&[u8]>) {
    let flags = if value.is_some() { FLAGS_NONE } else { FLAGS_TOMBSTONE };
    let value = value.unwrap_or_default();
    bytes.reserve(HEADER_BYTES + value.len());
    let start = bytes.len();
    bytes.extend_from_slice(&[FORMAT, flags]);
    bytes.extend_from_slice(&version.epoch.to_le_bytes());
    bytes.extend_from_slice(&version.sequence.to_le_bytes());
    let checksum = checksum(key, &bytes[start..], value);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(value);
}

/// Reads a record and verifies it.
///
/// # Errors
/// [`Damage`] where the bytes are not what [`append`] made for this key.
pub fn decode<'a>(key: (u64, &str), bytes: &'a [u8]) -> Result<Stored<&'a [u8]>, Damage> {
    let header_and_value = bytes.split_first_chunk::<HEADER_BYTES>();
    let Some((header, value)) = header_and_value else {
        return Err(Damage(format!("it has {} bytes, fewer than its header", bytes.len())));
    };
    let (checked, stored_checksum) = header.split_at(CHECKED_BYTES);
    let actual = checksum(key, checked, value);
    if stored_checksum != actual.to_le_bytes() {
        return Err(Damage("its checksum does not match its content".into()));
    }
    let value = match header[..2] {
        [FORMAT, FLAGS_NONE] => Some(value),
        [FORMAT, FLAGS_TOMBSTONE] if value.is_empty() => None,
        [format, flags, ..] => {
            return Err(Damage(format!(
                "it has format {format} and flags {flags}, this program reads format {FORMAT}, values and tombstones"
            )));
        }
        _ => return Err(Damage("it has no header".into())),
    };
    Ok(Stored { version: version(header), value })
}

/// The record without its value; without verifying anything. `None` where there is no record.
pub(crate) fn measure(bytes: &[u8]) -> Option<RecordSize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    Some(RecordSize { version: version(header), value_bytes: value_bytes(bytes) })
}

fn version(header: &[u8; HEADER_BYTES]) -> Version {
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    Version { epoch: number(2), sequence: number(10) }
}

/// How long a record's value is, in bytes, and `None` for a tombstone; without verifying anything, so
/// that a damaged record can be counted as what it most likely was.
#[must_use]
pub fn value_bytes(bytes: &[u8]) -> Option<u64> {
    let is_tombstone = bytes.get(1) == Some(&FLAGS_TOMBSTONE);
    (!is_tombstone).then(|| bytes.len().saturating_sub(HEADER_BYTES) as u64)
}

fn checksum((hash, text): (u64, &str), checked: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    hasher.update(&[MARK_DATA, a, b, c, d, e, f, g, h]);
    hasher.update(text.as_bytes());
    hasher.update(checked);
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StorageKey;
    use proptest::prelude::*;

    const KEY: (u64, &str) = (7, "key");

    fn encode(key: (u64, &str), version: Version, value: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(&mut bytes, key, version, value);
        bytes
    }

    #[test]
    fn the_layout_on_disk_is_pinned() {
        let key = StorageKey::new("k");
        for (flags, value) in [(0, Some(&b"v"[..])), (1, None)] {
            let bytes = encode(key.parts(), Version { epoch: 1, sequence: 2 }, value);
            let expected_head = [1, flags, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(bytes[..CHECKED_BYTES], expected_head);
            assert_eq!(bytes[HEADER_BYTES..], *value.unwrap_or_default());
            assert_eq!(value_bytes(&bytes), value.map(|it| it.len() as u64));
            let mut checked = key.to_bytes();
            checked.extend_from_slice(&expected_head);
            checked.extend_from_slice(value.unwrap_or_default());
            assert_eq!(bytes[CHECKED_BYTES..HEADER_BYTES], crc32fast::hash(&checked).to_le_bytes());
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(hash: u64, text: String, value: Option<Vec<u8>>, epoch: u64, sequence: u64) {
            let version = Version { epoch, sequence };
            let bytes = encode((hash, &text), version, value.as_deref());
            let stored = decode((hash, &text), &bytes).unwrap();
            prop_assert_eq!(stored, Stored { version, value: value.as_deref() });
        }

        #[test]
        fn every_flipped_bit_is_found(value: Option<Vec<u8>>, at: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = encode(KEY, Version { epoch: 1, sequence: 1 }, value.as_deref());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(KEY, &bytes).is_err());
        }

        #[test]
        fn truncated_misplaced_and_foreign_bytes_are_found(value: Vec<u8>, cut: prop::sample::Index, noise: Vec<u8>) {
            let bytes = encode(KEY, Version { epoch: 1, sequence: 1 }, Some(&value));
            prop_assert!(decode(KEY, &bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(decode((7, "other"), &bytes).is_err());
            prop_assert!(decode((8, "key"), &bytes).is_err());
            prop_assert!(decode(KEY, &noise).is_err());
        }
    }
}
