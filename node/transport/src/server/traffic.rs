//! The bytes of one connection: how many are under way on it, and whether its peer reads on.

use std::time::{Duration, Instant};

use crate::tcp::Passed;

/// What heartbeats may add to what a connection has received, in bytes a second. They are part of no
/// message, and an idle connection must not seem to hold what they have come to after some days.
const HEARTBEAT_BYTES_PER_S: u64 = 16;
/// A peer that has not taken in at least so much within [`STALLED_AFTER`] does not read on.
const PROGRESS_BYTES_MIN: u64 = 64 << 10;
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// A frame up to this long has a length of one byte on the wire, a longer one of eight.
const SHORT_FRAME_BYTES_MAX: usize = 255;

/// How many bytes a frame has on the wire.
pub(super) fn wire_bytes(frame: &[u8]) -> u64 {
    let head = if frame.len() > SHORT_FRAME_BYTES_MAX { 9 } else { 2 };
    head + frame.len() as u64
}

/// The bytes of one connection, from its first one on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    accepted_at: Instant,
    /// Part of messages that were carried out, or dropped.
    taken: u64,
    /// Given to ZeroMQ as replies, or waiting until it takes them.
    given: u64,
    /// What the kernel said last.
    passed: Passed,
    /// What had arrived at the peer when it last read on.
    acked_then: u64,
    progress_at: Instant,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Self {
        let passed = Passed { received: 0, acked: 0 };
        Self { accepted_at: now, taken: 0, given: 0, passed, acked_then: 0, progress_at: now }
    }

    pub(super) fn took(&mut self, bytes: u64) {
        self.taken += bytes;
    }

    pub(super) fn gave(&mut self, bytes: u64) {
        self.given += bytes;
    }

    /// Notes what the kernel says.
    pub(super) fn note(&mut self, passed: Passed, now: Instant) {
        // Another connection may have the descriptor by now, whose counters are smaller.
        let received = passed.received.max(self.passed.received);
        let passed = Passed { received, acked: passed.acked.max(self.passed.acked) };
        self.passed = passed;
        // More was never taken, unless a late message of an earlier connection was counted here.
        self.taken = self.taken.min(passed.received);
        // ZeroMQ's own words, such as heartbeats, arrive too. They must not be set off against replies.
        self.given = self.given.max(passed.acked);
        if self.unread() == 0 || passed.acked >= self.acked_then + PROGRESS_BYTES_MIN {
            self.acked_then = passed.acked;
            self.progress_at = now;
        }
    }

    /// The bytes of replies that have not arrived at the peer, as far as is known.
    pub(super) fn unread(&self) -> u64 {
        self.given.saturating_sub(self.passed.acked)
    }

    /// The bytes that have been received and not carried out.
    pub(super) fn inward(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.accepted_at).as_secs();
        let known = self.taken.saturating_add(age.saturating_mul(HEARTBEAT_BYTES_PER_S));
        self.passed.received.saturating_sub(known)
    }

    /// Whether the peer has replies to read and does not read on.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.unread() > PROGRESS_BYTES_MIN
            && now.saturating_duration_since(self.progress_at) >= STALLED_AFTER
    }

    /// Drops the replies that have not arrived.
    pub(super) fn forget_unread(&mut self) {
        self.given = self.passed.acked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn passed(received: u64, acked: u64) -> Passed {
        Passed { received, acked }
    }

    #[test]
    fn frames_have_the_length_that_they_have_on_the_wire() {
        for (length, head) in [(0, 2), (255, 2), (256, 9)] {
            assert_eq!(wire_bytes(&vec![0; length]), length as u64 + head);
        }
    }

    #[test]
    fn heartbeats_are_neither_unfinished_nor_set_off_against_replies() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        traffic.note(passed(0, 5 * MIB), start);
        traffic.gave(MIB);
        assert_eq!(traffic.unread(), MIB, "what arrived before is no part of this reply");

        let month = start + Duration::from_secs(30 * 24 * 3600);
        traffic.note(passed(8 * 30 * 24 * 3600, 5 * MIB), month);
        assert_eq!(traffic.inward(month), 0, "eight bytes a second are heartbeats");
        traffic.note(passed(100 * MIB, 5 * MIB), month);
        assert!(traffic.inward(month) > 50 * MIB, "this is more than heartbeats");
    }

    #[test]
    fn a_peer_is_stalled_while_it_reads_nothing_of_much() {
        let start = Instant::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let mut traffic = Traffic::new(start);
        traffic.note(passed(0, 0), second(9));
        assert!(!traffic.is_stalled(second(100)), "it has nothing to read");
        traffic.gave(MIB);
        traffic.note(passed(0, 0), second(9));
        assert!(!traffic.is_stalled(second(9)));
        traffic.note(passed(0, 1000), second(10));
        assert!(traffic.is_stalled(second(10)), "a trickle is no progress");
        traffic.note(passed(0, PROGRESS_BYTES_MIN), second(10));
        assert!(!traffic.is_stalled(second(10)));
        traffic.note(passed(0, MIB), second(20));
        assert!(!traffic.is_stalled(second(30)), "it has read all");
    }
}
