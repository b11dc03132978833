//! Bounding what nodes can make ZeroMQ hold for a client. Pure.
//!
//! ZeroMQ hands a message over only when all its frames have come. Our libzmq bounds their number and the
//! length of each, which together is still far more than any answer, and a client has many nodes. What can be
//! seen is how many bytes were read from the connection, and which messages came out of it: the rest is a
//! message that is not whole. One that is larger than any answer costs its node the connection, and ZeroMQ
//! drops what it held.

use crate::limits::{UNFINISHED_BYTES_MAX, UNFINISHED_BYTES_TOTAL_MAX};

/// What a frame has around it on the wire, at most: flags and a length of eight bytes, and what encryption
/// adds. To count too much for those that were taken is safe, since it counts only until the next look.
const FRAME_OVERHEAD_BYTES: u64 = 64;

/// What has come on one connection.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    /// The bytes that ZeroMQ had read at the last look.
    read: u64,
    /// The bytes of messages that were taken since.
    taken: u64,
    /// The most that a message which is not whole can have had at the last look.
    unfinished: u64,
}

impl Inflow {
    /// Counts a frame of a message that was taken.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes as u64 + FRAME_OVERHEAD_BYTES;
    }

    /// Takes note that ZeroMQ has read so many bytes. All messages that were whole then must have been taken.
    pub(super) fn look(&mut self, read: u64) {
        let news = read.saturating_sub(self.read);
        let mut unfinished = (self.unfinished + news).saturating_sub(self.taken);
        if self.taken > 0 {
            // The message that is not whole began after one that was taken, so after the last look.
            // Bytes of no message, such as ZeroMQ's own signs of life, do not add up so.
            unfinished = unfinished.min(news);
        }
        (self.read, self.taken, self.unfinished) = (read, 0, unfinished);
    }

    /// The most that a message which is not whole can have had at the last look, in bytes.
    pub(super) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Why the connection is to be given up, for a person, where an answer is beyond the limit.
    pub(super) fn excess(&self) -> Option<String> {
        (self.unfinished > UNFINISHED_BYTES_MAX).then(|| {
            format!(
                "it has {} bytes and no end, the limit is {UNFINISHED_BYTES_MAX}",
                self.unfinished
            )
        })
    }
}

/// Whether connections together have too much that is not whole.
pub(super) fn is_too_much(in_total: u64) -> bool {
    in_total > UNFINISHED_BYTES_TOTAL_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The excess after looks at so many bytes read, with messages of so many bytes taken before each.
    fn after(looks: impl IntoIterator<Item = (u64, usize)>) -> Option<String> {
        let mut inflow = Inflow::default();
        looks.into_iter().find_map(|(read, taken)| {
            if taken > 0 {
                inflow.take(taken);
            }
            inflow.look(read);
            inflow.excess()
        })
    }

    #[test]
    fn the_largest_answer_passes_and_a_larger_one_does_not() {
        let parts = |bytes| [(100, 0), (bytes / 2, 0), (bytes, 0)];
        assert_eq!(after(parts(UNFINISHED_BYTES_MAX)), None);
        assert!(after(parts(UNFINISHED_BYTES_MAX + 1)).is_some());
    }

    #[test]
    fn any_number_of_messages_passes_while_they_are_taken() {
        const STEP: u64 = UNFINISHED_BYTES_MAX / 3;
        let answers = (1..1000).map(|number| (number * STEP, STEP as usize));
        assert_eq!(after(answers), None);
        // Each look finds half a message.
        let halves = (1..1000)
            .map(|number| (number * STEP, if number % 2 == 0 { 2 * STEP as usize } else { 0 }));
        assert_eq!(after(halves), None);
    }

    #[test]
    fn what_is_no_message_does_not_add_up() {
        // A hundred thousand bytes of signs of life beside each small message, for long.
        let mut read = 0;
        let looks = (0..10_000).map(|_| {
            read += 100_000;
            (read, 10)
        });
        assert_eq!(after(looks), None);
    }

    #[test]
    fn messages_before_one_without_an_end_do_not_hide_it() {
        let answers = (1..100_u64).map(|number| (number << 20, 1 << 20));
        let endless = (100..300_u64).map(|number| (number << 20, 0));
        assert!(after(answers.chain(endless)).is_some());
    }
}
