//! Which partitions a window takes. Pure.
//!
//! A window's keys are frozen for a moment and served by two nodes for a while, and a mover that dies
//! leaves at most one window to be copied anew; so windows are bounded. Each costs a few rounds of
//! messages, so they are not small either.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::layout::{Goal, Layout, Table};
use crate::limits::{WINDOW_BYTES_TARGET, WINDOW_KEYS_TARGET};
use crate::partition::Partition;

/// How much there is to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys.
    pub keys: u64,
    /// The bytes of keys and values.
    pub bytes: u64,
}

impl Size {
    /// Counts `other` in.
    pub fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

/// A partition whose owner is another one after the rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The partition.
    pub partition: Partition,
    /// The data directory of the owner before.
    pub from: Uuid,
    /// The data directory of the owner after.
    pub to: Uuid,
}

/// The partitions that a layout's rebalance moves altogether, in ascending order. `tables` are those
/// of its placements.
#[must_use]
pub fn moving(layout: &Layout, tables: &[Table]) -> Vec<Moving> {
    let (Some(rebalance), [before, after]) = (&layout.rebalance, tables) else { return Vec::new() };
    let owner = |members: &[crate::layout::Member], table: &Table, partition| {
        Some(members.get(usize::from(table.owner(partition)?))?.uuid)
    };
    (0..layout.partitions.get())
        .map(Partition)
        .filter_map(|partition| {
            let from = owner(&layout.placement.members, before, partition)?;
            let to = owner(&rebalance.to.members, after, partition)?;
            (from != to).then_some(Moving { partition, from, to })
        })
        .collect()
}

/// Where the window ends that begins at `settled`: after as many of the `moving` partitions as are
/// worth a window, and at the end where they are the last. A partition without a size is
/// taken to be empty.
#[must_use]
pub fn next_window(
    settled: u32,
    goal: Goal,
    partitions: u32,
    moving: &[Moving],
    sizes: &BTreeMap<Partition, Size>,
) -> u32 {
    let size =
        |it: &Moving| (it.partition.0, sizes.get(&it.partition).copied().unwrap_or_default());
    let split = moving.partition_point(|it| it.partition.0 < settled);
    match goal {
        Goal::Finish => fill(moving[split..].iter().map(size)).map_or(partitions, |last| last + 1),
        Goal::Undo => fill(moving[..split].iter().rev().map(size)).unwrap_or(0),
    }
}

/// The last partition that is taken; `None` where all are.
fn fill(mut ahead: impl Iterator<Item = (u32, Size)>) -> Option<u32> {
    let mut taken = Size::default();
    let mut last = None;
    loop {
        // What comes after the last one that is taken decides whether the window goes to the end.
        let (partition, size) = ahead.next()?;
        let full = taken.keys + size.keys > WINDOW_KEYS_TARGET
            || taken.bytes + size.bytes > WINDOW_BYTES_TARGET;
        if last.is_some() && full {
            return last;
        }
        taken.add(size);
        last = Some(partition);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: u32 = 64;

    fn moving(partitions: &[u32]) -> Vec<Moving> {
        let moving = |partition: &u32| Moving {
            partition: Partition(*partition),
            from: Uuid::from_u128(1),
            to: Uuid::from_u128(2),
        };
        partitions.iter().map(moving).collect()
    }

    #[test]
    fn a_window_is_bounded_and_has_at_least_one_partition() {
        let moving = moving(&[3, 10, 20, 21]);
        let large = Size { keys: 2 * WINDOW_KEYS_TARGET, bytes: 0 };
        let half = Size { keys: 1, bytes: WINDOW_BYTES_TARGET / 2 };
        let sizes = BTreeMap::from([
            (Partition(3), large),
            (Partition(10), half),
            (Partition(20), half),
            (Partition(21), half),
        ]);
        let next = |settled, goal| next_window(settled, goal, PARTITIONS, &moving, &sizes);
        assert_eq!(next(0, Goal::Finish), 4);
        assert_eq!(next(4, Goal::Finish), 21);
        assert_eq!(next(21, Goal::Finish), PARTITIONS);
        assert_eq!(next(PARTITIONS, Goal::Undo), 20);
        assert_eq!(next(20, Goal::Undo), 10);
        assert_eq!(next(10, Goal::Undo), 0);
        assert_eq!(next_window(0, Goal::Finish, PARTITIONS, &[], &sizes), PARTITIONS);
    }

    proptest! {
        #[test]
        fn windows_lead_to_the_goal(
            partitions in proptest::collection::btree_set(0..PARTITIONS, 0..40),
            keys in proptest::collection::vec(0..WINDOW_KEYS_TARGET, 64),
        ) {
            let partitions: Vec<_> = partitions.into_iter().collect();
            let moving = moving(&partitions);
            let sizes = (0..PARTITIONS).map(Partition).zip(
                keys.into_iter().map(|keys| Size { keys, bytes: 0 })
            ).collect();
            let mut settled = 0;
            while settled != PARTITIONS {
                let next = next_window(settled, Goal::Finish, PARTITIONS, &moving, &sizes);
                prop_assert!(next > settled && next <= PARTITIONS);
                settled = next;
            }
            while settled != 0 {
                let next = next_window(settled, Goal::Undo, PARTITIONS, &moving, &sizes);
                prop_assert!(next < settled);
                settled = next;
            }
        }
    }
}
