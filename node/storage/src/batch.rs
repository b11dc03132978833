//! Changes that become durable together, laid out as a frame's content from the start.
//!
//! | bytes | what |
//! |---|---|
//! | 32 | the counters after the changes |
//! | | the changes, each: |
//! | 1 | kind: 1 a record is stored, 2 a record is removed, 3 a layout is installed |
//! | 4 | length of the key in bytes, little-endian; 0 for a layout |
//! | 4 | length of the rest in bytes, little-endian; 0 for a removal |
//! | | the key |
//! | | the record, as [`crate::record`] lays it out, or the layout's bytes |

use std::ops::Range;

use kv_core::version::Version;

use crate::wal::{FRAME_HEAD_BYTES, Malformed};
use crate::{Counters, Entry, StorageKey, counters, record};

const KIND_PUT: u8 = 1;
const KIND_REMOVE: u8 = 2;
const KIND_LAYOUT: u8 = 3;
const CHANGE_HEAD_BYTES: usize = 9;

/// Changes that become durable together.
pub struct Batch {
    /// A frame whose head and counters are still blank.
    frame: Vec<u8>,
    changes: Vec<Mutation>,
}

/// A change, whose bytes are a range of its frame.
pub(crate) enum Mutation {
    Put(StorageKey, Range<usize>),
    Remove(StorageKey),
    Layout(Range<usize>),
}

impl Default for Batch {
    fn default() -> Self {
        Self { frame: vec![0; FRAME_HEAD_BYTES + counters::BYTES], changes: Vec::new() }
    }
}

impl Batch {
    /// Adds the storing of a value or, for `None`, of a tombstone.
    pub fn put(&mut self, key: StorageKey, version: Version, value: Option<&[u8]>) {
        let record = |frame: &mut Vec<u8>| record::append(frame, key.parts(), version, value);
        let range = self.append(KIND_PUT, key.text(), record);
        self.changes.push(Mutation::Put(key, range));
    }

    /// Adds the removal of a record.
    pub fn remove(&mut self, key: StorageKey) {
        self.append(KIND_REMOVE, key.text(), |_| {});
        self.changes.push(Mutation::Remove(key));
    }

    /// Adds the removal of a record that a scan has come across.
    pub fn remove_entry(&mut self, entry: &Entry<'_>) {
        self.remove(entry.storage_key());
    }

    pub(crate) fn put_layout(&mut self, bytes: &[u8]) {
        let range = self.append(KIND_LAYOUT, "", |frame| frame.extend_from_slice(bytes));
        self.changes.push(Mutation::Layout(range));
    }

    /// The frame, and what it changes.
    pub(crate) fn finish(mut self, counters: Counters) -> (Vec<u8>, Vec<Mutation>) {
        self.frame[FRAME_HEAD_BYTES..][..counters::BYTES].copy_from_slice(&counters.encode());
        (self.frame, self.changes)
    }

    fn append(&mut self, kind: u8, key: &str, rest: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let frame = &mut self.frame;
        frame.push(kind);
        // Keys are short, and records are far below 4 GiB.
        frame.extend_from_slice(&(key.len() as u32).to_le_bytes());
        let length_at = frame.len();
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(key.as_bytes());
        let start = frame.len();
        rest(frame);
        let range = start..frame.len();
        frame[length_at..length_at + 4].copy_from_slice(&(range.len() as u32).to_le_bytes());
        range
    }
}

/// A change as it lies in a frame.
pub(crate) struct FramedChange<'a> {
    /// The key; empty for a layout.
    pub(crate) key: &'a str,
    pub(crate) kind: ChangeKind,
    /// Where the record or the layout lies.
    pub(crate) rest: Range<usize>,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Put,
    Remove,
    Layout,
}

/// Where the first change of a frame stands.
pub(crate) const CHANGES_AT: usize = FRAME_HEAD_BYTES + counters::BYTES;

/// Reads the counters of a frame that was found intact.
pub(crate) fn read_counters(frame: &[u8]) -> Result<Counters, Malformed> {
    let counted = frame.get(FRAME_HEAD_BYTES..CHANGES_AT).ok_or(Malformed)?;
    Counters::decode(counted).map_err(|_| Malformed)
}

/// Reads the change that stands at `at` and must end within `bytes`. The next one stands behind its `rest`.
pub(crate) fn read_change(bytes: &[u8], at: usize) -> Result<FramedChange<'_>, Malformed> {
    let head = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
    let [kind, lengths @ ..]: &[u8; CHANGE_HEAD_BYTES] = head;
    let lengths = u64::from_le_bytes(*lengths);
    let rest_at = (at + CHANGE_HEAD_BYTES).checked_add(lengths as u32 as usize).ok_or(Malformed)?;
    let end = rest_at.checked_add((lengths >> 32) as usize).ok_or(Malformed)?;
    let key = bytes.get(at + CHANGE_HEAD_BYTES..rest_at).filter(|_| end <= bytes.len());
    let key = std::str::from_utf8(key.ok_or(Malformed)?).map_err(|_| Malformed)?;
    let kind = match *kind {
        KIND_PUT => ChangeKind::Put,
        KIND_REMOVE => ChangeKind::Remove,
        KIND_LAYOUT => ChangeKind::Layout,
        _ => return Err(Malformed),
    };
    Ok(FramedChange { key, kind, rest: rest_at..end })
}
