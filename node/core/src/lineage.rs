//! Whether a data directory is the newest copy of itself, as far as the claim in Consul tells. Pure.
//!
//! A directory keeps its incarnations: every one that it has ever tried to claim, the last few of them.
//! The claim has the newest one of all copies. A directory that knows it has been through it, or was
//! about to; one that does not is a copy that was made before, or was put back from a backup.

use serde::{Deserialize, Serialize};

use crate::incarnation::Incarnation;

/// How many incarnations a directory keeps. More of them let it tell a Consul that was put back to an
/// older state from another copy's claim.
pub const INCARNATIONS_KEPT_MAX: usize = 32;

/// The most that the number of a claimed incarnation can be above the one that a directory knows as its
/// last: no copy of it has been started so often. One that leaps further is made up, and nothing is gone by it.
pub const INCARNATION_LEAP_MAX: u64 = 1 << 32;

/// Whether `claimed` can have come after an incarnation of the number `last`, rather than being made up.
#[must_use]
pub fn is_within_reach(last: u64, claimed: Incarnation) -> bool {
    claimed.number.saturating_sub(last) <= INCARNATION_LEAP_MAX
}

/// The last incarnations of a data directory, in the order in which they were drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(Vec<Incarnation>);

impl Lineage {
    /// The last incarnation; `None` before the first one.
    #[must_use]
    pub fn last(&self) -> Option<Incarnation> {
        self.0.last().copied()
    }

    /// Whether `claimed` can be an incarnation of this directory, or of a copy of it.
    #[must_use]
    pub fn can_lead_to(&self, claimed: Incarnation) -> bool {
        is_within_reach(self.last().map_or(0, |it| it.number), claimed)
    }

    /// Whether the directory is the newest copy of itself where `claimed` is the incarnation in the
    /// claim; `None` where the claim names no run, and nothing is known of another copy.
    #[must_use]
    pub fn is_newest(&self, claimed: Option<Incarnation>) -> bool {
        let Some(claimed) = claimed else { return true };
        // Later ones of its own died before they claimed anything, or Consul was put back to an older
        // state, which may be older than all incarnations that are kept here.
        self.0.contains(&claimed)
            || (self.0.len() == INCARNATIONS_KEPT_MAX && claimed.number < self.0[0].number)
    }

    /// Whether what ran last as `begun` is from before the `claimed` incarnation, which is this directory's.
    #[must_use]
    pub fn is_before(&self, begun: Incarnation, claimed: Incarnation) -> bool {
        let place = |wanted| self.0.iter().position(|it| *it == wanted);
        // One that is not known any more is older than all that are. Later ones than the claimed one have
        // died before they claimed anything.
        place(claimed).is_some() && place(begun) < place(claimed)
    }

    /// An incarnation above all of this directory's and above the `claimed` one.
    #[must_use]
    pub fn next(&self, claimed: Option<Incarnation>) -> Incarnation {
        let numbers = self.last().into_iter().chain(claimed).map(|it| it.number);
        Incarnation::draw(numbers.max().unwrap_or(0).saturating_add(1))
    }

    /// The same, and `next` after it.
    #[must_use]
    pub fn with(&self, next: Incarnation) -> Self {
        let excess = (self.0.len() + 1).saturating_sub(INCARNATIONS_KEPT_MAX);
        Self(self.0.iter().skip(excess).copied().chain([next]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that has been started `count` times, each time by the claim of the time before.
    fn started(count: usize) -> Lineage {
        let start = |it: Lineage| it.with(it.next(it.last()));
        (0..count).fold(Lineage::default(), |it, _| start(it))
    }

    #[test]
    fn a_directory_that_was_started_last_is_the_newest_copy() {
        let directory = started(3);
        assert_eq!(directory.last().map(|it| it.number), Some(3));
        assert!(directory.is_newest(directory.last()));
        assert!(directory.is_newest(None), "Consul has lost everything");
        assert!(Lineage::default().is_newest(None), "it is new, or from an older program");
    }

    #[test]
    fn a_copy_is_older_once_the_other_one_has_been_started() {
        let copy = started(3);
        let other = copy.with(copy.next(copy.last()));
        assert!(!copy.is_newest(other.last()));
        assert!(other.is_newest(copy.last()), "Consul was put back to an older state");
        // Both were started under a Consul that had lost everything: the one that claims first counts.
        let twin = copy.with(copy.next(None));
        assert_eq!(twin.last().map(|it| it.number), other.last().map(|it| it.number));
        assert!(!twin.is_newest(other.last()) && !other.is_newest(twin.last()));
        assert!(!Lineage::default().is_newest(copy.last()), "an older program's copy");
    }

    #[test]
    fn a_start_that_died_before_its_claim_or_after_it_is_followed_by_another() {
        let before = started(3);
        let died = before.with(before.next(before.last()));
        assert!(died.is_newest(before.last()) && died.is_newest(died.last()));
        // Its claim may arrive while the next start is under way.
        let next = died.with(died.next(before.last()));
        assert!(next.is_newest(died.last()));
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_consul_from_long_ago_is_followed() {
        let long_ago = started(1);
        let directory = started(INCARNATIONS_KEPT_MAX + 5);
        assert_eq!(directory.0.len(), INCARNATIONS_KEPT_MAX);
        assert!(directory.is_newest(long_ago.last()));
        let above = Incarnation::draw(u64::MAX);
        assert!(!directory.is_newest(Some(above)));
        assert_eq!(directory.next(Some(above)).number, u64::MAX, "it cannot grow any more");
    }

    #[test]
    fn a_store_of_an_earlier_run_is_told_from_one_of_the_last_or_of_one_that_claimed_nothing() {
        let directory = started(INCARNATIONS_KEPT_MAX + 5);
        let [.., before, last] = directory.0.as_slice() else { unreachable!("it was started") };
        assert!(directory.is_before(*before, *last));
        assert!(!directory.is_before(*last, *last) && !directory.is_before(*last, *before));
        assert!(directory.is_before(Incarnation::draw(1), *before), "from long ago");
        assert!(!directory.is_before(*last, Incarnation::draw(1)), "Consul was put back");
    }

    #[test]
    fn a_number_that_leaps_is_made_up() {
        let directory = started(3);
        let at = |number| directory.can_lead_to(Incarnation::draw(number));
        assert!(at(0) && at(3) && at(4) && at(3 + INCARNATION_LEAP_MAX));
        assert!(!at(4 + INCARNATION_LEAP_MAX) && !at(u64::MAX));
        assert!(!Lineage::default().can_lead_to(Incarnation::draw(u64::MAX)));
    }
}
