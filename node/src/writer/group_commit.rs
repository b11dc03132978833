//! How long a group waits for company.
//!
//! The clients that the last group answered are about to ask again, in several messages that do not come
//! at once. A group that set off with the first of them would keep the others waiting for a whole sync
//! of the disk. So a group that is clearly smaller than the one before waits a little, a fraction of
//! what a sync takes; a client that is alone never waits.

use std::time::{Duration, Instant};

use super::{Size, Work};

/// The longest wait.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

/// What the last group was like.
#[derive(Default)]
pub(super) struct GroupCommitDelay {
    operations: usize,
    sync_took: Duration,
}

impl GroupCommitDelay {
    /// Takes note of a group of this size, which took so long to become durable.
    pub(super) fn note(&mut self, size: Size, sync_took: Duration) {
        *self = Self { operations: size.operations, sync_took };
    }

    /// How many operations the last group had.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    /// The next piece of work for a group that was begun at `started` and has this size by now; `None`
    /// where it shall wait no longer.
    pub(super) fn next(
        &self,
        work: &flume::Receiver<Work>,
        size: Size,
        started: Instant,
    ) -> Option<Work> {
        if size.is_full() {
            return None;
        }
        if let Ok(item) = work.try_recv() {
            return Some(item);
        }
        let is_smaller = size.operations * 4 < self.operations * 3;
        let patience = PATIENCE_MAX.min(self.sync_took / 4);
        is_smaller.then(|| work.recv_deadline(started + patience).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(operations: usize) -> Size {
        Size { operations, bytes: 0 }
    }

    #[test]
    fn a_group_waits_only_for_as_many_as_came_before() {
        let (sender, work) = flume::unbounded();
        let mut group_commit_delay = GroupCommitDelay::default();
        let started = Instant::now();
        assert!(group_commit_delay.next(&work, size(1), started).is_none());
        // A sync of an hour, so that a wait that is not cut short is seen.
        group_commit_delay.note(size(100), Duration::from_secs(3600));
        assert!(group_commit_delay.next(&work, size(75), started).is_none());
        assert!(started.elapsed() < PATIENCE_MAX, "it has waited");
        assert!(group_commit_delay.next(&work, size(74), Instant::now()).is_none());
        assert!(started.elapsed() >= PATIENCE_MAX, "it has not waited");
        sender.send(Work::Repair).unwrap();
        assert!(group_commit_delay.next(&work, size(1), Instant::now()).is_some());
    }
}
