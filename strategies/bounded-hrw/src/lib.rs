//! Weighted rendezvous hashing with bounded loads.
//!
//! Every node has a capacity: its fair share of all replicas by weight, and the bound's few percent
//! more. Every partition prefers nodes in the order of their scores, as in rendezvous hashing. In each
//! round, the partitions that still lack owners ask the best nodes that have room; a node with more
//! requests than room takes those that score highest with it, for good, and is full. Rounds go on until
//! no partition lacks an owner. (Bounded loads: Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with
//! bounded loads", SODA 2018. Preferences: Thaler and Ravishankar, "Using name-based mappings to
//! increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998, with the weights of
//! [`kv_strategy::score`]. Rounds whose acceptances are final: the immediate acceptance mechanism of
//! Abdulkadiroglu and Sonmez, "School choice: a mechanism design approach", American Economic Review
//! 93(3), 2003.)
//!
//! # The bound
//!
//! No node owns more than `bound` times its fair share, or its fair share rounded up where a share
//! is so small that the bound leaves no whole replica above it (below 20 replicas for a bound of
//! 1.05). No other definition with whole partitions is both this tight and always possible. A
//! node's fair share is what its weight says of all replicas, but never more than one of each
//! partition; see [`capacity`]. Over several replicas the bound is on all of them together, not on
//! the first owners alone.
//!
//! The one setting is `bound=1.05`, from 1.01 to 2, [the default](settings::BOUND_DEFAULT) being 1.05.
//! A looser bound moves less.
//!
//! # Movement
//!
//! Bounded loads cannot move as little as rendezvous hashing does: where a newcomer takes from a
//! full node, one that the node had refused comes back, and the newcomer lowers all nodes'
//! capacities. How much that is depends on the number of partitions per node, since the shares of
//! plain hashing stray from the mean by one over its root. So draws are made *without replacement*,
//! see [`draws`], which halves the variance, and with it the refusals.
//!
//! What moves when a node joins, over its fair share, in random clusters with 4,096 partitions and
//! nodes of weights 1, 2 and 4; when a node leaves, what moves over what it had is the same within
//! 0.05:
//!
//! | nodes | partitions per node | mean | most of 20 to 300 clusters |
//! |---|---|---|---|
//! | 10 | 410 | 1.01 | 1.09 |
//! | 20 | 205 | 1.04 | 1.20 |
//! | 30 | 137 | 1.10 | 1.33 |
//! | 41 | 100 | 1.17 | 1.42 |
//! | 50 | 82 | 1.23 | 1.52 |
//! | 70 | 59 | 1.40 | 2.37 |
//! | 100 | 41 | 1.63 | 3.05 |
//! | 200 | 20 | 3.04 | 10.9 |
//!
//! So have at least a hundred partitions per node, or loosen the bound: with 65,536 partitions, 300
//! nodes are at 1.14. Below that capacities of whole partitions leave nearly no room above the fair
//! share. A node that is much lighter than the others moves more in relation to its own small
//! share. Over three replicas, 10 nodes and more move less than above; 4 to 6 nodes of unequal
//! weights are at 1.19, with up to 1.65, for a heavy node's share of several distinct owners is not
//! what its scores alone would give it, and many are refused.
//!
//! # Other rules
//!
//! Tried on the same 12 clusters of 100 to 111 equal nodes with 4,096 partitions, where the rules
//! differ most, and drawing with replacement, this one moves 1.92 times the minimum. A node that
//! may drop what it has accepted for something better (deferred acceptance, whose outcome is the
//! stable matching) moves 2.02 times, since one change displaces the next. Nodes that keep those
//! whose second choice is the worst move 2.02 times, nodes that keep partitions in an order that is
//! the same for all, as the balls of the paper have, 2.21 times, and sending the refused only to
//! nodes below their fair share 2.13 times. Draws without replacement bring this rule from 1.92 to
//! 1.78, and from 1.20 to 1.16 at 30 nodes.
//!
//! ```
//! use kv_strategy::Node;
//!
//! let nodes = ["node-0", "node-1", "node-2", "node-3"].map(Node::named);
//! let table = bounded_hrw::assign(&nodes, 4096, 1, "bound=1.02")?;
//! for node in 0..4 {
//!     let share = table.iter().filter(|owner| **owner == node).count();
//!     assert!(share <= 1044, "1.02 x 1024 partitions, rounded down");
//! }
//! # Ok::<(), kv_strategy::Error>(())
//! ```

use kv_strategy::{Error, Node, check, hash};

use crate::draws::Draws;
use crate::rounds::Rounds;
use crate::settings::Settings;

pub mod capacity;
pub mod draws;
pub mod rounds;
pub mod settings;
mod swaps;

kv_strategy::export!(assign, settings::HELP);

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
const SEED: u64 = 0;

/// What decides about a node: the order of these is the order of the nodes' ids, so that the table
/// does not depend on the caller's order.
#[derive(Clone, Debug)]
pub struct Bidder {
    /// The node's weight.
    pub weight: f64,
    /// Its draws for all partitions.
    pub draws: Draws,
    /// The most replicas that it may own.
    pub capacity: u32,
}

/// The owners of every partition; see [`kv_strategy::Assign`].
///
/// # Errors
/// [`Error::InvalidConfig`] for settings that are not as above, and what [`check`] refuses.
pub fn assign(
    nodes: &[Node],
    partitions: u32,
    replicas: u32,
    config: &str,
) -> Result<Vec<u32>, Error> {
    let settings: Settings = config.parse()?;
    let by_id = check(nodes, partitions, replicas)?;
    let weights: Vec<u32> = by_id.iter().map(|&index| nodes[index as usize].weight).collect();
    let capacities = capacity::of_all(&weights, partitions, replicas, settings.bound_thousandths);
    let bidders: Vec<Bidder> = by_id
        .iter()
        .zip(capacities)
        .map(|(&index, capacity)| {
            let node = &nodes[index as usize];
            let seed = hash::of_bytes(SEED, node.id.as_bytes());
            let draws = Draws::new(seed, partitions);
            Bidder { weight: f64::from(node.weight), draws, capacity }
        })
        .collect();
    let mut table = Rounds::new(&bidders, partitions, replicas as usize).table();
    for entry in &mut table {
        *entry = by_id[*entry as usize];
    }
    Ok(table)
}
