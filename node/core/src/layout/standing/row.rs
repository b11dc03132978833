//! How one row stands.

use crate::copies::Positions;
use crate::limits::REPLICAS_MAX;

const CAPACITY: usize = REPLICAS_MAX as usize;

/// Which copies of a row are in sync, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowStanding {
    since: u64,
    /// For each position the epoch since which its copy is out of sync; 0, which no epoch is, where it is in sync.
    out: [u64; CAPACITY],
}

impl RowStanding {
    /// A row in which all copies are in sync, since the epoch `since`.
    #[must_use]
    pub fn whole(since: u64) -> Self {
        Self { since, out: [0; CAPACITY] }
    }

    /// The epoch in which the set of copies in sync changed last, or a later one.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The copies that are not in sync.
    #[must_use]
    pub fn learners(&self) -> Positions {
        (0..CAPACITY).filter(|it| self.out[*it] != 0).collect()
    }

    /// Whether all copies are in sync.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.learners().is_empty()
    }

    /// The epoch in which the copy at a position left the set of those in sync, or a later one; `None` where it
    /// is in sync.
    #[must_use]
    pub fn out_since(&self, position: usize) -> Option<u64> {
        self.out.get(position).copied().filter(|it| *it != 0)
    }

    /// The copies that were evicted after the epoch `installed`. A primary that had that one installed last ends
    /// its sessions with them ([`Term::note_end`](crate::copies::term::Term::note_end)), also where it has
    /// missed that they were in sync in between: only what was made equal since may be promised anything.
    #[must_use]
    pub fn evicted_after(&self, installed: u64) -> Positions {
        (0..CAPACITY).filter(|it| self.out[*it] > installed).collect()
    }

    /// The row with a copy out of sync since `epoch`.
    pub(in crate::layout) fn evict(mut self, position: usize, epoch: u64) -> Self {
        self.out[position] = epoch;
        Self { since: epoch, ..self }
    }

    /// The row with these copies in sync since `epoch`.
    pub(in crate::layout) fn admit(mut self, positions: Positions, epoch: u64) -> Self {
        positions.iter().for_each(|it| self.out[it] = 0);
        Self { since: epoch, ..self }
    }

    /// The same with no epoch before `floor`.
    pub(super) fn not_before(self, floor: u64) -> Self {
        let out = self.out.map(|it| if it == 0 { 0 } else { it.max(floor) });
        Self { since: self.since.max(floor), out }
    }

    /// What is said of a row whose learners are out since these epochs, in ascending order of their positions;
    /// `None` where that cannot be.
    pub(super) fn read(
        since: u64,
        learners: Positions,
        mut out: impl FnMut() -> Option<u64>,
    ) -> Option<Self> {
        let mut row = Self::whole(since);
        for position in learners.iter() {
            let epoch = out()?;
            let place = row.out.get_mut(position)?;
            *place = Some(epoch).filter(|it| (1..=since).contains(it))?;
        }
        Some(row)
    }
}
