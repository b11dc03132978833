//! The limits of one node's process, in one place. Those that nodes and clients share are in
//! [`kv_protocol::limits`].

/// How many file descriptors are kept from connections, so that whatever needs a file finds one: the
/// engine has some eighty files, and opens some more while it begins a log or starts anew; the redo log,
/// the identity, Consul's connections, a node that is started, and what the runtime waits on take a
/// hundred; and some are for connections that are accepted before the serving loop looks again. See
/// [`crate::descriptors::for_connections`].
pub const DESCRIPTORS_KEPT_FOR_FILES: u64 = 256;

/// How many descriptors a node of its own needs: it has 107 when nobody uses it, and some for the
/// [engine's logs](DESCRIPTORS_PER_CHECKPOINT). Connections get those beyond.
pub const DESCRIPTORS_OF_A_NODE: u64 = 124;

/// How many descriptors must be free for a node to start: what it needs, and a few for connections.
pub const DESCRIPTORS_MIN: usize = 128;

/// How many descriptors must be free for `kvnode dev` to start, beside those for its nodes.
pub const DEV_DESCRIPTORS_MIN: usize = 48;

/// How many descriptors `kvnode dev` has for each of its nodes: its pipes, its process, and its connections to
/// the agent.
pub const DEV_DESCRIPTORS_PER_NODE: usize = 8;

/// How many threads a process has besides one for each processor, and some to spare: those of the node, its
/// engine and ZeroMQ, and for blocking work.
pub const THREADS_BESIDE: usize = 16;

/// How much stack the main thread needs, in bytes: mostly for a command line to be understood.
pub const STACK_BYTES_MIN: u64 = 1 << 20;

/// A process needs no more descriptors than this, and a kernel keeps a table of as many as are allowed.
pub const DESCRIPTORS_MAX: u64 = 1 << 20;

/// How many descriptors must be free before the engine is given anything: it begins a log of its own, and
/// reads some of them, in the middle of a flush that must not fail.
pub const DESCRIPTORS_PER_CHECKPOINT: usize = 16;

/// How much address space a node needs at least, in bytes: it takes some 200 MiB when nobody uses it, and what
/// it holds for its clients, and for its engine, comes to some hundreds more.
pub const ADDRESS_SPACE_BYTES_MIN: u64 = 1 << 30;

/// How much of the disk is held in reserve unless somebody says otherwise, in bytes; of a small one a
/// quarter.
pub const RESERVE_BYTES_DEFAULT: u64 = 64 << 20;

/// The smallest disk on which a node can work, in bytes.
pub const DISK_BYTES_MIN: u64 = 8 << 20;

/// How many inodes are held in reserve, where any are; of few an eighth.
pub const RESERVE_INODES: u64 = 32;

/// How many inodes are free before the engine is started or given anything, and before anything is stored:
/// it begins a log and a snapshot, and so does the redo log, before the ones before are removed.
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
    assert!(DESCRIPTORS_PER_CHECKPOINT as u64 * 2 < DESCRIPTORS_KEPT_FOR_FILES);
    assert!(RESERVE_INODES >= 2 * INODES_PER_STEP);
    assert!(DESCRIPTORS_PER_CHECKPOINT as u64 + 107 < DESCRIPTORS_OF_A_NODE);
    assert!(DESCRIPTORS_OF_A_NODE < DESCRIPTORS_MIN as u64);
    assert!(RESERVE_STEP_BYTES <= RESERVE_MARGIN_BYTES);
};
