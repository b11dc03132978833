//! Weighted rendezvous hashing that spreads the replicas of a partition over zones.
//!
//! Every node draws a score for every partition, as in plain rendezvous hashing. A partition's owners
//! are then dealt out over the zones: the best node of every zone comes first, in the order of their
//! scores; only where the zones do not suffice does each give its second best, and so on. So replicas
//! are in different zones while there are as many, and otherwise no zone has two more than another
//! that still has a node to give. (Rendezvous hashing: Thaler and Ravishankar, "Using name-based
//! mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998, with the weights of
//! [`kv_strategy::score`]. Placing by hierarchy, so that failure domains do not share replicas: Weil,
//! Brandt, Miller and Maltzahn, "CRUSH: controlled, scalable, decentralized placement of replicated
//! data", SC 2006.)
//!
//! The best node of a zone scores as one node with the weights of all of them would. So a zone draws
//! partitions as its total weight says, and within it a node as its own weight says.
//!
//! - **One replica** is plain rendezvous hashing, the very tables of the strategy `hrw`: zones play no
//!   part, and every node's share follows its weight.
//! - **Little movement**: when a node joins, only it becomes an owner of anything; when one leaves,
//!   only its partitions get another owner, which may be of another zone.
//! - **No zone**: a node whose zone is empty counts as a zone of its own. Nothing says that it could
//!   fail together with another one; and where no node has a zone, this is plain rendezvous hashing
//!   for replicas too.
//!
//! # Weights against zones
//!
//! With more than one replica the two promises pull apart, and zones win. A zone owns at most one
//! replica of each partition, a share of `1 / replicas` of all of them, however heavy it is. Of two
//! zones with the weights 9 and 1 and two replicas each owns half, so the nodes of the light one carry
//! nine times as much for their weight. In general a zone heavier than `1 / replicas` of the total
//! cannot get its due, and what it cannot hold falls to the lighter ones. Lesser differences are
//! flattened too, as in any choice of several without replacement. Zones of about equal weight, or
//! clearly more zones than replicas, keep the shares near the weights.
//!
//! It has no settings.
//!
//! ```
//! use kv_strategy::Node;
//!
//! let node = |id: &str, zone: &str| Node { zone: zone.to_owned(), ..Node::named(id) };
//! let nodes = [node("a", "east"), node("b", "east"), node("c", "west")];
//! let table = zone_hrw::assign(&nodes, 4096, 2, "")?;
//! assert!(table.chunks(2).all(|owners| owners.contains(&2)), "one of the two is in the west");
//! # Ok::<(), kv_strategy::Error>(())
//! ```

use kv_strategy::{Error, Node, check, hash, score};

use crate::podium::Podium;
use crate::zones::Zones;

pub mod podium;
pub mod zones;

kv_strategy::export!(assign);

/// The seed of the nodes' hashes, a part of the strategy: another seed is another table.
///
/// It is the one of the strategy `hrw`, so that both give the same tables for one replica, and a
/// cluster that changes from one to the other moves nothing.
const SEED: u64 = 316;

/// So many nodes draw before anything is compared: most of their draws are too low, and a loop with one
/// draw a turn takes half as long again in a component.
const GROUP: usize = 8;

/// The nodes of one weight, which are compared by their draws alone. Only the best draws become
/// scores, which cost much more.
struct Class {
    weight: f64,
    members: Vec<Member>,
}

/// A node, seen from its class.
struct Member {
    /// What the node's draws come from.
    seed: u64,
    /// The node's rank among all nodes' ids.
    rank: u32,
    /// The number of its zone.
    zone: u32,
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
        return Err(Error::InvalidConfig(format!("zone-hrw has no settings, got {config:?}")));
    }
    let by_id = check(nodes, partitions, replicas)?;
    let replicas = replicas as usize;
    let zones = Zones::new(nodes, &by_id);
    let classes = classes(nodes, &by_id, &zones);
    let mut draws = zones.podium(replicas);
    let mut best = zones.podium(replicas);
    let mut table = Vec::with_capacity(partitions as usize * replicas);
    for partition in 0..partitions {
        best.clear();
        for class in &classes {
            let bar = best.bar().map_or(0, |bar| score::lowest_draw_above(class.weight, bar));
            class.highest_draws(partition, bar, &mut draws);
            for place in draws.places() {
                best.offer(score::of(class.weight, place.value), place.rank, place.zone);
            }
        }
        table.extend(best.dealt(replicas).map(|rank| by_id[rank as usize]));
    }
    Ok(table)
}

/// The nodes by their weight, in the order of their ids, which makes the table independent of the
/// caller's order.
fn classes(nodes: &[Node], by_id: &[u32], zones: &Zones) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (rank, &index) in (0..).zip(by_id) {
        let node = &nodes[index as usize];
        let weight = f64::from(node.weight);
        let known = classes.iter().position(|class| class.weight == weight);
        let class = known.unwrap_or_else(|| {
            classes.push(Class { weight, members: Vec::new() });
            classes.len() - 1
        });
        let seed = hash::of_bytes(SEED, node.id.as_bytes());
        classes[class].members.push(Member { seed, rank, zone: zones.of_rank(rank) });
    }
    classes
}

impl Class {
    /// The highest draws for `partition`, none below `bar`, as many and of as many zones as a podium
    /// has.
    ///
    /// A node that is not among them has as many better ones above it in this class alone as could
    /// own the partition before it.
    fn highest_draws(&self, partition: u32, mut bar: u64, draws: &mut Podium<u64>) {
        let draw =
            |member: &Member| hash::nth(member.seed, partition) >> (u64::BITS - score::DRAW_BITS);
        draws.clear();
        let mut offer = |member: &Member, draw: u64, bar: u64| {
            if draw < bar {
                return bar;
            }
            draws.offer(draw, member.rank, member.zone);
            // Members come in the order of their ranks, so one as high as the last is behind it.
            draws.bar().map_or(bar, |last| bar.max(last + 1))
        };
        let (groups, rest) = self.members.as_chunks::<GROUP>();
        for group in groups {
            let drawn = group.each_ref().map(draw);
            if drawn.iter().any(|draw| *draw >= bar) {
                let members = group.iter().zip(drawn);
                bar = members.fold(bar, |bar, (member, draw)| offer(member, draw, bar));
            }
        }
        rest.iter().fold(bar, |bar, member| offer(member, draw(member), bar));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_setting_is_refused() {
        let nodes = [Node::named("node-0")];
        assert!(matches!(assign(&nodes, 16, 1, "x=1"), Err(Error::InvalidConfig(_))));
    }

    #[test]
    fn nodes_in_no_zone_are_zones_of_their_own() {
        let named = ["a", "b", "c", "d"].map(Node::named);
        let mut zoned = named.clone();
        for node in &mut zoned {
            node.zone = format!("zone-of-{}", node.id);
        }
        assert_eq!(assign(&named, 256, 3, ""), assign(&zoned, 256, 3, ""));
    }

    #[test]
    fn one_zone_for_all_is_no_zone_at_all() {
        let named = ["a", "b", "c", "d"].map(Node::named);
        let mut zoned = named.clone();
        for node in &mut zoned {
            node.zone = "only".to_owned();
        }
        assert_eq!(assign(&named, 256, 3, ""), assign(&zoned, 256, 3, ""));
    }
}
