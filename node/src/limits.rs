//! What a node's process takes of the system. Bounds for its peers are in
//! [`kv_transport::server::limits`] and [`kv_transport::server::bounds`].

use kv_system::descriptors::DESCRIPTORS_OF_A_NODE;
use kv_transport::server::bounds::LONGEST_REPLIES;

/// How many descriptors must be free for a node to start: what it needs, and a few for connections.
pub const DESCRIPTORS_MIN: usize = 128;

/// How many descriptors must be free for `kvnode dev` to start, beside those for its nodes.
pub const DEV_DESCRIPTORS_MIN: usize = 48;

/// How many descriptors `kvnode dev` has for each of its nodes: its pipes, its process, and its connections to
/// the agent.
pub const DEV_DESCRIPTORS_PER_NODE: usize = 8;

/// How many threads a process has besides one for each processor, and some to spare: those of the node, its
/// engine and ZeroMQ, and for blocking work.
pub const THREADS_BESIDE: usize = 16 + READERS_MAX + SCANNERS;

/// How many threads read from the disk at most: as many of its reads are under way at once.
pub const READERS_MAX: usize = 32;

/// How many threads read many keys, for scans and the like. The longest reply of each has room above what may wait
/// to be read by clients.
pub const SCANNERS: usize = 2;

/// How much stack the main thread needs, in bytes: mostly for a command line to be understood.
pub const STACK_BYTES_MIN: u64 = 1 << 20;

/// How much address space a node needs at least, in bytes: it takes some 200 MiB when it is idle, and what
/// it holds for its clients, and for its engine, comes to some hundreds more.
pub const ADDRESS_SPACE_BYTES_MIN: u64 = 1 << 30;

const _: () = {
    assert!(DESCRIPTORS_OF_A_NODE < DESCRIPTORS_MIN as u64);
    assert!(SCANNERS <= LONGEST_REPLIES);
};
