//! What peers can make a node hold, each and all together, however much memory it has. What depends on that is
//! [`Bounds`](super::bounds::Bounds).

/// The longest value of a reply, in bytes, that there is room for even then.
pub const SHORT_REPLY_BYTES_MAX: usize = 64 << 10;

/// The most requests of one connection that wait for the writer before its next ones are held back. Where
/// the writer has much to do, each connection has one.
pub const PENDING_REQUESTS_MAX: u32 = 1024;

/// The most requests of one connection that are held back until their peer has read what was answered, or
/// the disk has done those before them. A connection with more is cut.
pub const HELD_REQUESTS_MAX: usize = 1 << 16;

/// The same for all connections together: those that hold most are cut.
pub const HELD_REQUESTS_TOTAL_MAX: usize = 1 << 18;

/// The most frames of a message: the peer that sends one more is cut by libzmq, without an answer. That is
/// above what a message may have (`FRAMES_MAX` of the protocol), so that a mistake gets an answer.
pub const MESSAGE_FRAMES_MAX: usize = zmq_sys::MESSAGE_FRAMES_MAX;

/// The most connections, however many descriptors the process may have
/// ([`descriptors::for_connections`](kv_system::descriptors::for_connections)). Where there are more, those that
/// have been silent longest are cut.
pub const CONNECTIONS_MAX: usize = 4096;

const _: () = {
    assert!(kv_core::limits::FRAMES_MAX < MESSAGE_FRAMES_MAX);
    assert!(HELD_REQUESTS_MAX < HELD_REQUESTS_TOTAL_MAX);
};
