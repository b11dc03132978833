//! Changes that become durable together, laid out as a frame's content from the start.
//!
//! | bytes | what |
//! |---|---|
//! | 32 | the counters after the changes |
//! | | the changes, each: |
//! | 1 | kind: 1 a record is stored, 2 a record is removed, 3 a layout is installed, 4 sums are kept from here on; plus, for a record, what there was of its key before: 0 that is not known, 16 nothing, 32 a value, 48 a tombstone |
//! | 4 | length of the key in bytes, little-endian; 0 where there is none |
//! | 4 | length of the rest in bytes, little-endian; 0 for a removal |
//! | | of a value or a tombstone that there was: epoch and sequence number of its version; of a value, its length in bytes; each as LEB128 |
//! | | the key |
//! | | the record, as [`crate::record`] lays it out, or the layout's bytes, or the number of partitions (4, little-endian) |

use std::ops::Range;

use kv_core::partition::PartitionCount;
use kv_core::partition_sum::RecordSize;
use kv_core::version::Version;

use crate::wal::{FRAME_HEAD_BYTES, Malformed};
use crate::{Counters, Entry, StorageKey, counters, record, varint};

const KIND_PUT: u8 = 1;
const KIND_REMOVE: u8 = 2;
const KIND_LAYOUT: u8 = 3;
const KIND_SUMS: u8 = 4;
/// The bits of a kind that say what there was before.
const BEFORE_MASK: u8 = 0x30;
const BEFORE_NOTHING: u8 = 0x10;
const BEFORE_VALUE: u8 = 0x20;
const BEFORE_TOMBSTONE: u8 = 0x30;
const CHANGE_HEAD_BYTES: usize = 9;
/// What a change has beside its key and its value as a rule, in bytes.
const CHANGE_BYTES_USUAL: usize = 48;

/// What there was of a key before a change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// That is not known: what the partition has must be counted anew.
    Unknown,
    /// Nothing.
    Nothing,
    /// A value or a tombstone.
    Record(RecordSize),
}

impl Before {
    fn bits(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Nothing => BEFORE_NOTHING,
            Self::Record(RecordSize { value_bytes: Some(_), .. }) => BEFORE_VALUE,
            Self::Record(RecordSize { value_bytes: None, .. }) => BEFORE_TOMBSTONE,
        }
    }

    fn append(self, bytes: &mut Vec<u8>) {
        let Self::Record(RecordSize { version, value_bytes }) = self else { return };
        varint::append(bytes, version.epoch);
        varint::append(bytes, version.sequence);
        if let Some(value_bytes) = value_bytes {
            varint::append(bytes, value_bytes);
        }
    }

    fn take(bits: u8, bytes: &mut &[u8]) -> Option<Self> {
        if bits != BEFORE_VALUE && bits != BEFORE_TOMBSTONE {
            return Some(if bits == BEFORE_NOTHING { Self::Nothing } else { Self::Unknown });
        }
        let version = Version { epoch: varint::take(bytes)?, sequence: varint::take(bytes)? };
        let value_bytes = match bits {
            BEFORE_VALUE => Some(varint::take(bytes)?),
            _ => None,
        };
        Some(Self::Record(RecordSize { version, value_bytes }))
    }
}

/// Changes that become durable together.
pub struct Batch {
    /// A frame whose head and counters are still blank.
    frame: Vec<u8>,
    changes: Vec<Mutation>,
    /// What there was before each of the changes.
    before: Vec<Before>,
}

/// A change, whose bytes are a range of its frame.
pub(crate) enum Mutation {
    Put(StorageKey, Range<usize>),
    Remove(StorageKey),
    Layout(Range<usize>),
}

impl Default for Batch {
    fn default() -> Self {
        let frame = vec![0; FRAME_HEAD_BYTES + counters::BYTES];
        Self { frame, changes: Vec::new(), before: Vec::new() }
    }
}

impl Batch {
    /// One that has room for so many changes, whose keys and values have so many bytes.
    #[must_use]
    pub fn with_room_for(changes: usize, bytes: usize) -> Self {
        let mut batch = Self::default();
        batch.frame.reserve(changes * CHANGE_BYTES_USUAL + bytes);
        batch.changes.reserve(changes);
        batch.before.reserve(changes);
        batch
    }

    /// Adds the storing of a value or, for `None`, of a tombstone.
    pub fn put(&mut self, key: StorageKey, version: Version, value: Option<&[u8]>, before: Before) {
        let record = |frame: &mut Vec<u8>| record::append(frame, key.parts(), version, value);
        let kind = (ChangeKind::Put, before);
        let range = append_change(&mut self.frame, kind, key.text(), record);
        self.push(Mutation::Put(key, range), before);
    }

    /// Adds the removal of a record.
    pub fn remove(&mut self, key: StorageKey, before: Before) {
        append_change(&mut self.frame, (ChangeKind::Remove, before), key.text(), |_| {});
        self.push(Mutation::Remove(key), before);
    }

    /// Adds the removal of a record that a scan has come across.
    pub fn remove_entry(&mut self, entry: &Entry<'_>) {
        let before = entry.measure().map_or(Before::Unknown, Before::Record);
        self.remove(entry.storage_key(), before);
    }

    pub(crate) fn put_layout(&mut self, bytes: &[u8]) {
        let layout = |frame: &mut Vec<u8>| frame.extend_from_slice(bytes);
        let kind = (ChangeKind::Layout, Before::Unknown);
        let range = append_change(&mut self.frame, kind, "", layout);
        self.push(Mutation::Layout(range), Before::Unknown);
    }

    /// Says that the store has no records, and keeps the sums of so many partitions from here on.
    pub(crate) fn begin_sums(&mut self, partitions: PartitionCount) {
        let count = |frame: &mut Vec<u8>| frame.extend_from_slice(&partitions.get().to_le_bytes());
        append_change(&mut self.frame, (ChangeKind::Sums, Before::Unknown), "", count);
    }

    /// What there was before each of the changes, which it forgets.
    pub(crate) fn take_before(&mut self) -> Vec<Before> {
        std::mem::take(&mut self.before)
    }

    /// The frame, and what it changes.
    pub(crate) fn finish(mut self, counters: Counters) -> (Vec<u8>, Vec<Mutation>) {
        self.frame[FRAME_HEAD_BYTES..][..counters::BYTES].copy_from_slice(&counters.encode());
        (self.frame, self.changes)
    }

    fn push(&mut self, change: Mutation, before: Before) {
        self.changes.push(change);
        self.before.push(before);
    }
}

/// Appends a change to `bytes`, with what `rest` appends. Returns where that lies.
pub(crate) fn append_change(
    bytes: &mut Vec<u8>,
    (kind, before): (ChangeKind, Before),
    key: &str,
    rest: impl FnOnce(&mut Vec<u8>),
) -> Range<usize> {
    bytes.push(kind as u8 | before.bits());
    // Keys are short, and records are far below 4 GiB.
    bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
    let length_at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    before.append(bytes);
    bytes.extend_from_slice(key.as_bytes());
    let start = bytes.len();
    rest(bytes);
    let range = start..bytes.len();
    bytes[length_at..length_at + 4].copy_from_slice(&(range.len() as u32).to_le_bytes());
    range
}

/// A change as it lies in a frame.
pub(crate) struct FramedChange<'a> {
    /// The key; empty where there is none.
    pub(crate) key: &'a str,
    pub(crate) kind: ChangeKind,
    pub(crate) before: Before,
    /// Where the record or the layout lies.
    pub(crate) rest: Range<usize>,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChangeKind {
    Put = KIND_PUT,
    Remove = KIND_REMOVE,
    Layout = KIND_LAYOUT,
    /// Sums are kept from here on.
    Sums = KIND_SUMS,
}

/// Where the first change of a frame stands.
pub(crate) const CHANGES_AT: usize = FRAME_HEAD_BYTES + counters::BYTES;

/// Reads the counters of a frame that was found intact.
pub(crate) fn read_counters(frame: &[u8]) -> Result<Counters, Malformed> {
    let counted = frame.get(FRAME_HEAD_BYTES..CHANGES_AT).ok_or(Malformed)?;
    Counters::decode(counted).map_err(|_| Malformed)
}

/// Reads of how many partitions sums are kept from here on.
pub(crate) fn read_partitions(bytes: &[u8]) -> Result<PartitionCount, Malformed> {
    let count = bytes.try_into().map(u32::from_le_bytes).map_err(|_| Malformed)?;
    PartitionCount::new(count).map_err(|_| Malformed)
}

/// Reads the change that stands at `at` and must end within `bytes`. The next one stands behind its `rest`.
pub(crate) fn read_change(bytes: &[u8], at: usize) -> Result<FramedChange<'_>, Malformed> {
    let behind = bytes.get(at..).ok_or(Malformed)?;
    let (head, mut behind) = behind.split_first_chunk().ok_or(Malformed)?;
    let [kind, lengths @ ..]: &[u8; CHANGE_HEAD_BYTES] = head;
    let before = Before::take(kind & BEFORE_MASK, &mut behind).ok_or(Malformed)?;
    let lengths = u64::from_le_bytes(*lengths);
    let (key_bytes, rest_bytes) = (lengths as u32 as usize, (lengths >> 32) as usize);
    let rest_at = (bytes.len() - behind.len()).checked_add(key_bytes).ok_or(Malformed)?;
    let end = rest_at.checked_add(rest_bytes).ok_or(Malformed)?;
    let key = behind.get(..key_bytes).filter(|_| end <= bytes.len());
    let key = std::str::from_utf8(key.ok_or(Malformed)?).map_err(|_| Malformed)?;
    let kind = match (kind & !BEFORE_MASK, before) {
        (KIND_PUT, _) => ChangeKind::Put,
        (KIND_REMOVE, _) => ChangeKind::Remove,
        (KIND_LAYOUT, Before::Unknown) => ChangeKind::Layout,
        (KIND_SUMS, Before::Unknown) => ChangeKind::Sums,
        _ => return Err(Malformed),
    };
    Ok(FramedChange { key, kind, before, rest: rest_at..end })
}
