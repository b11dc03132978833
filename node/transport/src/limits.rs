//! The limits of connections to nodes. Those that nodes and clients share are in [`kv_core::limits`].

use std::time::Duration;

use kv_core::limits::{FRAME_BYTES_MAX, HEADER_BYTES_MAX};

/// While at most this many operations are under way, the connections' thread stays awake for their
/// answers for a moment. Where there are more, answers come all the time, and the processor is needed.
pub const SPIN_OPERATIONS_MAX: usize = 64;

/// How long a request waits for a connection before its node counts as unreachable at this address.
/// Short against an operation's timeout, so that there is time to look for a new address.
pub const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// How often an idle connection is probed.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a probe may stay without an answer before the connection counts as broken.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a peer may take for ZeroMQ's handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The first and the longest pause between two attempts to connect.
pub const RECONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// See [`RECONNECT_INTERVAL`].
pub const RECONNECT_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// How long a connection without requests is kept.
pub const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(60);

/// The most replies that are read from one connection before the others have their turn.
pub const REPLIES_PER_TURN_MAX: usize = 64;

/// The most frames of an answer, which has three at most: one more is the beginning of no answer, and costs the
/// node its connection at once.
pub const MESSAGE_FRAMES_MAX: usize = zmq_sys::MESSAGE_FRAMES_MAX;

/// The most bytes of an answer that is not whole, from one node: a header and a frame of the greatest length,
/// and some that are no message. More is the beginning of no answer, and costs the node its connection.
pub const UNFINISHED_BYTES_MAX: u64 = (HEADER_BYTES_MAX + FRAME_BYTES_MAX + (1 << 20)) as u64;

/// The most bytes of answers that are not whole, from all nodes together. Where there are more, the connection
/// that has the most is given up, and the reads on it are sent again.
pub const UNFINISHED_BYTES_TOTAL_MAX: u64 = 512 << 20;

/// How often connections are looked at for answers that are not whole.
pub const UNFINISHED_LOOK_INTERVAL: Duration = Duration::from_millis(50);

const _: () = {
    // The connection that is given up for what all have is not the only one that has something.
    assert!(UNFINISHED_BYTES_MAX * 2 < UNFINISHED_BYTES_TOTAL_MAX);
};
