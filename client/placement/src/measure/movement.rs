//! What moves from one table to another.

use std::collections::{BTreeMap, HashMap};

use super::{Placed, dues};

/// Replicas of partitions that go from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The id of the node that had them.
    pub from: String,
    /// The id of the node that gets them.
    pub to: String,
    /// How many.
    pub moved: u64,
}

/// What a change of the nodes moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Movement {
    /// How many replicas of partitions there are.
    pub total: u64,
    /// How many of them get to a node that had no replica of the partition.
    pub moved: u64,
    /// How many of these come from a node that stays and go to one that was there before, neither of
    /// them with another weight: no change asks for that.
    pub needless: u64,
    /// The part of everything that has to move whatever the strategy, where all nodes have their due before
    /// and after.
    pub minimum: f64,
    /// What goes from where to where, by the nodes' ids.
    pub flows: Vec<Flow>,
}

impl Movement {
    /// What moves where `before` becomes `after`; `None` if their numbers of partitions or replicas differ.
    #[must_use]
    pub fn between(before: Placed<'_>, after: Placed<'_>) -> Option<Self> {
        if before.owners.len() != after.owners.len() || before.replicas != after.replicas {
            return None;
        }
        let later: HashMap<&str, u32> =
            (0..).zip(after.nodes).map(|(index, node)| (node.id.as_str(), index)).collect();
        // For each node from before its index afterwards, where it stays.
        let stays: Vec<Option<u32>> =
            before.nodes.iter().map(|node| later.get(node.id.as_str()).copied()).collect();
        let mut flows: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for (old, new) in before.partitions().zip(after.partitions()) {
            let stayed = |owner: u32| stays[owner as usize];
            let gained =
                new.iter().filter(|new| !old.iter().any(|old| stayed(*old) == Some(**new)));
            let lost = old.iter().filter(|old| stayed(**old).is_none_or(|it| !new.contains(&it)));
            for (from, to) in lost.zip(gained) {
                *flows.entry((*from, *to)).or_default() += 1;
            }
        }
        // Whether each of the later nodes was there before, as heavy as now.
        let mut is_unchanged = vec![false; after.nodes.len()];
        for (node, to) in before.nodes.iter().zip(&stays) {
            if let Some(to) = to.map(|to| to as usize) {
                is_unchanged[to] = after.nodes[to].weight == node.weight;
            }
        }
        let is_needless = |(from, to): (u32, u32)| {
            let from = stays[from as usize];
            from.is_some_and(|from| is_unchanged[from as usize]) && is_unchanged[to as usize]
        };
        let needless = flows.iter().filter(|(ends, _)| is_needless(**ends)).map(|(_, n)| n).sum();
        Some(Self {
            total: before.owners.len() as u64,
            moved: flows.values().sum(),
            needless,
            minimum: minimum(before, after),
            flows: flows
                .into_iter()
                .map(|((from, to), moved)| Flow {
                    from: before.nodes[from as usize].id.clone(),
                    to: after.nodes[to as usize].id.clone(),
                    moved,
                })
                .collect(),
        })
    }

    /// The part of everything that moves.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.moved as f64 / self.total.max(1) as f64
    }

    /// How many times the minimum moves; `None` if nothing has to.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.minimum > 0.0).then(|| self.share() / self.minimum)
    }
}

/// The part of everything by which the dues of nodes grow.
fn minimum(before: Placed<'_>, after: Placed<'_>) -> f64 {
    let had: HashMap<&str, f64> =
        before.nodes.iter().map(|node| node.id.as_str()).zip(dues(before.nodes)).collect();
    let grows = |(id, due): (&str, f64)| (due - had.get(id).copied().unwrap_or_default()).max(0.0);
    after.nodes.iter().map(|node| node.id.as_str()).zip(dues(after.nodes)).map(grows).sum()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::nodes;
    use super::*;

    #[test]
    fn what_a_newcomer_gets_is_the_minimum() {
        let all = nodes(&[(1, ""), (1, ""), (2, "")]);
        let before = Placed::new(&all[..2], &[0, 0, 1, 1], 1).unwrap();
        let after = Placed::new(&all, &[0, 2, 2, 1], 1).unwrap();
        let movement = Movement::between(before, after).unwrap();
        assert_eq!((movement.moved, movement.total, movement.needless), (2, 4, 0));
        assert_eq!((movement.minimum, movement.ratio()), (0.5, Some(1.0)));
        let flow = |from: &str, to: &str| Flow { from: from.into(), to: to.into(), moved: 1 };
        assert_eq!(movement.flows, [flow("a", "c"), flow("b", "c")]);
    }

    #[test]
    fn what_moves_between_those_that_stay_is_needless() {
        let all = nodes(&[(1, ""), (1, ""), (1, "")]);
        let before = Placed::new(&all, &[0, 1, 2, 2], 1).unwrap();
        let after = Placed::new(&all[..2], &[1, 0, 0, 1], 1).unwrap();
        let movement = Movement::between(before, after).unwrap();
        assert_eq!((movement.moved, movement.needless), (4, 2));
        assert!((movement.minimum - 1.0 / 3.0).abs() < 1e-12, "{movement:?}");
        let mut heavier = all.clone();
        heavier[0].weight = 3;
        let after = Placed::new(&heavier, &[0, 0, 2, 2], 1).unwrap();
        let movement = Movement::between(before, after).unwrap();
        assert_eq!((movement.moved, movement.needless), (1, 0), "its weight has changed");
    }

    #[test]
    fn the_order_of_nodes_and_of_replicas_moves_nothing() {
        let before = nodes(&[(1, ""), (1, ""), (1, "")]);
        let after: Vec<_> = before.iter().rev().cloned().collect();
        let one = Placed::new(&before, &[0, 1, 1, 2], 2).unwrap();
        let other = Placed::new(&after, &[1, 2, 0, 1], 2).unwrap();
        let movement = Movement::between(one, other).unwrap();
        assert_eq!((movement.moved, movement.minimum, movement.ratio()), (0, 0.0, None));
        let third = Placed::new(&after, &[0, 2, 0, 1], 2).unwrap();
        assert_eq!(Movement::between(one, third).unwrap().moved, 1);
        let shorter = Placed::new(&after, &[1, 2], 2).unwrap();
        assert_eq!(Movement::between(one, shorter), None);
    }
}
