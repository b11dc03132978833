//! How far apart the replicas of partitions are.

use std::collections::BTreeSet;

use super::Placed;

/// In how many zones partitions have their replicas. A node that names no zone is a zone of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// In how many zones a partition can have replicas: as many as there are zones, or replicas.
    pub possible: usize,
    /// The fewest zones that any partition is in.
    pub fewest: usize,
    /// How many partitions are in fewer zones than they could be.
    pub short: usize,
    /// The first of these.
    pub first_short: Option<usize>,
}

impl Spread {
    /// The spread of a table.
    #[must_use]
    pub fn of(placed: Placed<'_>) -> Self {
        let zone = |index: usize| match placed.nodes[index].zone.as_str() {
            "" => (index, ""),
            zone => (usize::MAX, zone),
        };
        let zones: BTreeSet<_> = (0..placed.nodes.len()).map(zone).collect();
        let possible = zones.len().min(placed.replicas);
        let mut spread = Self { possible, fewest: possible, short: 0, first_short: None };
        for (partition, owners) in placed.partitions().enumerate() {
            let zones: BTreeSet<_> = owners.iter().map(|&owner| zone(owner as usize)).collect();
            spread.fewest = spread.fewest.min(zones.len());
            if zones.len() < possible {
                spread.short += 1;
                spread.first_short.get_or_insert(partition);
            }
        }
        spread
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::nodes;
    use super::*;

    #[test]
    fn a_partition_is_short_of_zones_only_where_there_are_more() {
        let nodes = nodes(&[(1, "x"), (1, "x"), (1, "y"), (1, ""), (1, "")]);
        let placed = Placed::new(&nodes, &[0, 2, 0, 1, 3, 4], 2).unwrap();
        let spread = Spread::of(placed);
        assert_eq!(spread, Spread { possible: 2, fewest: 1, short: 1, first_short: Some(1) });
        let placed = Placed::new(&nodes[..2], &[0, 1], 2).unwrap();
        let spread = Spread::of(placed);
        assert_eq!(spread, Spread { possible: 1, fewest: 1, short: 0, first_short: None });
    }
}
