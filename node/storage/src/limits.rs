//! The limits of one node's process, in one place. Those that nodes and clients share are in
//! [`kv_core::limits`].

/// How many descriptors must be free before the engine is given anything: it begins a log of its own, and
/// reads some of them, in the middle of a flush that must not fail.
pub const DESCRIPTORS_PER_CHECKPOINT: usize = 16;

/// How much of the disk is held in reserve by default, in bytes; of a small one a quarter.
pub const RESERVE_BYTES_DEFAULT: u64 = 64 << 20;

/// The smallest disk on which a node can work, in bytes.
pub const DISK_BYTES_MIN: u64 = 8 << 20;

/// How many inodes are held in reserve, where any are; of few an eighth.
pub const RESERVE_INODES: u64 = 32;

/// How many inodes are free before the engine is started or given anything, and before anything is stored:
/// it begins a log and a snapshot, and so does the write-ahead log, before the ones before are removed.
pub const INODES_PER_STEP: u64 = 4;

/// How many inodes a new store takes.
pub const INODES_PER_STORE: u64 = 96;

/// What the reserve leaves free on the disk when it is filled up, in bytes: others live there as well.
pub const RESERVE_MARGIN_BYTES: u64 = 1 << 20;

/// The reserve is filled up by at least so much at a time, in bytes, unless less is missing.
pub const RESERVE_STEP_BYTES: u64 = 64 << 10;

/// The room that is asked of the disk for a few small files, in bytes: an identity, the head of a
/// segment, the engine's bookkeeping.
pub const SMALL_FILES_BYTES: u64 = 256 << 10;

/// On a disk that is nearly full, the engine is given so much at a time, in bytes that it then writes.
pub const PIECE_BYTES: u64 = 4 << 20;

const _: () = {
    assert!(
        DESCRIPTORS_PER_CHECKPOINT as u64 * 2 < kv_system::descriptors::DESCRIPTORS_KEPT_FOR_FILES
    );
    assert!(
        DESCRIPTORS_PER_CHECKPOINT as u64 + 107 < kv_system::descriptors::DESCRIPTORS_OF_A_NODE
    );
    assert!(RESERVE_INODES >= 2 * INODES_PER_STEP);
    assert!(RESERVE_STEP_BYTES <= RESERVE_MARGIN_BYTES);
};
