//! How a store is to be kept.

use crate::Fsync;

/// How long a segment of the write-ahead log is by default, in bytes. More would save
/// work where keys are written again and again, and cost memory and time at the start.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// A segment may grow to so many times its length where the engine does not keep up.
const SEGMENTS_MAX: u64 = 4;

/// How a store is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// When a write counts as durable.
    pub fsync: Fsync,
    /// The engine takes over the changes in a segment of the write-ahead log when it has this many bytes.
    pub segment_bytes: u64,
}

impl StoreOptions {
    /// The same, where no file may be longer than `file_bytes_max`.
    pub(crate) fn within(self, file_bytes_max: u64) -> Self {
        // Twice, so that a group that begins in a segment that is as long as it may be can end there.
        let longest = file_bytes_max / SEGMENTS_MAX / 2;
        Self { segment_bytes: self.segment_bytes.min(longest), ..self }
    }

    /// Writes wait for the engine where a segment has grown to this many bytes meanwhile.
    pub(crate) fn segment_bytes_max(self) -> u64 {
        self.segment_bytes.saturating_mul(SEGMENTS_MAX)
    }
}

impl From<Fsync> for StoreOptions {
    fn from(fsync: Fsync) -> Self {
        Self { fsync, segment_bytes: SEGMENT_BYTES_DEFAULT }
    }
}
