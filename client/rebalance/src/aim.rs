//! What a rebalance is to bring about, and whether it has. Pure.
//!
//! Between the begin of a rebalance and its end anybody may turn it back, pause it, end it where it is,
//! or begin another one after it. So a command that carried a change out does not take the end of the
//! moving for success: it compares what there is then with what it wanted.

use kv_core::layout::{Goal, Layout, Member, Origin, Placement, Rebalance};

/// What a rebalance is to bring about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    from: Placement,
    to: Placement,
    goal: Goal,
}

/// What came of an aim once its rebalance is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is so.
    Reached,
    /// Everything is as it was before.
    Undone,
    /// Neither: the rebalance was ended where it was, or another change has taken its effect back.
    Ended,
}

impl Aim {
    /// To get from `from` to `to`.
    pub(crate) fn new(from: Placement, to: Placement) -> Self {
        Self { from, to, goal: Goal::Finish }
    }

    /// What the rebalance that is under way in `layout` is to bring about; `None` at rest.
    pub(crate) fn of(layout: &Layout) -> Option<Self> {
        let Rebalance { to, goal, .. } = layout.rebalance.as_ref()?;
        Some(Self { from: layout.placement.clone(), to: to.clone(), goal: *goal })
    }

    /// To undo it.
    pub(crate) fn undone(self) -> Self {
        Self { goal: Goal::Undo, ..self }
    }

    /// Where it begins and where it leads.
    pub(crate) fn placements(&self) -> [&Placement; 2] {
        [&self.from, &self.to]
    }

    /// Whether the rebalance that is under way in `layout` is the one with this aim, be it on its way
    /// there or back.
    pub(crate) fn is_under_way(&self, layout: &Layout) -> bool {
        layout.rebalance.as_ref().is_some_and(|it| it.to == self.to)
            && layout.placement == self.from
    }

    /// What came of it, seen from a layout in which its rebalance is not under way any more. What
    /// others have changed since, beside it, makes no difference.
    pub(crate) fn outcome(&self, layout: &Layout) -> Outcome {
        let (wanted, other) = match self.goal {
            Goal::Finish => (&self.to, &self.from),
            Goal::Undo => (&self.from, &self.to),
        };
        let found = &layout.placement;
        let has = |list: &[Member], member: &Member| list.iter().any(|it| it.uuid == member.uuid);
        let joined = wanted
            .members
            .iter()
            .filter(|it| !other.members.contains(it))
            .all(|it| found.members.contains(it));
        let left = other
            .members
            .iter()
            .filter(|it| !has(&wanted.members, it))
            .all(|it| layout.member_by_uuid(it.uuid).is_none());
        let placed = wanted.strategy == other.strategy || wanted.strategy == found.strategy;
        let computed = wanted.origin != Origin::Strategy || found.origin == Origin::Strategy;
        if joined && left && placed && computed {
            Outcome::Reached
        } else if found == other {
            Outcome::Undone
        } else {
            Outcome::Ended
        }
    }
}

/// How a mover's work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// What the rebalance was for is so, and the layout is at rest.
    AtRest {
        /// Its epoch.
        epoch: u64,
    },
    /// Another command has paused the rebalance.
    Paused {
        /// The layout's epoch.
        epoch: u64,
    },
    /// Another command has turned the rebalance back: everything is as it was before.
    Undone {
        /// The layout's epoch.
        epoch: u64,
    },
    /// Another command has ended the rebalance where it was, or changed the layout again: what it was for is
    /// not so.
    Ended {
        /// The layout's epoch.
        epoch: u64,
    },
}

impl End {
    pub(crate) fn of(aim: &Aim, layout: &Layout) -> Self {
        let epoch = layout.epoch;
        match aim.outcome(layout) {
            Outcome::Reached => Self::AtRest { epoch },
            Outcome::Undone => Self::Undone { epoch },
            Outcome::Ended => Self::Ended { epoch },
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::digest::Digest;
    use uuid::Uuid;

    use kv_core::sample;

    use super::*;

    fn placement(owners: &[u32], members: u128) -> Placement {
        sample::placement(owners, members).0
    }

    fn at_rest(placement: &Placement) -> Layout {
        let (layout, _) = sample::layout(&[0, 0], 2);
        Layout { placement: placement.clone(), ..layout }
    }

    #[test]
    fn an_aim_is_reached_undone_or_neither() {
        let (two, three) = (placement(&[0, 1], 2), placement(&[2, 1], 3));
        let add = Aim::new(two.clone(), three.clone());
        let remove = Aim::new(three.clone(), two.clone());
        for (aim, layout, expected) in [
            (&add, &three, Outcome::Reached),
            (&add, &two, Outcome::Undone),
            (&remove, &two, Outcome::Reached),
            (&remove, &three, Outcome::Undone),
        ] {
            assert_eq!(aim.outcome(&at_rest(layout)), expected);
            let opposite = match expected {
                Outcome::Reached => Outcome::Undone,
                _ => Outcome::Reached,
            };
            assert_eq!(aim.clone().undone().outcome(&at_rest(layout)), opposite);
        }
        // It was ended where it was: all are members, and no strategy placed it.
        let ended = Placement { origin: Origin::Interrupted, ..three.clone() };
        assert_eq!(add.outcome(&at_rest(&ended)), Outcome::Ended);
        assert_eq!(remove.outcome(&at_rest(&ended)), Outcome::Ended);
    }

    #[test]
    fn what_others_do_afterwards_counts_only_where_it_takes_the_effect_back() {
        let (two, three, four) =
            (placement(&[0, 1], 2), placement(&[2, 1], 3), placement(&[2, 3], 4));
        let add = Aim::new(two.clone(), three.clone());
        assert_eq!(add.outcome(&at_rest(&four)), Outcome::Reached, "one more was added");
        let remove = Aim::new(three.clone(), two.clone());
        let again = at_rest(&two).begin(three, Vec::new()).unwrap();
        assert!(!remove.is_under_way(&again));
        assert_eq!(remove.outcome(&again), Outcome::Ended, "it is a member again");
        let mut migrated = two.clone();
        migrated.strategy.sha256 = Digest::of(b"other");
        let migrate = Aim::new(two.clone(), migrated.clone());
        assert_eq!(migrate.outcome(&at_rest(&migrated)), Outcome::Reached);
        assert_eq!(migrate.outcome(&at_rest(&two)), Outcome::Undone);
        let mut heavier = two.clone();
        heavier.members[0].weight = 9;
        let set = Aim::new(two.clone(), heavier.clone());
        assert_eq!(set.outcome(&at_rest(&heavier)), Outcome::Reached);
        assert_eq!(set.outcome(&at_rest(&two)), Outcome::Undone);
        heavier.members[0].uuid = Uuid::from_u128(77);
        assert_eq!(set.outcome(&at_rest(&heavier)), Outcome::Ended);
    }

    #[test]
    fn a_rebalance_is_known_on_its_way_there_and_back() {
        let (two, three) = (placement(&[0, 1], 2), placement(&[2, 1], 3));
        let begun = at_rest(&two).begin(three.clone(), Vec::new()).unwrap();
        let aim = Aim::of(&begun).unwrap();
        assert_eq!(aim, Aim::new(two, three));
        let moved = begun.prepare(1).unwrap().open().unwrap().settle(None).unwrap();
        let back = moved.turn_back().unwrap();
        assert!(aim.is_under_way(&back));
        assert_eq!(Aim::of(&back), Some(aim.undone()));
    }
}
