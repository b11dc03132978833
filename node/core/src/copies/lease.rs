//! Leases: how a primary knows that it still is one, without asking.
//!
//! Beacons go between pairs of nodes, and not for each row. A node that is asked by a primary answers with the
//! epoch that it has installed, and by that grants it a lease for all rows that are the primary's by that layout. The
//! primary counts the lease's length from when it *sent* the beacon, the granter from when it answered, so that
//! it is over at the primary first.

use super::session::View;

/// Whether a lease that was granted by a node that had `epoch` installed counts for a row, at its primary: the row
/// has not changed since, and the primary has that layout too.
#[must_use]
pub fn counts(epoch: u64, primary: &View) -> bool {
    primary.since <= epoch && epoch <= primary.installed
}

/// What a node has granted to another one, as far as it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granted {
    /// Nothing that could still count: a lease's length has passed since, and since this node was started.
    Nothing,
    /// Something. This is the oldest epoch of which a lease may still count; after a start 0, since the node cannot
    /// remember.
    Since(u64),
}

impl Granted {
    /// The same, once a lease was granted under the layout of `epoch`.
    #[must_use]
    pub fn and(self, epoch: u64) -> Self {
        match self {
            Self::Nothing => Self::Since(epoch),
            Self::Since(oldest) => Self::Since(oldest.min(epoch)),
        }
    }

    /// Whether the other node may still read a row as its primary, which it is not any more since the epoch
    /// `since`: it has not said that it has installed a layout so new, and leases were granted to it before.
    #[must_use]
    pub fn is_in_the_way(self, since: u64, said: Option<u64>) -> bool {
        let has_said = said.is_some_and(|installed| installed >= since);
        matches!(self, Self::Since(epoch) if epoch < since) && !has_said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::Row;

    #[test]
    fn a_lease_counts_for_rows_that_have_not_changed_since() {
        let view = View { row: Row::whole(&[1, 2]).unwrap(), since: 5, installed: 7 };
        assert!(counts(5, &view) && counts(7, &view));
        assert!(!counts(4, &view), "the granter means another row");
        assert!(!counts(8, &view), "the granter may know of a change");
    }

    #[test]
    fn what_was_granted_is_waited_out_or_given_back() {
        assert!(!Granted::Nothing.is_in_the_way(5, None));
        assert!(Granted::Since(4).is_in_the_way(5, None));
        assert!(Granted::Since(4).is_in_the_way(5, Some(4)));
        assert!(!Granted::Since(4).is_in_the_way(5, Some(5)), "it knows");
        assert!(!Granted::Since(5).is_in_the_way(5, None), "by that layout it was no primary");
        assert_eq!(
            Granted::Nothing.and(4).and(5),
            Granted::Since(4),
            "the older one may count still"
        );
    }
}
