//! Weighted rendezvous hashing, also known as highest random weight.
//!
//! Every node draws a score for every partition, from a hash of the two; the nodes with the highest
//! scores own it. A node's scores do not depend on the other nodes, so when one comes or goes only
//! its own partitions move. (Thaler and Ravishankar, "Using name-based mappings to increase hit
//! rates", IEEE/ACM Transactions on Networking 6(1), 1998. The weights: Schindelhauer and Schomaker,
//! "Weighted distributed hash tables", SPAA 2005, the logarithmic method.)
//!
//! It has no settings, and it does not look at zones.
//!
//! ```
//! use kv_strategy::Node;
//!
//! let nodes = ["node-0", "node-1", "node-2"].map(Node::named);
//! let table = hrw::assign(&nodes, 4096, 1, "")?;
//! assert_eq!(table.len(), 4096);
//! # Ok::<(), kv_strategy::Error>(())
//! ```

use kv_strategy::{Error, Node, check, hash, score};

kv_strategy::export!(assign);

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
///
/// Any seed is as good on average. Of the first thousand this is the best for nodes as they name
/// themselves: of 2 to 16 equal nodes node-0, node-1 and so on none is more than 6 percent above the
/// mean, which `tests/promises.rs` checks.
const SEED: u64 = 316;

/// So many nodes draw before anything is compared: most of their draws are too low, and a loop with one
/// draw a turn takes half as long again in a component.
const GROUP: usize = 8;

/// The nodes of one weight. Among them a higher draw is a higher score, so they are compared as
/// integers, and only the best draws become numbers with a fraction. These cost much more, in a
/// component above all, where the host keeps them the same on every machine.
struct Class {
    weight: f64,
    /// For each node, in the order of their ids, what its draws come from.
    seeds: Vec<u64>,
    /// For each of them its rank among all nodes' ids.
    ranks: Vec<u32>,
}

/// The owners of every partition; see [`kv_strategy::Assign`].
///
/// # Errors
/// [`Error::InvalidConfig`] for any settings, [`Error::TooFewNodes`] and [`Error::Unsupported`] for
/// a question that [`check`] refuses.
pub fn assign(
    nodes: &[Node],
    partitions: u32,
    replicas: u32,
    config: &str,
) -> Result<Vec<u32>, Error> {
    if !config.is_empty() {
        return Err(Error::InvalidConfig(format!("hrw has no settings, got {config:?}")));
    }
    let by_id = check(nodes, partitions, replicas)?;
    let classes = classes(nodes, &by_id);
    let replicas = replicas as usize;
    let mut table = Vec::with_capacity(partitions as usize * replicas);
    let mut draws = Highest::new(replicas);
    let mut best = Vec::with_capacity(replicas + 1);
    for partition in 0..partitions {
        best.clear();
        for class in &classes {
            let bar = worst(&best, replicas)
                .map_or(0, |worst| score::lowest_draw_above(class.weight, worst));
            class.highest_draws(partition, bar, &mut draws);
            for &(draw, place) in &draws.kept {
                let score = score::of(class.weight, draw);
                insert(&mut best, replicas, score, class.ranks[place as usize]);
            }
        }
        table.extend(best.iter().map(|&(_, rank)| by_id[rank as usize]));
    }
    Ok(table)
}

/// The nodes by their weight, in the order of their ids, which makes the table independent of the
/// caller's order.
fn classes(nodes: &[Node], by_id: &[u32]) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (rank, &index) in (0..).zip(by_id) {
        let node = &nodes[index as usize];
        let weight = f64::from(node.weight);
        let known = classes.iter().position(|class| class.weight == weight);
        let class = known.unwrap_or_else(|| {
            classes.push(Class { weight, seeds: Vec::new(), ranks: Vec::new() });
            classes.len() - 1
        });
        classes[class].seeds.push(hash::of_bytes(SEED, node.id.as_bytes()));
        classes[class].ranks.push(rank);
    }
    classes
}

impl Class {
    /// The highest draws for `partition`, none below `bar`, with their nodes' places here.
    fn highest_draws(&self, partition: u32, bar: u64, highest: &mut Highest) {
        let draw = |seed: &u64| hash::nth(*seed, partition) >> (u64::BITS - score::DRAW_BITS);
        let (groups, rest) = self.seeds.as_chunks::<GROUP>();
        highest.clear(bar);
        for (group, place) in groups.iter().zip((0..).step_by(GROUP)) {
            let draws = group.each_ref().map(draw);
            if draws.iter().any(|draw| *draw >= highest.bar) {
                draws.into_iter().zip(place..).for_each(|(draw, place)| highest.offer(draw, place));
            }
        }
        let first = (groups.len() * GROUP) as u32;
        rest.iter().zip(first..).for_each(|(seed, place)| highest.offer(draw(seed), place));
    }
}

/// The highest draws so far, highest first. Of equal draws the one that was offered first comes first,
/// which is the smaller id's.
struct Highest {
    limit: usize,
    kept: Vec<(u64, u32)>,
    /// What a draw must be at least to be kept.
    bar: u64,
}

impl Highest {
    fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::with_capacity(limit + 1), bar: 0 }
    }

    fn clear(&mut self, bar: u64) {
        self.kept.clear();
        self.bar = bar;
    }

    fn offer(&mut self, draw: u64, place: u32) {
        if draw >= self.bar {
            insert(&mut self.kept, self.limit, draw, place);
            if self.kept.len() == self.limit {
                self.bar = self.bar.max(self.kept[self.limit - 1].0 + 1);
            }
        }
    }
}

/// The score that another one must exceed to be kept; `None` while there is room.
fn worst(best: &[(f64, u32)], limit: usize) -> Option<f64> {
    best.get(limit - 1).map(|&(score, _)| score)
}

/// Keeps the `limit` highest values, highest first, each with whose it is. Of equal values the one
/// of the smaller number comes first.
fn insert<T: PartialOrd>(highest: &mut Vec<(T, u32)>, limit: usize, value: T, of: u32) {
    let before = |other: &(T, u32)| other.0 > value || (other.0 == value && other.1 < of);
    let place = highest.partition_point(before);
    highest.insert(place, (value, of));
    highest.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_stay_and_the_smaller_number_of_equals_wins() {
        let mut highest = Vec::new();
        for (value, of) in [(2.0, 0), (5.0, 3), (1.0, 2), (5.0, 1), (2.0, 4)] {
            insert(&mut highest, 3, value, of);
        }
        assert_eq!(highest, [(5.0, 1), (5.0, 3), (2.0, 0)]);
    }

    #[test]
    fn any_setting_is_refused() {
        let nodes = [Node::named("node-0")];
        assert!(matches!(assign(&nodes, 16, 1, "x=1"), Err(Error::InvalidConfig(_))));
    }
}
