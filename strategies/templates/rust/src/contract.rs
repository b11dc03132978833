//! The contract of `wit/placement.wit`: its types, made from that file, and its limits.

wit_bindgen::generate!({ path: "wit", world: "placement", pub_export_macro: true });

pub use exports::kv::placement::strategy::{Error, Guest, Info, Node};

const PARTITIONS_MAX: u32 = 1 << 16;
const REPLICAS_MAX: u32 = 64;
const WEIGHT_MAX: u32 = 256;

/// Refuses a question that the contract does not allow, so that what follows can rely on it.
///
/// Gives the nodes' indexes in the order of their ids: a strategy that goes by it does not depend on
/// the order in which it got them.
pub fn check(nodes: &[Node], partitions: u32, replicas: u32) -> Result<Vec<u32>, Error> {
    let unsupported = |why: String| Err(Error::Unsupported(why));
    if !partitions.is_power_of_two() || partitions > PARTITIONS_MAX {
        return unsupported(format!(
            "{partitions} partitions, expected a power of two from 1 to {PARTITIONS_MAX}"
        ));
    }
    if !(1..=REPLICAS_MAX).contains(&replicas) {
        return unsupported(format!("{replicas} replicas, expected 1 to {REPLICAS_MAX}"));
    }
    if nodes.len() < replicas as usize {
        return Err(Error::TooFewNodes(replicas));
    }
    if let Some(node) = nodes.iter().find(|node| !(1..=WEIGHT_MAX).contains(&node.weight)) {
        let Node { id, weight, .. } = node;
        return unsupported(format!("node {id:?} of weight {weight}, expected 1 to {WEIGHT_MAX}"));
    }
    let id = |index: u32| nodes[index as usize].id.as_str();
    let mut by_id: Vec<u32> = (0..).take(nodes.len()).collect();
    by_id.sort_unstable_by_key(|&index| id(index));
    match by_id.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
        Some(pair) => unsupported(format!("two nodes of the same id {:?}", id(pair[0]))),
        None => Ok(by_id),
    }
}
