//! How much peers can make a node hold, by how much memory it has for that.
//!
//! What comes in and what goes out have a bound each. It is all peers' together, so that their number
//! does not matter, and where it is exceeded, those that hold most are cut, not those that came last. However
//! little memory there is, one message of any length is taken at a time, and one reply of the longest given.

use kv_core::limits::{FRAME_BYTES_MAX, GET_ALL_BYTES_MAX, REPLY_BYTES_MAX};

const MIB: u64 = 1 << 20;

/// How many replies of the longest may be made at a time: each has room above what else is under way.
pub const LONGEST_REPLIES: usize = 2;
const LONGEST_REPLIES_BYTES: u64 = (LONGEST_REPLIES * GET_ALL_BYTES_MAX) as u64;

/// How much peers can make a node hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of replies that are under way to one connection before its next requests are held back.
    /// They are carried out as their peer reads on.
    pub unread_bytes_hold: u64,
    /// Once so many bytes of replies are under way, reads with a long reply are refused, and connections that hold
    /// others' room and read on no more are cut. The longest replies that may be made then have room above it.
    pub unread_bytes_full: u64,
    /// The most bytes of replies that are under way to all connections, together. Beyond it, those to which
    /// most is under way are cut.
    pub unread_bytes_max: u64,
    /// The most bytes of requests of one connection that are held back, unless it is a single one. Those beyond are
    /// refused as `overloaded`, in their turn, and only that is remembered of them, and their envelope, which
    /// goes on counting.
    pub held_bytes_max: u64,
    /// The same for all connections together.
    pub held_bytes_total_max: u64,
    /// The most bytes of one connection that have been received and not yet carried out: unfinished messages,
    /// and requests that wait. A connection with more is cut. They are bytes that have come: libzmq sets room
    /// aside for a frame as soon as it knows its length, at most one of `FRAME_BYTES_MAX` for each connection, but
    /// the system gives memory for that only as bytes come, in small pages, which the node asks for.
    pub inward_bytes_max: u64,
    /// The same for all connections together: those that hold most are cut.
    pub inward_bytes_total_max: u64,
    /// The most messages of one connection that wait in ZeroMQ's queue to be taken; then it reads no more from the
    /// connection. What their frames and those of the unfinished message take besides their bytes, some 120 bytes
    /// each at most, is thus less than 256 KiB, on top of the bytes that are counted here.
    pub received_messages_max: i32,
}

impl Bounds {
    /// The bounds where a node has `bytes` for requests that wait, and about as many for replies. From 256 MiB
    /// on, more changes nothing.
    #[must_use]
    pub const fn within(bytes: u64) -> Self {
        let bytes = if bytes < 256 * MIB { bytes } else { 256 * MIB };
        let unread_bytes_full = at_least(bytes / 4 * 3, REPLY_BYTES_MAX as u64);
        let held_bytes_total_max = at_least(bytes, 4 * MIB);
        let inward_bytes_max = at_least(bytes / 2, FRAME_BYTES_MAX as u64);
        let messages = bytes / (256 << 10);
        Self {
            unread_bytes_hold: unread_bytes_full / 12,
            unread_bytes_full,
            unread_bytes_max: unread_bytes_full + LONGEST_REPLIES_BYTES,
            held_bytes_max: held_bytes_total_max / 4,
            held_bytes_total_max,
            inward_bytes_max,
            inward_bytes_total_max: at_least(2 * bytes, inward_bytes_max / 4 * 5),
            received_messages_max: if messages < 16 {
                16
            } else if messages < 128 {
                messages as i32
            } else {
                128
            },
        }
    }
}

const fn at_least(bytes: u64, least: u64) -> u64 {
    if bytes < least { least } else { bytes }
}

#[cfg(test)]
mod tests {
    use kv_core::limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX};

    use super::*;

    #[test]
    fn with_little_memory_one_message_of_any_length_is_taken_and_one_longest_reply_given() {
        for bytes in [0, MIB, 30 * MIB, 100 * MIB, 256 * MIB, u64::MAX] {
            let bounds = Bounds::within(bytes);
            let longest = (HEADER_BYTES_MAX + BODY_BYTES_MAX) as u64;
            assert!(longest < bounds.inward_bytes_max, "{bytes}");
            assert!(bounds.inward_bytes_max < bounds.inward_bytes_total_max, "{bytes}");
            assert!(bounds.held_bytes_total_max < bounds.inward_bytes_total_max, "{bytes}");
            assert!(REPLY_BYTES_MAX as u64 <= bounds.unread_bytes_full, "{bytes}");
            assert!(bounds.unread_bytes_hold < bounds.unread_bytes_full, "{bytes}");
            assert!(
                bounds.unread_bytes_full + LONGEST_REPLIES_BYTES <= bounds.unread_bytes_max,
                "{bytes}"
            );
        }
    }

    #[test]
    fn bounds_follow_the_memory_up_to_what_is_enough_for_all() {
        let (little, more) = (Bounds::within(32 * MIB), Bounds::within(128 * MIB));
        assert!(little.held_bytes_max < more.held_bytes_max);
        assert!(little.unread_bytes_full < more.unread_bytes_full);
        assert!(little.inward_bytes_total_max < more.inward_bytes_total_max);
        assert_eq!(Bounds::within(256 * MIB), Bounds::within(u64::MAX));
    }
}
