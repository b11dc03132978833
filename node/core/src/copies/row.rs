//! A row: the nodes that have a partition's copies, and which of these are in sync.

use std::fmt;

use crate::limits::REPLICAS_MAX;

const CAPACITY: usize = REPLICAS_MAX as usize;

/// A set of positions in a row.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Positions(u16);

impl Positions {
    /// The first `count` positions.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    /// Whether the position is one of them.
    #[must_use]
    pub fn contains(self, position: usize) -> bool {
        self.0 >> position & 1 == 1
    }

    /// These and that one.
    #[must_use]
    pub fn with(self, position: usize) -> Self {
        Self(self.0 | 1 << position)
    }

    /// These but that one.
    #[must_use]
    pub fn without(self, position: usize) -> Self {
        Self(self.0 & !(1 << position))
    }

    /// Those that are in either set.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are not among the others.
    #[must_use]
    pub fn minus(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether all of them are among the others.
    #[must_use]
    pub fn are_among(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// How many they are.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The positions, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..u16::BITS as usize).filter(move |it| self.contains(*it))
    }
}

impl FromIterator<usize> for Positions {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        positions.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The nodes that have a partition's copies, best first, and which of the copies are in sync: at least one.
/// Nodes are indexes, as in [`Assignments::nodes`](crate::layout::Assignments::nodes).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    nodes: [u16; CAPACITY],
    count: u8,
    in_sync: Positions,
}

impl Row {
    /// The row of these distinct nodes, all in sync; `None` where there are none, or more than a row has.
    #[must_use]
    pub fn whole(nodes: &[u16]) -> Option<Self> {
        let mut row = Self { nodes: [0; CAPACITY], count: 0, in_sync: Positions::default() };
        row.nodes.get_mut(..nodes.len()).filter(|it| !it.is_empty())?.copy_from_slice(nodes);
        row.count = nodes.len() as u8;
        row.in_sync = Positions::first(nodes.len());
        Some(row)
    }

    /// The same row with another set of copies in sync; `None` where that is empty, or beyond the row.
    #[must_use]
    pub fn with_in_sync(self, in_sync: Positions) -> Option<Self> {
        let is_possible =
            !in_sync.is_empty() && in_sync.are_among(Positions::first(self.nodes().len()));
        is_possible.then_some(Self { in_sync, ..self })
    }

    /// Its nodes, best first.
    #[must_use]
    pub fn nodes(&self) -> &[u16] {
        &self.nodes[..usize::from(self.count)]
    }

    /// The node at a position of it.
    #[must_use]
    pub fn node(&self, position: usize) -> u16 {
        self.nodes()[position]
    }

    /// Where in it a node stands.
    #[must_use]
    pub fn position(&self, node: u16) -> Option<usize> {
        self.nodes().iter().position(|it| *it == node)
    }

    /// The copies that are in sync.
    #[must_use]
    pub fn in_sync(&self) -> Positions {
        self.in_sync
    }

    /// The copies that are not.
    #[must_use]
    pub fn learners(&self) -> Positions {
        Positions::first(self.nodes().len()).minus(self.in_sync)
    }

    /// Whether the node has a copy that is in sync.
    #[must_use]
    pub fn is_in_sync(&self, node: u16) -> bool {
        self.position(node).is_some_and(|it| self.in_sync.contains(it))
    }

    /// The position of the primary: the first that is in sync.
    #[must_use]
    pub fn primary_position(&self) -> usize {
        self.in_sync.0.trailing_zeros() as usize
    }

    /// The primary.
    #[must_use]
    pub fn primary(&self) -> u16 {
        self.node(self.primary_position())
    }

    /// The row once `node` was evicted because of what `reporter` reports; `None` where that is no step: the
    /// reporter has to have a copy that is in sync, and `node` as well. A node gives its own place up where another
    /// copy is in sync.
    #[must_use]
    pub fn evict(self, node: u16, reporter: u16) -> Option<Self> {
        let position = self.position(node).filter(|it| self.in_sync.contains(*it))?;
        self.is_in_sync(reporter).then(|| self.with_in_sync(self.in_sync.without(position)))?
    }

    /// The row once these learners were admitted, all of which its primary has promised to wait for under the
    /// very epoch that this is a step from; `None` where there are none.
    #[must_use]
    pub fn admit(self, promised: Positions) -> Option<Self> {
        let admitted = !promised.is_empty() && promised.are_among(self.learners());
        admitted.then(|| self.with_in_sync(self.in_sync.or(promised)))?
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.nodes(), self.in_sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_sync_is_the_primary() {
        let row = Row::whole(&[4, 7, 2]).unwrap();
        assert_eq!((row.primary(), row.learners().count()), (4, 0));
        let behind = row.with_in_sync(Positions::first(3).without(0)).unwrap();
        assert_eq!((behind.primary(), behind.primary_position()), (7, 1));
        assert_eq!(behind.learners().iter().collect::<Vec<_>>(), [0]);
        assert!(behind.is_in_sync(2) && !behind.is_in_sync(4) && !behind.is_in_sync(9));
        assert_eq!(format!("{behind:?}"), "[4, 7, 2]/{1, 2}");
    }

    #[test]
    fn copies_leave_the_set_and_come_back_and_one_stays() {
        let row = Row::whole(&[4, 7, 2]).unwrap();
        let two = row.evict(4, 2).unwrap();
        assert_eq!((two.primary(), two.in_sync().count()), (7, 2));
        assert_eq!(two.evict(4, 2), None, "it has left");
        assert_eq!(two.evict(7, 4), None, "a learner has no say");
        assert_eq!(two.evict(7, 9), None, "nor has a stranger");
        let one = two.evict(7, 7).expect("it gives its place up");
        assert_eq!(one.evict(2, 2), None, "the last one stays");
        let back = one.admit(Positions::default().with(0)).unwrap();
        assert_eq!((back.primary(), back.in_sync().count()), (4, 2));
        assert_eq!(back.admit(Positions::default().with(0)), None, "it is in sync");
        assert_eq!(back.admit(Positions::default()), None);
    }

    #[test]
    fn a_row_has_a_copy_in_sync_and_no_more_than_it_has_nodes() {
        assert!(Row::whole(&[]).is_none());
        assert!(Row::whole(&[0; CAPACITY]).is_some());
        assert!(Row::whole(&[0; CAPACITY + 1]).is_none());
        let row = Row::whole(&[0, 1]).unwrap();
        assert!(row.with_in_sync(Positions::default()).is_none());
        assert!(row.with_in_sync(Positions::default().with(2)).is_none());
    }
}
