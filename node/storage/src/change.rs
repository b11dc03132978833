//! A key with its newest record, as a memtable has it.

use bytes::Bytes;

use crate::StorageKey;

/// A longer record stays where it is, in its frame. A shorter one is copied, so that a frame, and what others have
/// taken the place of, goes at once.
const COPIED_BYTES_MAX: usize = 16 << 10;
/// What stands before the key: its length, and whether there is a record.
const HEAD_BYTES: usize = 5;

/// A key with its newest record, or with none where it was removed.
pub(crate) enum Change {
    /// In one piece of memory: the head, the key, the record.
    Packed(Box<[u8]>),
    /// A long record, and its key.
    Framed(Box<(StorageKey, Bytes)>),
}

impl Change {
    pub(crate) fn new(key: &StorageKey, record: Option<Bytes>) -> Self {
        if let Some(record) = &record
            && record.len() > COPIED_BYTES_MAX
        {
            return Self::Framed(Box::new((key.clone(), record.clone())));
        }
        let key = key.text();
        let mut bytes = Vec::with_capacity(packed_bytes(key, record.as_ref()));
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.push(record.is_some().into());
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(record.as_deref().unwrap_or_default());
        Self::Packed(bytes.into_boxed_slice())
    }

    /// Takes another record of the same key in. Returns how many bytes key and record had before.
    pub(crate) fn replace(&mut self, key: &StorageKey, record: Option<Bytes>) -> usize {
        let before = self.bytes();
        match (&mut *self, &record) {
            // The allocator need not be asked.
            (Self::Packed(bytes), Some(record))
                if bytes.len() == packed_bytes(key.text(), Some(record)) =>
            {
                bytes[HEAD_BYTES - 1] = true.into();
                bytes[HEAD_BYTES + key.text().len()..].copy_from_slice(record);
            }
            _ => *self = Self::new(key, record),
        }
        before
    }

    pub(crate) fn key(&self) -> &str {
        match self {
            // It was copied from one.
            Self::Packed(bytes) => {
                std::str::from_utf8(&bytes[HEAD_BYTES..key_end(bytes)]).unwrap_or_default()
            }
            Self::Framed(framed) => framed.0.text(),
        }
    }

    /// The record; `None` where it was removed.
    pub(crate) fn record(&self) -> Option<Bytes> {
        match self {
            Self::Packed(bytes) if bytes[HEAD_BYTES - 1] == 0 => None,
            Self::Packed(bytes) => Some(Bytes::copy_from_slice(&bytes[key_end(bytes)..])),
            Self::Framed(framed) => Some(framed.1.clone()),
        }
    }

    /// How many bytes key and record have.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Packed(bytes) => bytes.len() - HEAD_BYTES,
            Self::Framed(framed) => framed.0.text().len() + framed.1.len(),
        }
    }
}

fn packed_bytes(key: &str, record: Option<&Bytes>) -> usize {
    HEAD_BYTES + key.len() + record.map_or(0, Bytes::len)
}

fn key_end(bytes: &[u8]) -> usize {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    HEAD_BYTES + length as usize
}
