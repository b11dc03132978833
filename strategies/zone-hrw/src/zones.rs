//! Which zones there are, and how many owners of a partition each may have to give.

use std::collections::BTreeMap;

use kv_strategy::Node;

use crate::podium::Podium;

/// The zones of some nodes, numbered from 0.
pub struct Zones {
    /// For each rank, that is in the order of the nodes' ids, the number of its zone.
    zones: Vec<u32>,
    /// For each zone the number of its nodes.
    sizes: Vec<usize>,
}

impl Zones {
    /// The zones of `nodes`. One that names no zone gets a zone of its own.
    #[must_use]
    pub fn new(nodes: &[Node], by_id: &[u32]) -> Self {
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        let mut sizes = Vec::new();
        let mut zones = Vec::with_capacity(nodes.len());
        for &index in by_id {
            let name = nodes[index as usize].zone.as_str();
            let next = sizes.len() as u32;
            let number = if name.is_empty() { next } else { *numbers.entry(name).or_insert(next) };
            if number == next {
                sizes.push(0);
            }
            sizes[number as usize] += 1;
            zones.push(number);
        }
        Self { zones, sizes }
    }

    /// The number of the zone of the node of `rank`.
    #[must_use]
    pub fn of_rank(&self, rank: u32) -> u32 {
        self.zones[rank as usize]
    }

    /// A podium that holds whatever may own a partition of as many `replicas`.
    #[must_use]
    pub fn podium<T: PartialOrd + Copy>(&self, replicas: usize) -> Podium<T> {
        let per_zone = self.most_per_zone(replicas);
        // Where one of each zone is enough, the zones of the best decide. Otherwise every zone's turn
        // comes at least once.
        let places = if per_zone == 1 { replicas } else { self.nodes_of_first(per_zone) };
        Podium::new(places, per_zone)
    }

    /// The most owners that one zone has to give, if all give in turn until there are enough.
    fn most_per_zone(&self, replicas: usize) -> usize {
        (1..)
            .find(|&turns| self.nodes_of_first(turns) >= replicas.min(self.zones.len()))
            .unwrap_or(1)
    }

    /// How many nodes all zones together give in so many turns.
    fn nodes_of_first(&self, turns: usize) -> usize {
        self.sizes.iter().map(|&size| size.min(turns)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(names: &[&str]) -> Zones {
        let node = |(n, zone): (usize, &&str)| Node {
            zone: (*zone).to_owned(),
            ..Node::named(format!("node-{n}"))
        };
        let nodes: Vec<Node> = names.iter().enumerate().map(node).collect();
        let by_id: Vec<u32> = (0..).take(nodes.len()).collect();
        Zones::new(&nodes, &by_id)
    }

    #[test]
    fn zones_are_told_apart_by_name_and_no_name_is_one_of_its_own() {
        let zones = zones(&["a", "", "b", "a", ""]);
        assert_eq!(zones.zones, [0, 1, 2, 0, 3]);
        assert_eq!(zones.sizes, [2, 1, 1, 1]);
    }

    #[test]
    fn zones_give_in_turn_while_they_have_nodes() {
        let zones = zones(&["a", "a", "a", "a", "b", "b", "c"]);
        let most: Vec<_> = (1..=7).map(|replicas| zones.most_per_zone(replicas)).collect();
        assert_eq!(most, [1, 1, 1, 2, 2, 3, 4]);
    }
}
