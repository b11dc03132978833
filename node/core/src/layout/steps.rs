//! What may follow what: whether one of the steps leads from one layout to another.

use super::Layout;

impl Layout {
    /// Whether one of the steps that a layout may take leads from this one to `next`. They are those of
    /// `rebalance` and `standing_steps` beside this, called with the arguments that `next` shows; a past layout
    /// that is published again is none of them.
    ///
    /// Of an eviction and of an admission it is seen here that they take copies out of the sets in sync, or into
    /// them, and not both; that a copy stays in each set; that all of it has the epoch of `next`; and that
    /// what is said of every other row is what was said. Which node has a copy, only tables say: that it is one node
    /// which comes back, and that those which leave shared each of these rows with one that reports them, is not seen.
    #[must_use]
    pub fn leads_to(&self, next: &Self) -> bool {
        let after = next.rebalance.as_ref();
        let until = after.and_then(|it| it.window).map(|window| window.until);
        let is_next = |step: Self| step == *next;
        after.is_some_and(|it| self.begin(it.to.clone(), it.lost.clone()).is_ok_and(is_next))
            || until.is_some_and(|until| self.prepare(until).is_ok_and(is_next))
            || self.open().is_ok_and(is_next)
            || self.settle(until).is_ok_and(is_next)
            || self.retract().is_ok_and(is_next)
            || self.turn_back().is_ok_and(is_next)
            || self.upgrade().is_ok_and(is_next)
            || self.give_up(next.placement.table).is_ok_and(is_next)
            || self.copies_lead_to(next)
            || [true, false].iter().any(|paused| self.pause(*paused).is_ok_and(is_next))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::digest::Digest;
    use crate::layout::{LAYOUT_FORMAT, Member, Origin, Placement, Standing, StrategyPin};
    use crate::partition::PartitionCount;

    fn layout() -> Layout {
        let member = |number: u128| Member {
            id: format!("node-{number}").parse().unwrap(),
            uuid: Uuid::from_u128(number),
            weight: 1,
            zone: String::new(),
        };
        let sha256 = Digest::of(b"strategy");
        Layout {
            format: LAYOUT_FORMAT,
            cluster: Uuid::from_u128(9),
            epoch: 7,
            partitions: PartitionCount::new(8).unwrap(),
            replicas: 1,
            min_in_sync: 1,
            placement: Placement {
                strategy: StrategyPin { name: "s".into(), sha256, config: String::new() },
                members: vec![member(1), member(2)],
                table: Digest::of(b"table"),
                origin: Origin::Strategy,
                replicas: 1,
            },
            rebalance: None,
            standing: Standing::default(),
        }
    }

    #[test]
    fn every_step_leads_to_its_outcome_and_back_to_nothing() {
        let rest = layout();
        let to = Placement { table: Digest::of(b"other"), ..rest.placement.clone() };
        let begun = rest.begin(to, vec![Uuid::from_u128(2)]).unwrap();
        let prepared = begun.prepare(4).unwrap();
        let open = prepared.open().unwrap();
        let (half, two) = (open.settle(None).unwrap(), open.settle(Some(8)).unwrap());
        let last = two.open().unwrap();
        let paused = open.pause(true).unwrap();
        let undone = rest.begin(rest.placement.clone(), vec![]).unwrap();
        let steps = [
            (&rest, &begun),
            (&begun, &prepared),
            (&prepared, &open),
            (&prepared, &prepared.retract().unwrap()),
            (&open, &half),
            (&open, &two),
            (&two, &last),
            (&last, &last.settle(None).unwrap()),
            (&open, &paused),
            (&paused, &paused.pause(false).unwrap()),
            (&paused, &paused.settle(Some(8)).unwrap()),
            (&undone, &undone.turn_back().unwrap()),
            (&open, &open.give_up(Digest::of(b"survivors")).unwrap()),
        ];
        for (from, to) in steps {
            assert!(from.leads_to(to), "{from:?} to {to:?}");
            assert!(!to.leads_to(from) && !from.leads_to(from), "{from:?} from {to:?}");
        }
    }

    #[test]
    fn no_step_leads_anywhere_else() {
        let rest = layout();
        let begun = rest.begin(rest.placement.clone(), vec![]).unwrap();
        let open = begun.prepare(4).unwrap().open().unwrap();
        let leap = Layout { epoch: 9, ..begun.clone() };
        let again = Layout { epoch: 8, ..rest.clone() };
        let foreign = Layout { cluster: Uuid::from_u128(1), ..begun.clone() };
        let members = Layout {
            placement: Placement { members: vec![], ..rest.placement.clone() },
            ..begun.clone()
        };
        let partitions = Layout { partitions: PartitionCount::new(4).unwrap(), ..begun.clone() };
        for strange in [leap, again, foreign, members, partitions] {
            assert!(!rest.leads_to(&strange), "{strange:?}");
        }
        assert!(!begun.leads_to(&Layout { epoch: 9, ..open }), "the sources have not frozen");
    }
}
