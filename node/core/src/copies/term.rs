//! A term: the time in which a node is a row's primary, as that node sees it.

use super::{Positions, Row};

/// What a primary has done, and whom it waits for, in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    row: Row,
    /// The copies that were made equal to the primary's in a session that lasts.
    equal: Positions,
    /// The learners that the primary has promised to wait for. They are needed until the epoch has passed.
    promised: Positions,
    /// The epoch in which the node was started, until that has passed: an admission by what it promised before
    /// may be on its way.
    started_in: Option<u64>,
    serves: bool,
}

impl Term {
    /// The term of a node that finds itself the primary of `row`; `started_in` is the epoch that it had installed
    /// where it has been started since it was that last, or cannot know.
    #[must_use]
    pub fn begin(row: Row, started_in: Option<u64>) -> Self {
        let (equal, promised) = (Positions::default(), Positions::default());
        Self { row, equal, promised, started_in, serves: false }
    }

    /// The term after another layout was installed that has the same node as primary of `row`. Promises last
    /// as long as their epoch. A copy that was evicted is equal no more, whatever its session has heard: it has to
    /// open another one before it is promised anything.
    #[must_use]
    pub fn install(self, row: Row, epoch: u64) -> Self {
        let is_equal = |it: &usize| {
            let before = self.row.position(row.node(*it));
            before.is_some_and(|before| {
                let was_evicted =
                    self.row.in_sync().contains(before) && !row.in_sync().contains(*it);
                self.equal.contains(before) && !was_evicted
            })
        };
        let equal = (0..row.nodes().len()).filter(is_equal).collect();
        let started_in = self.started_in.filter(|it| epoch <= *it);
        Self { row, equal, promised: Positions::default(), started_in, ..self }
    }

    /// The copies that were made equal to the primary's in a session that lasts.
    #[must_use]
    pub fn equal(&self) -> Positions {
        self.equal
    }

    /// The row.
    #[must_use]
    pub fn row(&self) -> Row {
        self.row
    }

    /// The other copies that a write waits for before it is acknowledged, and from which a read needs a lease.
    #[must_use]
    pub fn needed(&self) -> Positions {
        self.row.in_sync().or(self.promised).without(self.row.primary_position())
    }

    /// Takes note that a copy was made equal to the primary's in a session.
    pub fn note_equal(&mut self, position: usize) {
        self.equal = self.equal.with(position);
    }

    /// Takes note that a session has ended. What was promised to that node holds.
    pub fn note_end(&mut self, position: usize) {
        self.equal = self.equal.without(position);
    }

    /// Whether the primary needs a *fence*, a step that changes nothing but the epoch, before it serves: so that no
    /// admission arrives that it promised before it was started.
    #[must_use]
    pub fn needs_fence(&self) -> bool {
        self.started_in.is_some() && !self.row.learners().is_empty()
    }

    /// Whether the primary serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.serves
    }

    /// Has the primary serve, where it may: all that are in sync are equal, and no lease of a primary before it
    /// is in the way (see [`lease`](super::lease)). Returns whether it serves.
    pub fn serve(&mut self, a_lease_is_in_the_way: bool) -> bool {
        let others = self.row.in_sync().without(self.row.primary_position());
        let is_agreed = others.are_among(self.equal);
        self.serves |= is_agreed && !a_lease_is_in_the_way && !self.needs_fence();
        self.serves
    }

    /// Promises to wait for a learner from now on, where that may be: it is equal, and has acknowledged everything
    /// that was sent to it so far. Returns whether it is promised.
    pub fn promise(&mut self, position: usize, owes_nothing: bool) -> bool {
        let is_learner = self.row.learners().contains(position);
        if self.serves && is_learner && self.equal.contains(position) && owes_nothing {
            self.promised = self.promised.with(position);
        }
        self.promised.contains(position)
    }

    /// The learners that the primary has promised to wait for under the epoch that it has installed.
    #[must_use]
    pub fn promised(&self) -> Positions {
        self.promised
    }

    /// Whether enough copies are in sync for a write to be begun, or to be acknowledged.
    #[must_use]
    pub fn has_enough(&self, min_in_sync: usize) -> bool {
        self.row.in_sync().count() >= min_in_sync
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(in_sync: &[usize]) -> Row {
        let whole = Row::whole(&[10, 11, 12]).unwrap();
        whole.with_in_sync(in_sync.iter().copied().collect()).unwrap()
    }

    #[test]
    fn a_primary_serves_once_all_in_sync_are_equal() {
        let mut term = Term::begin(row(&[0, 1]), None);
        assert!(!term.serve(false));
        term.note_equal(1);
        assert!(!term.serve(true), "the one before may still read");
        assert!(term.serve(false));
        term.note_end(1);
        assert!(term.serve(true), "it goes on, and waits for whom it needs");
        assert_eq!(term.needed().iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_promise_lasts_as_long_as_its_epoch() {
        let mut term = Term::begin(row(&[0, 1]), None);
        term.note_equal(1);
        term.note_equal(2);
        assert!(!term.promise(2, true), "it does not serve yet");
        assert!(term.serve(false));
        assert!(!term.promise(2, false), "something is on its way");
        assert!(term.promise(2, true));
        assert!(!term.promise(1, true), "it is in sync");
        assert_eq!(term.needed().iter().collect::<Vec<_>>(), [1, 2]);
        term.note_end(2);
        assert!(term.needed().contains(2), "also where its session is over");
        let fenced = term.install(row(&[0, 1]), 8);
        assert!(!fenced.needed().contains(2) && fenced.serves());
        let admitted = term.install(row(&[0, 1, 2]), 8);
        assert!(admitted.needed().contains(2));
    }

    #[test]
    fn who_was_evicted_is_made_equal_anew() {
        let mut term = Term::begin(row(&[0, 1]), None);
        term.note_equal(1);
        term.note_equal(2);
        assert!(term.serve(false));
        let mut term = term.install(row(&[0]), 8);
        assert!(!term.promise(1, true), "it was silent");
        assert!(term.promise(2, true), "another's eviction does not concern it");
    }

    #[test]
    fn a_node_that_was_started_sets_a_fence_where_there_are_learners() {
        let mut term = Term::begin(row(&[0]), Some(7));
        assert!(term.needs_fence() && !term.serve(false));
        let mut fenced = term.install(row(&[0]), 8);
        assert!(!fenced.needs_fence() && fenced.serve(false));
        assert!(!Term::begin(Row::whole(&[1, 2]).unwrap(), Some(7)).needs_fence());
    }

    #[test]
    fn enough_are_counted_with_the_primary() {
        let term = Term::begin(row(&[0, 2]), None);
        assert!(term.has_enough(2) && !term.has_enough(3));
    }
}
