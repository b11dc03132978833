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

use kv_strategy::{Error, Node, check, hash};

kv_strategy::export!(assign);

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
///
/// Any seed is as good on average. Of the first thousand this is the best for nodes as they name
/// themselves: of 2 to 16 equal nodes node-0, node-1 and so on none is more than 6 percent above the
/// mean, which `tests/promises.rs` checks.
const SEED: u64 = 316;

/// A node as a candidate: where it stands in the caller's list, and what its scores come from.
struct Candidate {
    index: u32,
    seed: u64,
    weight: f64,
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
    check(nodes, partitions, replicas)?;
    let candidates = candidates(nodes);
    let replicas = replicas as usize;
    let mut table = Vec::with_capacity(partitions as usize * replicas);
    let mut best = Vec::with_capacity(replicas + 1);
    for partition in 0..partitions {
        best.clear();
        for candidate in &candidates {
            let draw = candidate.draw(partition);
            if best.len() < replicas || candidate.may_exceed(worst(&best), draw) {
                insert(&mut best, replicas, candidate.score(draw), candidate.index);
            }
        }
        table.extend(best.iter().map(|&(_, index)| index));
    }
    Ok(table)
}

/// The nodes in the order of their ids, which makes the table independent of the caller's order.
fn candidates(nodes: &[Node]) -> Vec<Candidate> {
    let mut by_id: Vec<(u32, &Node)> = (0..).zip(nodes).collect();
    by_id.sort_unstable_by_key(|&(_, node)| &node.id);
    by_id
        .into_iter()
        .map(|(index, node)| Candidate {
            index,
            seed: hash::of_bytes(SEED, node.id.as_bytes()),
            weight: f64::from(node.weight),
        })
        .collect()
}

impl Candidate {
    /// The node's random number for `partition`, uniform in (0, 1).
    fn draw(&self, partition: u32) -> f64 {
        open_unit(hash::nth(self.seed, partition))
    }

    /// The node's score for its draw, positive and finite.
    ///
    /// With `u` uniform in (0, 1), `-ln(u) / weight` is exponentially distributed with rate `weight`,
    /// and of several such numbers each is the smallest with a probability proportional to its rate.
    /// The score is the inverse. The logarithm is libm's: a platform's own may round differently.
    fn score(&self, draw: f64) -> f64 {
        -self.weight / libm::log(draw)
    }

    /// Whether the score for `draw` may exceed `score`, told without the logarithm, which would take
    /// most of the time: since `-ln(u) >= 1 - u`, no score exceeds `weight / (1 - u)`.
    ///
    /// The margin is far above any rounding error, so no score that does exceed is overlooked.
    fn may_exceed(&self, score: f64, draw: f64) -> bool {
        const MARGIN: f64 = 1.000_001;
        self.weight * MARGIN > score * (1.0 - draw)
    }
}

/// The middle of the one of 2^52 equal parts of (0, 1) that `random` falls in, exact in an `f64`.
fn open_unit(random: u64) -> f64 {
    const PARTS: f64 = (1_u64 << 52) as f64;
    ((random >> 12) as f64 + 0.5) / PARTS
}

/// The lowest of the scores kept so far, below all scores where there is none.
fn worst(best: &[(f64, u32)]) -> f64 {
    best.last().map_or(0.0, |&(score, _)| score)
}

/// Keeps the `limit` highest scores in `best`, highest first. An equal score goes behind those that
/// are there, so the smaller id wins a tie.
fn insert(best: &mut Vec<(f64, u32)>, limit: usize, score: f64, index: u32) {
    let place = best.partition_point(|&(other, _)| other >= score);
    best.insert(place, (score, index));
    best.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_positive_and_finite_at_both_ends() {
        let candidate = Candidate { index: 0, seed: 0, weight: 1.0 };
        for random in [0, u64::MAX] {
            let draw = open_unit(random);
            assert!(0.0 < draw && draw < 1.0, "{draw}");
            let score = candidate.score(draw);
            assert!(score > 0.0 && score.is_finite(), "{score}");
        }
    }

    #[test]
    fn no_score_that_exceeds_is_overlooked() {
        let ends = [0, 1 << 12, u64::MAX - (1 << 12), u64::MAX];
        for random in (0..10_000).map(|n| hash::nth(0, n)).chain(ends) {
            for weight in [1.0, 3.0, 256.0] {
                let candidate = Candidate { index: 0, seed: 0, weight };
                let draw = open_unit(random);
                // The score itself is the hardest bound that it still may exceed, but for rounding.
                assert!(candidate.may_exceed(candidate.score(draw), draw), "{draw} x {weight}");
            }
        }
    }

    #[test]
    fn the_highest_scores_stay_and_the_first_of_equals_wins() {
        let mut best = Vec::new();
        for (index, score) in (0..).zip([2.0, 5.0, 1.0, 5.0, 2.0]) {
            insert(&mut best, 3, score, index);
        }
        assert_eq!(best, [(5.0, 1), (5.0, 3), (2.0, 0)]);
    }

    #[test]
    fn any_setting_is_refused() {
        let nodes = [Node::named("node-0")];
        assert!(matches!(assign(&nodes, 16, 1, "x=1"), Err(Error::InvalidConfig(_))));
    }
}
