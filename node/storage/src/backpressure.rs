//! Slowing writes down where the engine cannot keep up with them.
//!
//! While the engine takes one memtable over, the log's segment grows beyond its length. Writes that
//! stood still once it must not grow any more would wait for longer than their clients do, all at once.
//! So they slow down before, the more the longer the segment is: however long the engine takes, there is
//! some room left.

use std::time::Duration;

use crate::StoreOptions;

/// The longest wait of one group, a fraction of the time that clients give an operation.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// How long a group of `bytes` is to wait before it is appended to a segment of this `length`, both in
/// bytes, while the engine is busy.
pub(crate) fn delay(bytes: usize, length: u64, options: StoreOptions) -> Duration {
    let segment = options.segment_bytes as f64;
    let room = options.segment_bytes_max() as f64 - segment;
    let used = (length.saturating_sub(options.segment_bytes) as f64 / room).clamp(0.0, 1.0);
    let left = 1.0 - used;
    // So much is taken in per second: all that comes where none of the room is used, a quarter of it in its middle,
    // and hardly anything at its end.
    let per_second = room / 2.0 * left * left / used;
    let seconds = bytes as f64 / per_second;
    Duration::try_from_secs_f64(seconds).unwrap_or(DELAY_MAX).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fsync;

    const OPTIONS: StoreOptions = StoreOptions {
        fsync: Fsync::Always,
        segment_bytes: 1 << 20,
        memtable_bytes: 1 << 20,
        engine_bytes: 1 << 20,
    };

    #[test]
    fn a_segment_that_is_not_too_long_takes_in_everything_at_once() {
        assert_eq!(delay(1 << 30, 0, OPTIONS), Duration::ZERO);
        assert_eq!(delay(1 << 30, OPTIONS.segment_bytes, OPTIONS), Duration::ZERO);
    }

    #[test]
    fn no_group_waits_for_longer_than_its_client() {
        for length in [OPTIONS.segment_bytes_max(), u64::MAX] {
            assert_eq!(delay(1, length, OPTIONS), DELAY_MAX);
        }
        assert_eq!(delay(usize::MAX, OPTIONS.segment_bytes + 1, OPTIONS), DELAY_MAX);
    }

    /// Where the engine takes a minute, which would fill the room many times over, some is left.
    #[test]
    fn the_room_is_not_used_up_while_the_engine_is_busy() {
        const GROUP_BYTES: usize = 1 << 10;
        let (mut length, mut waited, mut longest) = (0, Duration::ZERO, Duration::ZERO);
        while waited < Duration::from_secs(60) {
            let next = delay(GROUP_BYTES, length, OPTIONS);
            assert!(length <= OPTIONS.segment_bytes || next >= longest);
            (waited, longest) = (waited + next, next);
            length += GROUP_BYTES as u64;
        }
        assert!(length < OPTIONS.segment_bytes_max(), "{length}");
    }
}
