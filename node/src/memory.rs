//! How a node divides the memory that it may take.

use bytesize::ByteSize;
use kv_system::memory::available_bytes;
use kv_transport::server::bounds::Bounds;

use crate::limits::READERS_MAX;

/// The least that a node works with, in bytes.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// What it takes however little it stores, in bytes.
const BASE_BYTES: u64 = 28 << 20;
/// Up to this budget, in bytes, a node gives back soon what it has freed.
const SCARCE_BYTES_MAX: u64 = 256 << 20;
/// What a node takes by default, of what there is, where that is known.
const DEFAULT_SHARE: u64 = 4;
const DEFAULT_WHERE_UNKNOWN: u64 = 1 << 30;
/// Which part of its share the cache of records keeps however much the storage engine needs: it is what answers reads
/// at once.
const RECORD_CACHE_LEAST: u64 = 4;
/// Segments of the write-ahead log are no longer than pays: a start reads what is in one or two, as a rule, and up to
/// four times as much.
const SEGMENT_BYTES_MAX: u64 = 448 << 20;
/// Requests that wait for the disk take no more than is enough for any disk...
const JOBS_BYTES_MAX: u64 = 256 << 20;
/// ...and no less than keeps one busy.
const JOBS_BYTES_MIN: u64 = 4 << 20;

/// The memory that a node may take, in bytes. What it takes however little it stores is no part of what is divided.
/// The parts are full at the same time only while the storage engine cannot keep up with writes of ever new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget(u64);

impl MemoryBudget {
    /// What a command line says, or the default, for one node of `nodes` on this machine that share it.
    #[must_use]
    pub fn new(said: Option<u64>, nodes: u64) -> Self {
        let default = || available_bytes().map_or(DEFAULT_WHERE_UNKNOWN, |it| it / DEFAULT_SHARE);
        Self((said.unwrap_or_else(default) / nodes.max(1)).max(MEMORY_BYTES_MIN))
    }

    /// Whether what the node frees within a second is much of it.
    #[must_use]
    pub fn is_scarce(self) -> bool {
        self.0 <= SCARCE_BYTES_MAX
    }

    /// All of it.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn divided(self) -> u64 {
        self.0 - BASE_BYTES
    }

    /// For records that were read or written lately, where the storage engine needs `index_bytes` to find its pages.
    #[must_use]
    pub fn record_cache_bytes(self, index_bytes: u64) -> u64 {
        let share = self.divided() / 100 * 42;
        share.saturating_sub(index_bytes).max(share / RECORD_CACHE_LEAST)
    }

    /// For the pages of the storage engine.
    #[must_use]
    pub fn engine_bytes(self) -> u64 {
        self.divided() / 100 * 20
    }

    /// For the changes that the storage engine has not taken over: it begins when there are so many. Meanwhile others
    /// come, and both together take up to a third as much again.
    #[must_use]
    pub fn memtable_bytes(self) -> u64 {
        self.divided() / 100 * 38
    }

    /// How long a segment of the write-ahead log is. It is not in memory but while a start reads it, and what is left
    /// of it then is no more than what memtables may take.
    #[must_use]
    pub fn segment_bytes(self) -> u64 {
        (self.divided() / 10 * 9).min(SEGMENT_BYTES_MAX)
    }

    /// For requests that wait for the disk: so much at a time, or a single one however long it is.
    #[must_use]
    pub fn jobs_bytes(self) -> usize {
        let bytes = self.under_way_bytes().clamp(JOBS_BYTES_MIN, JOBS_BYTES_MAX);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// How many threads read from the disk: each has a page and what is in it.
    #[must_use]
    pub fn readers(self) -> usize {
        if self.is_scarce() { READERS_MAX / 4 * 3 } else { READERS_MAX }
    }

    /// What peers can make the node hold beside those.
    #[must_use]
    pub fn bounds(self) -> Bounds {
        Bounds::within(self.under_way_bytes())
    }

    fn under_way_bytes(self) -> u64 {
        self.divided() / 16
    }
}

/// Reads how much memory a node may take.
///
/// # Errors
/// It is no size, too small, or more than there is.
pub fn parse(text: &str) -> Result<u64, String> {
    let size: ByteSize =
        text.parse().map_err(|_| "expected a size, such as 512MiB or 2GiB".to_owned())?;
    match size.as_u64() {
        bytes if bytes < MEMORY_BYTES_MIN => {
            Err(format!("a node needs at least {}", ByteSize(MEMORY_BYTES_MIN)))
        }
        bytes => match available_bytes() {
            Some(available) if bytes > available => {
                Err(format!("this process may have at most {}", ByteSize(available)))
            }
            _ => Ok(bytes),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("67108864"), Ok(64 << 20));
        assert_eq!(parse("128 MiB"), Ok(128 << 20));
        for (text, says) in [
            ("67108863", "at least 64.0 MiB"),
            ("0", "at least"),
            ("a lot", "such as 512MiB"),
            ("-1", "such as 512MiB"),
            ("", "such as 512MiB"),
            ("1000PiB", "at most"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_parts_leave_room_for_what_is_no_part() {
        for bytes in [MEMORY_BYTES_MIN, 512 << 20, 6 << 30, 1 << 40] {
            let budget = MemoryBudget::new(Some(bytes), 1);
            let caches = budget.record_cache_bytes(0) + budget.engine_bytes();
            let parts = caches + budget.memtable_bytes();
            assert!(parts <= bytes, "{parts} of {bytes}");
            let most = caches + budget.memtable_bytes() / 10 * 13;
            assert!(
                most <= bytes / 100 * 112,
                "where the engine cannot keep up: {most} of {bytes}"
            );
        }
    }

    #[test]
    fn records_make_room_for_what_the_engine_needs_to_find_its_pages() {
        let budget = MemoryBudget::new(Some(1 << 30), 1);
        let share = budget.record_cache_bytes(0);
        assert_eq!(budget.record_cache_bytes(1 << 20), share - (1 << 20));
        assert_eq!(budget.record_cache_bytes(u64::MAX), share / RECORD_CACHE_LEAST);
    }

    #[test]
    fn what_is_under_way_follows_the_budget() {
        let of = |bytes| MemoryBudget::new(Some(bytes), 1);
        let (least, little, much) = (of(MEMORY_BYTES_MIN), of(512 << 20), of(6 << 30));
        assert_eq!(least.jobs_bytes() as u64, JOBS_BYTES_MIN);
        assert!(little.jobs_bytes() as u64 <= (512 << 20) / 16);
        assert_eq!(much.jobs_bytes() as u64, JOBS_BYTES_MAX);
        assert_eq!(much.bounds(), Bounds::within(u64::MAX));
        // A client's requests that wait, carried out or held back.
        let waiting = least.jobs_bytes() as u64 + least.bounds().held_bytes_total_max;
        assert!(waiting <= MEMORY_BYTES_MIN / 8, "{waiting}");
    }

    #[test]
    fn nodes_of_one_machine_share_and_none_gets_too_little() {
        assert_eq!(MemoryBudget::new(Some(1 << 30), 4).bytes(), 256 << 20);
        assert_eq!(MemoryBudget::new(Some(1 << 30), 64).bytes(), MEMORY_BYTES_MIN);
        assert!(MemoryBudget::new(None, 1).bytes() >= MEMORY_BYTES_MIN);
    }
}
