//! What peers can make a node hold, each and all together.
//!
//! What comes in and what goes out have a budget each. It is all peers' together, so that their number
//! does not matter, and where it is exceeded, those that hold most are cut, not those that came last.

/// The most bytes of replies that are under way to one connection before its next requests are held back.
/// They are carried out as their peer reads on.
pub const UNREAD_BYTES_HOLD: u64 = 16 << 20;

/// The most bytes of replies that are under way to all connections, together. Beyond it, those to which
/// most is under way are cut.
pub const UNREAD_BYTES_MAX: u64 = 256 << 20;

/// Once this much is under way, reads with a long reply are refused, and connections that hold others'
/// room and read on no more are cut. One reply of the longest has room above it.
pub const UNREAD_BYTES_FULL: u64 = 192 << 20;

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

/// The most bytes of requests of one connection that are held back. Those beyond are refused as `overloaded`,
/// in their turn, and only that is remembered of them, and their envelope, which goes on counting.
pub const HELD_BYTES_MAX: u64 = 64 << 20;

/// The same for all connections together.
pub const HELD_BYTES_TOTAL_MAX: u64 = 256 << 20;

/// The most bytes of one connection that have been received and not yet carried out: unfinished messages,
/// and requests that wait. A connection with more is cut. They are bytes that have come: libzmq sets room
/// aside for a frame as soon as it knows its length, at most one of `FRAME_BYTES_MAX` for each connection, but
/// the system gives memory for that only as bytes come, in small pages, which the node asks for.
pub const INWARD_BYTES_MAX: u64 = 128 << 20;

/// The same for all connections together: those that hold most are cut.
pub const INWARD_BYTES_TOTAL_MAX: u64 = 512 << 20;

/// The most frames of a message: the peer that sends one more is cut by libzmq, without an answer. That is
/// above what a message may have (`FRAMES_MAX` of the protocol), so that a mistake gets an answer.
pub const MESSAGE_FRAMES_MAX: usize = zmq_sys::MESSAGE_FRAMES_MAX;

/// The most messages of one connection that wait in ZeroMQ's queue to be taken; then it reads no more from the
/// connection. What their frames and those of the unfinished message take besides their bytes, some 120 bytes
/// each at most, is thus less than 256 KiB, on top of the bytes that are counted here.
pub const RECEIVED_MESSAGES_MAX: i32 = 128;

/// The most connections, however many descriptors the process may have
/// ([`descriptors::for_connections`](crate::descriptors::for_connections)). Where there are more, those that
/// have been silent longest are cut.
pub const CONNECTIONS_MAX: usize = 4096;

const _: () = {
    assert!(kv_protocol::limits::FRAMES_MAX < MESSAGE_FRAMES_MAX);
    assert!(UNREAD_BYTES_HOLD < UNREAD_BYTES_FULL && UNREAD_BYTES_FULL < UNREAD_BYTES_MAX);
    assert!(HELD_BYTES_MAX < INWARD_BYTES_MAX && HELD_BYTES_TOTAL_MAX < INWARD_BYTES_TOTAL_MAX);
    assert!(INWARD_BYTES_MAX < INWARD_BYTES_TOTAL_MAX);
    assert!((PENDING_REQUESTS_MAX as usize) < crate::handler::JOBS_MAX / 2);
    assert!(HELD_REQUESTS_MAX < HELD_REQUESTS_TOTAL_MAX);
};
