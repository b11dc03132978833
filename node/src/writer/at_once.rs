//! Groups that the serving thread carries out itself: few writes that need no sync, where nothing has them wait.
//!
//! All other requests of all clients wait while the serving thread works on these. So whatever may take long stays
//! with the writer's thread: reads, copied records, values that have to be looked for in the engine, a log that
//! another thread has or that is being synced, a disk without room, an engine that has stopped, and everything
//! while something is to be removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::group::ROOM_STEP_BYTES;
use super::{Job, Size, Writer};

/// The most operations of such a group: about as much work as the two wake-ups that it saves.
const OPERATIONS_MAX: usize = 64;
/// The most bytes of its keys and values.
const BYTES_MAX: usize = 64 << 10;
/// A group that took at least this long has met a disk that has writers wait.
const SLOW_MIN: Duration = Duration::from_millis(2);
/// After such a group, so many times as long as it took passes before the next one.
const PAUSE_FACTOR: u32 = 50;

/// Groups that took too long for the serving thread, and what follows from that.
#[derive(Default)]
pub(super) struct Pauses {
    until: Option<Instant>,
}

impl Pauses {
    /// Takes note that a group, which was begun at `started`, ended at `ended`.
    fn note(&mut self, started: Instant, ended: Instant) {
        let took = ended.duration_since(started);
        self.until = (took >= SLOW_MIN).then(|| ended + took * PAUSE_FACTOR);
    }

    fn are_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }
}

impl Job {
    /// Whether it is one that may be carried out at once: all its operations are writes, and what they find is
    /// known.
    #[must_use]
    pub fn may_be_carried_out_at_once(&self) -> bool {
        !self.known.is_empty() && self.known.iter().all(Option::is_some)
    }
}

impl Size {
    /// Whether a group of this size is carried out at once.
    #[must_use]
    pub fn is_little(self) -> bool {
        self.operations <= OPERATIONS_MAX && self.bytes <= BYTES_MAX
    }
}

impl Writer {
    /// Whether the serving thread may carry these requests out itself. A partition with copies on other nodes,
    /// which each group has to reach, would be one that it may not write to.
    pub(super) fn may_carry_out_at_once(&self, jobs: &[Job]) -> bool {
        let guard = self.guard.load();
        self.unsynced_log.is_some()
            && !self.has_failed
            // What they find is known under the rights that the node has now.
            && jobs.iter().all(|it| it.may_be_carried_out_at_once() && Arc::ptr_eq(&it.guard, &guard))
            && size_of(jobs).is_little()
            && self.background.due().is_none()
            && self.pauses.are_over(Instant::now())
            && !self.store.has_stopped()
    }

    /// Carries requests out that [may](Writer::may_carry_out_at_once) be, or gives them back where the disk or the
    /// log would have this thread wait.
    pub(super) fn carry_out_at_once(&mut self, jobs: Vec<Job>) -> Result<(), Vec<Job>> {
        let room_bytes = size_of(&jobs).bytes + ROOM_STEP_BYTES;
        let headroom_bytes = self.store.headroom_bytes(self.counters.bytes);
        if !self.disk.shows_room(room_bytes as u64 + headroom_bytes) {
            return Err(jobs);
        }
        let log = self.unsynced_log.clone();
        let Some(log) = log.as_ref().and_then(|it| it.try_lock()) else { return Err(jobs) };
        let started = Instant::now();
        let mut group = self.begin_group_in(room_bytes);
        for job in jobs {
            self.take_in(&mut group, job);
        }
        self.answer(group, |_, batch, counters| log.commit(batch, counters));
        self.pauses.note(started, Instant::now());
        Ok(())
    }
}

fn size_of(jobs: &[Job]) -> Size {
    let mut size = Size::default();
    jobs.iter().for_each(|job| size.add(&job.command));
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_took_long_is_followed_by_a_pause_and_others_are_not() {
        let started = Instant::now();
        let mut pauses = Pauses::default();
        assert!(pauses.are_over(started));
        let quick = started + SLOW_MIN - Duration::from_nanos(1);
        pauses.note(started, quick);
        assert!(pauses.are_over(quick));
        let slow = started + SLOW_MIN;
        pauses.note(started, slow);
        let over = slow + SLOW_MIN * PAUSE_FACTOR;
        assert!(!pauses.are_over(over - Duration::from_nanos(1)));
        assert!(pauses.are_over(over));
        pauses.note(over, over);
        assert!(pauses.are_over(over));
    }

    #[test]
    fn little_is_little_in_operations_and_in_bytes() {
        let is_little = |operations, bytes| Size { operations, bytes }.is_little();
        assert!(is_little(OPERATIONS_MAX, BYTES_MAX));
        assert!(!is_little(OPERATIONS_MAX + 1, 1) && !is_little(1, BYTES_MAX + 1));
    }
}
