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

/// Reads a frame that was found intact: the counters, and what it changes.
pub(crate) fn read(frame: &[u8]) -> Result<(Counters, Vec<Mutation>), Malformed> {
    let content = frame.get(FRAME_HEAD_BYTES..).ok_or(Malformed)?;
    let counted = content.get(..counters::BYTES).ok_or(Malformed)?;
    let counters = Counters::decode(counted).map_err(|_| Malformed)?;
    let mut changes = Vec::new();
    let mut at = FRAME_HEAD_BYTES + counters::BYTES;
    while at < frame.len() {
        let head = frame.get(at..at + CHANGE_HEAD_BYTES).ok_or(Malformed)?;
        let length = |from: usize| {
            let bytes = head[from..from + 4].try_into().unwrap_or_default();
            u32::from_le_bytes(bytes) as usize
        };
        let key_at = at + CHANGE_HEAD_BYTES;
        let rest_at = key_at.checked_add(length(1)).ok_or(Malformed)?;
        at = rest_at.checked_add(length(5)).filter(|end| *end <= frame.len()).ok_or(Malformed)?;
        let key = std::str::from_utf8(&frame[key_at..rest_at]).map_err(|_| Malformed)?;
        changes.push(match head[0] {
            KIND_PUT => Mutation::Put(StorageKey::new(key), rest_at..at),
            KIND_REMOVE => Mutation::Remove(StorageKey::new(key)),
            KIND_LAYOUT => Mutation::Layout(rest_at..at),
            _ => return Err(Malformed),
        });
    }
    Ok((counters, changes))
}
