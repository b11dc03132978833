//! Maglev hashing: nodes take turns at claiming partitions.
//!
//! Every node has a permutation of the partitions: the order in which it would like to have them.
//! The nodes take turns, in the order of their ids; the one whose turn it is claims the first
//! partition of its permutation that is still free, until none is. (Eisenbud, Yi, Contavalli,
//! Smith, Kononov, Mann-Hielscher, Cilingiroglu, Cheyney, Shang and Hosein, "Maglev: a fast and
//! reliable software network load balancer", NSDI 2016, section 3.4. The paper leaves weights open;
//! here they say how often a node's turn comes.)
//!
//! Turns make shares as equal as whole partitions can be, whatever the names of the nodes, and a table
//! is made in milliseconds, since a node looks at a few partitions for each that it claims instead of
//! at all of them. It has no settings, and it does not look at zones.
//!
//! More replicas are claimed in further rounds of the same kind: when all partitions have a first
//! owner, the nodes begin their permutations again and claim second owners, passing over partitions
//! that they own already, and so on. So asking for more replicas keeps the owners that there were.
//!
//! # What it costs: movement
//!
//! When a node joins or leaves, Maglev also moves partitions between other nodes. The newcomer's
//! claims push those whom they would have gone to on to others, and so on. This is the price of
//! perfect balance; the paper's load balancers track connections and hardly notice, but a store
//! copies data. Per join, over the newcomer's fair share, which is the least that can move:
//!
//! | partitions | 10 nodes | 30 nodes | 100 nodes | 1,000 nodes |
//! |---|---|---|---|---|
//! | 4,096 | 1.14 | 1.6 | 4.0 | 7 |
//! | 65,536 | 1.03 | 1.1 | 1.6 | 7 |
//!
//! It is a choice for small clusters that want equal shares; `tests/promises.rs` holds it to these
//! figures. For little movement see the strategy `hrw`, for both within limits `bounded-hrw`.
//!
//! # Why the table has no prime size
//!
//! In the paper a node's permutation is an offset and a stride, and the table has a prime size so
//! that every stride goes through all of it. Partitions are a power of two, where the odd strides
//! do. Both, with the prime just above and its surplus passed over, were measured over 400 random
//! clusters beside the pseudo-random permutations of [`kv_strategy::permutation`]. Balance is the
//! same and so is the mean of what moves, but now and then two strides are so alike that two nodes
//! chase each other through the table: of 10 nodes with 4,096 partitions, one join moved 1.70 times
//! the minimum with odd strides, 1.38 with the prime, and 1.19 with permutations, which is why
//! these are used.
//!
//! ```
//! use kv_strategy::Node;
//!
//! let nodes = ["node-0", "node-1", "node-2", "node-3"].map(Node::named);
//! let table = maglev::assign(&nodes, 4096, 1, "")?;
//! let share = |node| table.iter().filter(|owner| **owner == node).count();
//! assert_eq!([0, 1, 2, 3].map(share), [1024; 4]);
//! # Ok::<(), kv_strategy::Error>(())
//! ```

use kv_strategy::{Error, Node, check, hash};

use crate::table::Table;
use crate::turns::Turns;
use crate::walk::Walk;

pub mod table;
pub mod turns;
pub mod walk;

kv_strategy::export!(assign);

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
const SEED: u64 = 0;

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
        return Err(Error::InvalidConfig(format!("maglev has no settings, got {config:?}")));
    }
    let by_id = check(nodes, partitions, replicas)?;
    let seeds: Vec<u64> = by_id
        .iter()
        .map(|&index| hash::of_bytes(SEED, nodes[index as usize].id.as_bytes()))
        .collect();
    let weights = by_id.iter().map(|&index| nodes[index as usize].weight);
    let mut turns = Turns::new(weights, &seeds);
    let mut table = Table::new(partitions, replicas as usize);
    for replica in 0..replicas as usize {
        let walks = seeds.iter().map(|&seed| Walk::new(seed, partitions)).collect();
        table.claim(replica, walks, &mut turns);
    }
    Ok(table.into_entries().into_iter().map(|rank| by_id[rank as usize]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_setting_is_refused() {
        let nodes = [Node::named("node-0")];
        assert!(matches!(assign(&nodes, 16, 1, "x=1"), Err(Error::InvalidConfig(_))));
    }
}
