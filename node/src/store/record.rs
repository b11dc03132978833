//! How a record lies on disk. Its checksum is verified on every read.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format, 1 |
//! | 1 | flags, 0 |
//! | 8 | epoch of the version, little-endian |
//! | 8 | sequence number of the version, little-endian |
//! | 4 | CRC-32 of the storage key, the 18 bytes before and the value, little-endian |
//! | rest | the value |
//!
//! The storage key is part of the checksum, so that a record in another's place is found out too.

use kv_protocol::reply::Record;
use kv_protocol::version::Version;

const FORMAT: u8 = 1;
const FLAGS_NONE: u8 = 0;
const CHECKED_BYTES: usize = 18;
const HEADER_BYTES: usize = CHECKED_BYTES + 4;

/// Bytes that are no intact record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Damage(String);

/// Lays out a record.
#[must_use]
pub fn encode(storage_key: &[u8], version: Version, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + value.len());
    bytes.extend_from_slice(&[FORMAT, FLAGS_NONE]);
    bytes.extend_from_slice(&version.epoch.to_le_bytes());
    bytes.extend_from_slice(&version.sequence.to_le_bytes());
    let checksum = checksum(storage_key, &bytes, value);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// Reads a record and verifies it.
///
/// # Errors
/// [`Damage`] where the bytes are not what [`encode`] made for this storage key.
pub fn decode(storage_key: &[u8], bytes: &[u8]) -> Result<Record, Damage> {
    let header_and_value = bytes.split_first_chunk::<HEADER_BYTES>();
    let Some((header, value)) = header_and_value else {
        return Err(Damage(format!("it has {} bytes, fewer than its header", bytes.len())));
    };
    let (checked, stored_checksum) = header.split_at(CHECKED_BYTES);
    let actual = checksum(storage_key, checked, value);
    if stored_checksum != actual.to_le_bytes() {
        return Err(Damage("its checksum does not match its content".into()));
    }
    if header[..2] != [FORMAT, FLAGS_NONE] {
        return Err(Damage(format!(
            "it has format {} and flags {}, this program reads format {FORMAT} without flags",
            header[0], header[1]
        )));
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let version = Some(Version { epoch: number(2), sequence: number(10) });
    Ok(Record { value: value.to_vec(), version })
}

fn checksum(storage_key: &[u8], checked: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(storage_key);
    hasher.update(checked);
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_on_disk_is_pinned() {
        let bytes = encode(b"k", Version { epoch: 1, sequence: 2 }, b"v");
        let expected_head = [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes[..CHECKED_BYTES], expected_head);
        assert_eq!(bytes[HEADER_BYTES..], *b"v");
        let mut checked = b"k".to_vec();
        checked.extend_from_slice(&expected_head);
        checked.extend_from_slice(b"v");
        assert_eq!(bytes[CHECKED_BYTES..HEADER_BYTES], crc32fast::hash(&checked).to_le_bytes());
    }

    proptest! {
        #[test]
        fn records_round_trip(key: Vec<u8>, value: Vec<u8>, epoch: u64, sequence: u64) {
            let version = Version { epoch, sequence };
            let bytes = encode(&key, version, &value);
            let record = decode(&key, &bytes).unwrap();
            prop_assert_eq!(record, Record { value, version: Some(version) });
        }

        #[test]
        fn every_flipped_bit_is_found(value: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = encode(b"key", Version { epoch: 1, sequence: 1 }, &value);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(b"key", &bytes).is_err());
        }

        #[test]
        fn truncated_misplaced_and_foreign_bytes_are_found(value: Vec<u8>, cut: prop::sample::Index, noise: Vec<u8>) {
            let bytes = encode(b"key", Version { epoch: 1, sequence: 1 }, &value);
            prop_assert!(decode(b"key", &bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(decode(b"other", &bytes).is_err());
            prop_assert!(decode(b"key", &noise).is_err());
        }
    }
}
