//! Bounding what nodes can make ZeroMQ hold for a client. Pure.
//!
//! ZeroMQ hands a message over only when all its frames have come, and its own limits count complete messages
//! and single frames. A node that sends frame after frame without an end could therefore fill the client's
//! memory unseen. What can be seen is how many bytes were read from the connection, and which messages came
//! out of it: the rest is a message that is not whole. One that is larger than any answer, or makes the
//! process grow far more than its bytes do (a frame of no bytes takes two on the wire and many more in
//! memory), costs its node the connection, and ZeroMQ drops what it held.

use crate::limits::{
    UNFINISHED_BYTES_MAX, UNFINISHED_BYTES_TOTAL_MAX, UNFINISHED_BYTES_WATCHED,
    UNFINISHED_GROWTH_MAX,
};

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
    /// The process's memory when a look first found this message unfinished.
    memory: Option<u64>,
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
            // The message that is not whole began after one that was taken, so after the last look. What is
            // no message, such as ZeroMQ's own signs of life, adds up to nothing so.
            unfinished = unfinished.min(news);
            self.memory = None;
        }
        (self.read, self.taken, self.unfinished) = (read, 0, unfinished);
    }

    /// The most that a message which is not whole can have had at the last look, in bytes.
    pub(super) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Whether memory is to be looked at.
    pub(super) fn is_watched(&self) -> bool {
        self.unfinished >= UNFINISHED_BYTES_WATCHED
    }

    /// What is wrong, where something is. The process has so much memory now, and all connections have
    /// messages that are not whole of so many bytes `in_total`.
    pub(super) fn excess(&mut self, memory: u64, in_total: u64) -> Option<String> {
        if self.unfinished > UNFINISHED_BYTES_MAX {
            return Some(format!(
                "it has {} bytes and no end, the limit is {UNFINISHED_BYTES_MAX}",
                self.unfinished
            ));
        }
        if !self.is_watched() {
            self.memory = None;
            return None;
        }
        let growth = memory.saturating_sub(*self.memory.get_or_insert(memory));
        (growth > UNFINISHED_GROWTH_MAX + in_total).then(|| {
            format!(
                "it has {} bytes and no end, and this process grew by {growth} bytes meanwhile: is it of \
                 countless frames?",
                self.unfinished
            )
        })
    }

    /// Forgets how the process grew, since another connection is taken to have caused it.
    pub(super) fn forget_growth(&mut self) {
        self.memory = None;
    }
}

/// Whether connections together have too much that is not whole.
pub(super) fn is_too_much(in_total: u64) -> bool {
    in_total > UNFINISHED_BYTES_TOTAL_MAX
}

/// The memory of this process, in bytes; 0 where the system does not tell.
pub(super) fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: u64 = 1 << 30;

    /// What is wrong after looks at so many bytes read, with messages of so many bytes taken before each.
    fn after(looks: impl IntoIterator<Item = (u64, usize)>) -> Option<String> {
        let mut inflow = Inflow::default();
        looks.into_iter().find_map(|(read, taken)| {
            if taken > 0 {
                inflow.take(taken);
            }
            inflow.look(read);
            inflow.excess(MEMORY, inflow.unfinished())
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

    #[test]
    fn growth_counts_only_beside_a_message_that_is_not_whole() {
        let mut inflow = Inflow::default();
        let grown = MEMORY + UNFINISHED_GROWTH_MAX + UNFINISHED_BYTES_WATCHED;
        inflow.look(UNFINISHED_BYTES_WATCHED - 1);
        assert_eq!(inflow.excess(MEMORY, 0), None);
        assert_eq!(inflow.excess(2 * grown, 0), None);
        inflow.look(UNFINISHED_BYTES_WATCHED);
        let unfinished = inflow.unfinished();
        assert_eq!(inflow.excess(MEMORY, unfinished), None);
        assert_eq!(inflow.excess(grown, unfinished), None, "as much as it may");
        assert!(inflow.excess(grown + 1, unfinished).is_some());
        inflow.take(UNFINISHED_BYTES_WATCHED as usize);
        inflow.look(3 * UNFINISHED_BYTES_WATCHED);
        assert_eq!(inflow.excess(2 * grown, 0), None, "another message has begun");
    }
}
