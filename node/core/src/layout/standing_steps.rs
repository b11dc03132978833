//! The steps by which copies leave the set of those in sync, and come back into it.
//!
//! | step | from | to |
//! |---|---|---|
//! | [`Layout::evict`] | a node that has copies in sync, as has one that reports it | it has none in the rows that they share |
//! | [`Layout::admit`] | a node that has learners, which their primaries have promised to wait for | they are in sync |
//! | [`Layout::fence`] | any | the same; but promises that were made before are void |
//!
//! They are for layouts with more than one copy of each partition; no program makes any yet. The first two need the
//! rows, which tables say: the layout's own [`Assignments`].

use std::collections::BTreeSet;

use super::{Assignments, Layout, RowStanding, StepError};
use crate::copies::{Positions, Row};
use crate::partition::Partition;

impl Layout {
    /// Takes the copies of `nodes` out of the sets in sync, in all rows in which `reporter` has a copy that is in
    /// sync: these nodes are silent, as the reporter says. Or, where the reporter is the one node that it names, it
    /// gives up its own places, in all rows in which another copy is in sync. Nodes are indexes, as in `rows`.
    ///
    /// A row may be left with fewer than [`Layout::min_in_sync`]: it is the reporter that puts off an eviction like
    /// that, for some time ([`Layout::left_short`]).
    ///
    /// # Errors
    /// There is no such row; the reporter names itself and others; the layout has no copies, or another format; or
    /// `rows` is not of this layout.
    pub fn evict(
        &self,
        rows: &Assignments,
        nodes: &[u16],
        reporter: u16,
    ) -> Result<Self, StepError> {
        let next = self.after_change(rows)?;
        if nodes.contains(&reporter) && nodes.iter().any(|it| *it != reporter) {
            return Err(
                self.cannot("has no step in which a node gives up its own places and others'")
            );
        }
        let change = |(partition, before, after): (_, Row, Row)| {
            let evicted = before.in_sync().minus(after.in_sync());
            let row = self.standing.row(partition);
            (partition, evicted.iter().fold(row, |row, it| row.evict(it, next.epoch)))
        };
        let changes: Vec<_> = evictions(rows, nodes, reporter).map(change).collect();
        if changes.is_empty() {
            return Err(self.cannot(
                "has no row of these nodes in which they are in sync, and so is the one that reports them",
            ));
        }
        Ok(self.standing_changed(changes, next))
    }

    /// The partitions that [`Layout::evict`] would leave with fewer copies in sync than a write needs, in
    /// ascending order.
    #[must_use]
    pub fn left_short(&self, rows: &Assignments, nodes: &[u16], reporter: u16) -> Vec<Partition> {
        let is_short = |row: &Row| row.in_sync().count() < self.min_in_sync as usize;
        let short = evictions(rows, nodes, reporter).filter(|(_, _, after)| is_short(after));
        short.map(|(partition, ..)| partition).collect()
    }

    /// Takes the copies of `node` into the sets in sync of these partitions. Each of their primaries must have
    /// promised to wait for it, under this very epoch.
    ///
    /// # Errors
    /// There are no partitions, or the node has no copy of one of them, or one that is in sync already; the layout
    /// has no copies, or another format; or `rows` is not of this layout.
    pub fn admit(
        &self,
        rows: &Assignments,
        node: u16,
        partitions: &BTreeSet<Partition>,
    ) -> Result<Self, StepError> {
        let next = self.after_change(rows)?;
        if partitions.is_empty() {
            return Err(self.cannot("has no step by which nothing is admitted"));
        }
        let change = |partition: &Partition| {
            let row = rows.row(*partition);
            let place = row.and_then(|row| Some((row, row.position(node)?)));
            let (row, position) = place
                .ok_or_else(|| self.cannot("gives that node no copy of one of these partitions"))?;
            let admitted = Positions::default().with(position);
            row.admit(admitted)
                .ok_or_else(|| self.cannot("has one of these copies in sync already"))?;
            Ok((*partition, self.standing.row(*partition).admit(admitted, next.epoch)))
        };
        let changes = partitions.iter().map(change).collect::<Result<Vec<_>, _>>()?;
        Ok(self.standing_changed(changes, next))
    }

    /// Changes nothing but the epoch, so that what was promised under the one before is void.
    ///
    /// # Errors
    /// The layout has no copies, so that nothing is promised, or another format.
    pub fn fence(&self) -> Result<Self, StepError> {
        if self.placement.replicas == 1 || self.rebalance.is_some() {
            return Err(self.cannot("has no row of more than one copy"));
        }
        self.with(None)
    }

    /// The same layout, published again as that of `epoch` in place of another: so each row may have changed then.
    /// Where each has one copy, there is nothing to be said about that.
    #[must_use]
    pub fn republished(&self, epoch: u64) -> Self {
        let mut again = Self { epoch, ..self.clone() };
        if self.placements().any(|it| it.replicas > 1) {
            again.standing = self.standing.republished(epoch);
        }
        again
    }

    /// Whether one of these steps leads to `next`, for some rows: all that changes is what one of them changes.
    pub(super) fn copies_lead_to(&self, next: &Self) -> bool {
        let Ok(fenced) = self.fence() else { return false };
        let learners = |layout: &Self, partition| layout.standing.row(partition).learners();
        let listed = self.standing.listed().chain(next.standing.listed());
        let partitions: BTreeSet<Partition> = listed.map(|(partition, _)| partition).collect();
        let changed: Vec<(Partition, Positions, Positions)> = partitions
            .into_iter()
            .map(|it| (it, learners(self, it), learners(next, it)))
            .filter(|(_, before, after)| before != after)
            .collect();
        let is_eviction = changed.iter().all(|(_, before, after)| before.are_among(*after));
        let is_admission = changed.iter().all(|(_, before, after)| after.are_among(*before));
        if !is_eviction && !is_admission {
            return false;
        }
        if changed.is_empty() {
            return fenced == *next;
        }
        let changes = changed.into_iter().map(|(partition, before, after)| {
            let row = self.standing.row(partition);
            let evicted =
                after.minus(before).iter().fold(row, |row, it| row.evict(it, fenced.epoch));
            let row =
                if is_eviction { evicted } else { row.admit(before.minus(after), fenced.epoch) };
            (partition, row)
        });
        let stepped = self.standing_changed(changes, fenced.clone());
        stepped == *next && stepped.check().is_ok()
    }

    /// The layout of the next epoch, where `rows` are those of this one.
    fn after_change(&self, rows: &Assignments) -> Result<Self, StepError> {
        if rows.epoch() != self.epoch || *rows.standing() != self.standing {
            return Err(self.cannot("has other rows than those that were given"));
        }
        self.fence()
    }

    fn standing_changed(
        &self,
        changes: impl IntoIterator<Item = (Partition, RowStanding)>,
        next: Self,
    ) -> Self {
        Self { standing: self.standing.after(changes, next.epoch), ..next }
    }
}

/// The rows from which nodes are evicted because of what `reporter` reports, before and after that.
fn evictions<'a>(
    rows: &'a Assignments,
    nodes: &'a [u16],
    reporter: u16,
) -> impl Iterator<Item = (Partition, Row, Row)> + 'a {
    rows.iter().filter_map(move |(partition, _)| {
        let before = rows.row(partition)?;
        let evict = |row: Row, node: &u16| row.evict(*node, reporter).unwrap_or(row);
        let after = nodes.iter().fold(before, evict);
        (after != before).then_some((partition, before, after))
    })
}
