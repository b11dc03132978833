//! How a store is to be kept.

use crate::Fsync;

/// How long a segment of the redo log is unless somebody says otherwise, in bytes. More would save
/// work where keys are written again and again, and cost memory and time at the start.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// How a store is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// When a write counts as durable.
    pub fsync: Fsync,
    /// The engine takes over what is in a segment of the redo log when the segment has this many bytes.
    pub segment_bytes: u64,
}

impl StoreOptions {
    /// Writes wait for the engine where a segment has grown to this many bytes meanwhile.
    pub(crate) fn segment_bytes_max(self) -> u64 {
        self.segment_bytes.saturating_mul(4)
    }
}

impl From<Fsync> for StoreOptions {
    fn from(fsync: Fsync) -> Self {
        Self { fsync, segment_bytes: SEGMENT_BYTES_DEFAULT }
    }
}
