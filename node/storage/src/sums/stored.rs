//! How sums lie in the engine, in records of its bookkeeping that are written together with a checkpoint's number.
//!
//! One says of how many partitions there are sums, and to which checkpoint they belong: a program that keeps none
//! leaves those of an older one behind. The others have the sums of [`PARTITIONS_PER_BLOB`] partitions each, one
//! after another:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0 where the sum is not known, 1 where there is nothing, 2 where there is something |
//! | 16 | where there is something: the digest, little-endian |
//! | | keys, tombstones and bytes, each as LEB128 |

use kv_core::partition::{Partition, PartitionCount};
use kv_core::partition_sum::PartitionSum;

use super::Sums;
use crate::key::MARK_META;
use crate::{StoreError, varint};

/// How many partitions' sums are in one record.
pub(crate) const PARTITIONS_PER_BLOB: usize = 64;
/// How long such a record is, in bytes, about.
pub(crate) const BLOB_BYTES: u64 = 2 << 10;
const KEY: [u8; 5] = *b"\0sums";
const _: () = assert!(KEY[0] == MARK_META);
const UNKNOWN: u8 = 0;
const NOTHING: u8 = 1;
const SOMETHING: u8 = 2;

/// What the engine is to get of the sums with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SumsUpdate {
    partitions: PartitionCount,
    /// The blobs that have changed, by their numbers.
    blobs: Vec<(u16, Vec<u8>)>,
}

impl SumsUpdate {
    /// These blobs, with the sums that `sum` gives.
    pub(super) fn new(
        partitions: PartitionCount,
        blobs: impl Iterator<Item = u16>,
        sum: impl Fn(Partition) -> Option<PartitionSum>,
    ) -> Self {
        let encoded = |blob: u16| {
            let mut bytes = Vec::new();
            of_blob(partitions, blob).for_each(|partition| encode(&mut bytes, sum(partition)));
            (blob, bytes)
        };
        Self { partitions, blobs: blobs.map(encoded).collect() }
    }

    /// The records that the engine gets with the checkpoint of this number, without their checksums.
    pub(crate) fn records(&self, checkpoint: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let head = [&self.partitions.get().to_le_bytes()[..], &checkpoint.to_le_bytes()].concat();
        let blobs = self.blobs.iter().map(|(blob, bytes)| (key_of(*blob), bytes.clone()));
        std::iter::once((KEY.to_vec(), head)).chain(blobs)
    }

    /// How many leaves of so many records have one of these at most.
    pub(crate) fn leaves(&self, leaf_records: u64) -> u64 {
        let all = u64::from(self.partitions.get()) / PARTITIONS_PER_BLOB as u64;
        // The first of them begins, and the last one ends, in the midst of a leaf.
        (self.blobs.len() as u64).min(all / leaf_records + 1) + 1
    }
}

/// The sums that belong to the checkpoint of this number, of the records that `get` gives, without their checksums.
/// `None` where there are none that belong to it.
pub(crate) fn read(
    checkpoint: u64,
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<Sums>, StoreError> {
    let Some(head) = get(&KEY)? else { return Ok(None) };
    let corrupt = || StoreError::RecordCorrupt("the sums of the partitions".into());
    let (count, belongs_to) = head.split_first_chunk().ok_or_else(corrupt)?;
    let partitions = PartitionCount::new(u32::from_le_bytes(*count)).map_err(|_| corrupt())?;
    if belongs_to != checkpoint.to_le_bytes() {
        return Ok(None);
    }
    let mut sums = Sums::new(partitions, true);
    for blob in 0..sums.is_changed.len() {
        // There are no more than 1,024.
        let blob = blob as u16;
        let Some(bytes) = get(&key_of(blob))? else { return Err(corrupt()) };
        let mut rest = &bytes[..];
        for partition in of_blob(partitions, blob) {
            match decode(&mut rest).ok_or_else(corrupt)? {
                Some(sum) => sums.add(partition, sum),
                None => sums.forget(partition),
            }
        }
        if !rest.is_empty() {
            return Err(corrupt());
        }
    }
    sums.is_changed.fill(false);
    Ok(Some(sums))
}

fn key_of(blob: u16) -> Vec<u8> {
    [&KEY[..], &blob.to_be_bytes()].concat()
}

fn of_blob(partitions: PartitionCount, blob: u16) -> impl Iterator<Item = Partition> {
    let first = u32::from(blob) * PARTITIONS_PER_BLOB as u32;
    let end = partitions.get().min(first + PARTITIONS_PER_BLOB as u32);
    (first..end).map(Partition)
}

fn encode(bytes: &mut Vec<u8>, sum: Option<PartitionSum>) {
    match sum {
        None => bytes.push(UNKNOWN),
        Some(sum) if sum == PartitionSum::default() => bytes.push(NOTHING),
        Some(PartitionSum { digest, keys, tombstones, bytes: of_records }) => {
            bytes.push(SOMETHING);
            bytes.extend_from_slice(&digest.to_le_bytes());
            [keys, tombstones, of_records].iter().for_each(|it| varint::append(bytes, *it));
        }
    }
}

/// Takes a sum from the beginning of `bytes`: `Some(None)` where it is not known, `None` where there is none.
fn decode(bytes: &mut &[u8]) -> Option<Option<PartitionSum>> {
    let (kind, rest) = bytes.split_first()?;
    *bytes = rest;
    match *kind {
        UNKNOWN => Some(None),
        NOTHING => Some(Some(PartitionSum::default())),
        SOMETHING => {
            let (digest, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(Some(PartitionSum {
                digest: u128::from_le_bytes(*digest),
                keys: varint::take(bytes)?,
                tombstones: varint::take(bytes)?,
                bytes: varint::take(bytes)?,
            }))
        }
        _ => None,
    }
}
