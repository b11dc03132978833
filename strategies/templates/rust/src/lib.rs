//! Weighted rendezvous hashing, also known as highest random weight. This is the file to change.
//!
//! Every node draws a score for every partition, from a hash of the two; the nodes with the highest
//! scores own it. A node's scores do not depend on the other nodes, so when one comes or goes only its
//! own partitions move. (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998. The weights: Schindelhauer and Schomaker, "Weighted
//! distributed hash tables", SPAA 2005, the logarithmic method.)

mod contract;
mod hash;

use contract::{Error, Guest, Info, Node, check};

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table. With this one a
/// few nodes named node-0, node-1 and so on share especially well.
const SEED: u64 = 316;

/// How many bits of a hash are a draw: as many as an `f64` holds exactly, with a half more.
const DRAW_BITS: u32 = 52;

struct Strategy;

contract::export!(Strategy with_types_in contract);

impl Guest for Strategy {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            settings: String::new(),
        }
    }

    fn assign(
        nodes: Vec<Node>,
        partitions: u32,
        replicas: u32,
        config: String,
    ) -> Result<Vec<u32>, Error> {
        if !config.is_empty() {
            return Err(Error::InvalidConfig("this strategy has no settings".to_owned()));
        }
        let by_id = check(&nodes, partitions, replicas)?;
        let candidates: Vec<Candidate> =
            by_id.iter().map(|&index| Candidate::new(index, &nodes[index as usize])).collect();
        let replicas = replicas as usize;
        let mut table = Vec::with_capacity(partitions as usize * replicas);
        let mut best: Vec<Score> = Vec::with_capacity(replicas + 1);
        for partition in 0..partitions {
            best.clear();
            for candidate in &candidates {
                let draw = candidate.draw(partition);
                if best.len() < replicas || candidate.may_exceed(best[replicas - 1].value, draw) {
                    insert(&mut best, replicas, candidate.score(draw));
                }
            }
            table.extend(best.iter().map(|score| score.owner));
        }
        Ok(table)
    }
}

/// A node that draws.
struct Candidate {
    index: u32,
    seed: u64,
    weight: f64,
}

/// A node's score for a partition.
#[derive(Clone, Copy)]
struct Score {
    value: f64,
    owner: u32,
}

impl Candidate {
    fn new(index: u32, node: &Node) -> Self {
        let seed = hash::of_bytes(SEED, node.id.as_bytes());
        Self { index, seed, weight: f64::from(node.weight) }
    }

    /// A number that is uniform in (0, 1): the middle of one of 2^52 equal parts.
    fn draw(&self, partition: u32) -> f64 {
        const PARTS: f64 = (1_u64 << DRAW_BITS) as f64;
        let part = hash::nth(self.seed, partition) >> (u64::BITS - DRAW_BITS);
        (part as f64 + 0.5) / PARTS
    }

    /// With `u` uniform in (0, 1), `-ln(u) / weight` is exponentially distributed with rate `weight`, and
    /// of several such numbers each is the smallest with a probability proportional to its rate. The
    /// score is the inverse. The logarithm is libm's: others round differently.
    fn score(&self, u: f64) -> Score {
        Score { value: -self.weight / libm::log(u), owner: self.index }
    }

    /// Whether the score for `u` may exceed `value`, told without the logarithm, which would take most of
    /// the time: since `-ln(u) >= 1 - u`, no score exceeds `weight / (1 - u)`. The margin is far above any
    /// rounding error.
    fn may_exceed(&self, value: f64, u: f64) -> bool {
        self.weight * 1.000_001 > value * (1.0 - u)
    }
}

/// Keeps the `limit` highest scores, highest first. Of equal scores the one that came first stays first.
fn insert(best: &mut Vec<Score>, limit: usize, score: Score) {
    let place = best.partition_point(|other| other.value >= score.value);
    best.insert(place, score);
    best.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(nodes: &[Node]) -> Vec<u32> {
        Strategy::assign(nodes.to_vec(), 4096, 1, String::new()).expect("an ordinary question")
    }

    fn nodes(count: usize) -> Vec<Node> {
        let node = |n| Node { id: format!("node-{n}"), weight: 1, zone: String::new() };
        (0..count).map(node).collect()
    }

    #[test]
    fn a_newcomer_only_takes() {
        let (before, after) = (assign(&nodes(4)), assign(&nodes(5)));
        for (old, new) in before.iter().zip(&after) {
            assert!(new == old || *new == 4, "from {old} to {new}");
        }
    }

    #[test]
    fn the_order_of_nodes_does_not_matter() {
        let mut reversed = nodes(5);
        reversed.reverse();
        let back: Vec<u32> = assign(&reversed).into_iter().map(|index| 4 - index).collect();
        assert_eq!(back, assign(&nodes(5)));
    }
}
