//! How moving records travel: as one stream of bytes in the body frame, written by the node that has
//! them, passed on as it is by the mover, and read by the node that gets them. A client that promotes a
//! record writes a stream of that one.
//!
//! Each record is, with all numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 2 | length of the key |
//! | 4 | length of the value |
//! | 1 | 0 for a value, 1 for a tombstone, which has no value |
//! | 8 | epoch of the version |
//! | 8 | sequence number of the version |
//! | 8 | [`fingerprint`] of the record |
//! | | the key, then the value |

use xxhash_rust::xxh3::xxh3_64_with_seed;

use kv_core::limits::KEY_BYTES_MAX;
use kv_core::version::Version;

const HEAD_BYTES: usize = 31;
const VALUE: u8 = 0;
const TOMBSTONE: u8 = 1;

/// A record as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRecord<'a> {
    /// The key.
    pub key: &'a str,
    /// The record's version.
    pub version: Version,
    /// The value; `None` where the record is a tombstone: the key has no value, for certain.
    pub value: Option<&'a [u8]>,
}

/// Bytes that are no stream of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream of records is not understood: record {index} {problem}")]
pub struct InvalidStream {
    index: usize,
    problem: &'static str,
}

/// The number that two copies of a record share, and hardly any two different records: XXH3 over
/// everything that they consist of.
#[must_use]
pub fn fingerprint(key: &str, version: Version, value: Option<&[u8]>) -> u64 {
    // Each hash is the seed of the next, so that no byte can pass from one part to another.
    let hash = xxh3_64_with_seed(key.as_bytes(), version.epoch);
    let hash = xxh3_64_with_seed(&version.sequence.to_le_bytes(), hash);
    match value {
        Some(value) => xxh3_64_with_seed(value, hash),
        None => !hash,
    }
}

/// Appends a record to a stream. Key and value must be within the store's limits.
pub fn push(stream: &mut Vec<u8>, record: &StreamRecord<'_>) {
    let StreamRecord { key, version, value } = *record;
    let bytes = value.unwrap_or_default();
    let key_bytes = u16::try_from(key.len()).expect("keys are far below 64 KiB");
    let value_bytes = u32::try_from(bytes.len()).expect("values are far below 4 GiB");
    stream.extend_from_slice(&key_bytes.to_le_bytes());
    stream.extend_from_slice(&value_bytes.to_le_bytes());
    stream.push(if value.is_some() { VALUE } else { TOMBSTONE });
    stream.extend_from_slice(&version.epoch.to_le_bytes());
    stream.extend_from_slice(&version.sequence.to_le_bytes());
    stream.extend_from_slice(&fingerprint(key, version, value).to_le_bytes());
    stream.extend_from_slice(key.as_bytes());
    stream.extend_from_slice(bytes);
}

/// Reads the records of a stream, each verified against its fingerprint.
///
/// # Errors
/// [`InvalidStream`] where the bytes are not what [`push`] wrote.
pub fn records(stream: &[u8]) -> impl Iterator<Item = Result<StreamRecord<'_>, InvalidStream>> {
    let mut rest = stream;
    let mut index = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = take(&mut rest).map_err(|problem| InvalidStream { index, problem });
        index += 1;
        if record.is_err() {
            rest = &[];
        }
        Some(record)
    })
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<StreamRecord<'a>, &'static str> {
    let (head, tail) = rest.split_first_chunk::<HEAD_BYTES>().ok_or("is cut short")?;
    let number = |at: usize, bytes: usize| {
        head[at..at + bytes].iter().rev().fold(0, |high, byte| high << 8 | u64::from(*byte))
    };
    let (key_bytes, value_bytes) = (number(0, 2) as usize, number(2, 4) as usize);
    let version = Version { epoch: number(7, 8), sequence: number(15, 8) };
    if !(1..=KEY_BYTES_MAX).contains(&key_bytes) {
        return Err("has a key of a length that is not allowed");
    }
    let (key, tail) = tail.split_at_checked(key_bytes).ok_or("is cut short")?;
    let (value, tail) = tail.split_at_checked(value_bytes).ok_or("is cut short")?;
    let key = std::str::from_utf8(key).map_err(|_| "has a key that is not text")?;
    let value = match head[6] {
        VALUE => Some(value),
        TOMBSTONE if value.is_empty() => None,
        _ => return Err("is of an unknown kind"),
    };
    if fingerprint(key, version, value) != number(23, 8) {
        return Err("does not have the fingerprint that it names");
    }
    *rest = tail;
    Ok(StreamRecord { key, version, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = (String, Version, Option<Vec<u8>>)> {
        let version =
            (any::<u64>(), any::<u64>()).prop_map(|(epoch, sequence)| Version { epoch, sequence });
        ("[a-z\u{e9}]{1,20}", version, any::<Option<Vec<u8>>>())
    }

    fn stream(all: &[(String, Version, Option<Vec<u8>>)]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (key, version, value) in all {
            push(&mut stream, &StreamRecord { key, version: *version, value: value.as_deref() });
        }
        stream
    }

    proptest! {
        #[test]
        fn streams_round_trip(all in proptest::collection::vec(any_record(), 0..8)) {
            let stream = stream(&all);
            let read: Vec<_> = records(&stream).map(|it| it.unwrap()).collect();
            let expected: Vec<_> = all.iter().map(|(key, version, value)| {
                StreamRecord { key, version: *version, value: value.as_deref() }
            }).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn a_damaged_stream_is_found_out(
            all in proptest::collection::vec(any_record(), 1..4),
            at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let mut stream = stream(&all);
            let at = at.index(stream.len());
            stream[at] ^= 1 << bit;
            prop_assert!(records(&stream).any(|it| it.is_err()));
            stream[at] ^= 1 << bit;
            // A cut between two records is told by the number that stands beside the stream.
            let whole = records(&stream).count();
            let cut = &stream[..at];
            prop_assert!(records(cut).any(|it| it.is_err()) || records(cut).count() < whole);
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            let count = records(&bytes).count();
            prop_assert!(count <= bytes.len());
        }
    }
}
