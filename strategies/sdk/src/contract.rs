//! The contract of `wit/placement.wit` in plain Rust types, and its limits.

/// The most partitions that a cluster can have.
pub const PARTITIONS_MAX: u32 = 1 << 16;

/// The most owners of one partition. It keeps the largest table at 16 MiB.
pub const REPLICAS_MAX: u32 = 64;

/// The largest weight of a node; the smallest is 1.
pub const WEIGHT_MAX: u32 = 256;

/// A strategy's one function: the owners of every partition.
///
/// Arguments and answer are those of `assign` in `wit/placement.wit`: nodes in any order, a power of
/// two of partitions, the owners wanted of each, the strategy's own settings; and then `replicas`
/// indexes into the nodes for each partition in turn, the best owner first.
pub type Assign = fn(&[Node], u32, u32, &str) -> Result<Vec<u32>, Error>;

/// A node that may own partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize))]
pub struct Node {
    /// The node's stable name, unique among the nodes.
    pub id: String,
    /// The node's relative capacity, 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// The failure domain that the node is in, empty when the operator names none.
    pub zone: String,
}

/// What a strategy says of itself. [`export!`](crate::export) takes most of it from `Cargo.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The package's name, in kebab-case.
    pub name: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// The package's description: one sentence on how the strategy places.
    pub summary: &'static str,
    /// What the configuration text may say, empty where there are no settings.
    pub settings: &'static str,
}

/// Why a strategy cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are fewer nodes than owners wanted. Holds the number needed.
    #[error("too few nodes: {0} are needed")]
    TooFewNodes(u32),
    /// The configuration text is not one that the strategy understands. Holds why.
    #[error("invalid strategy configuration: {0}")]
    InvalidConfig(String),
    /// The question is one that the strategy does not answer. Holds what and why.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

impl Node {
    /// A node of weight 1 in no zone.
    #[must_use]
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), weight: 1, zone: String::new() }
    }
}

/// Refuses a question that the contract does not allow, so that what follows can rely on it: enough
/// nodes, distinct ids, weights from 1 to [`WEIGHT_MAX`], a power of two of partitions up to
/// [`PARTITIONS_MAX`], 1 to [`REPLICAS_MAX`] owners each.
///
/// Gives the nodes' indexes in the order of their ids: a strategy that goes by it does not depend on
/// the order in which it got them.
///
/// # Errors
/// [`Error::TooFewNodes`] or [`Error::Unsupported`].
pub fn check(nodes: &[Node], partitions: u32, replicas: u32) -> Result<Vec<u32>, Error> {
    let unsupported = |why| Err(Error::Unsupported(why));
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
        return unsupported(format!(
            "node {:?} of weight {}, expected 1 to {WEIGHT_MAX}",
            node.id, node.weight
        ));
    }
    let id = |index: u32| nodes[index as usize].id.as_str();
    let mut by_id: Vec<u32> = (0..).take(nodes.len()).collect();
    by_id.sort_unstable_by_key(|&index| id(index));
    match by_id.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
        Some(pair) => unsupported(format!("two nodes of the same id {:?}", id(pair[0]))),
        None => Ok(by_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Vec<Node> {
        (0..count).map(|n| Node::named(format!("node-{n}"))).collect()
    }

    fn is_unsupported(nodes: &[Node], partitions: u32, replicas: u32, word: &str) {
        match check(nodes, partitions, replicas) {
            Err(Error::Unsupported(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("expected a refusal that names {word:?}, got {other:?}"),
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let mut many = nodes(REPLICAS_MAX as usize);
        many[0].weight = WEIGHT_MAX;
        assert!(check(&many, PARTITIONS_MAX, REPLICAS_MAX).is_ok());
        assert_eq!(check(&nodes(1), 1, 1), Ok(vec![0]));
        let unsorted = ["c", "a", "b"].map(Node::named);
        assert_eq!(check(&unsorted, 1, 1), Ok(vec![1, 2, 0]));
    }

    #[test]
    fn what_exceeds_a_limit_is_refused_by_name() {
        for partitions in [0, 3, PARTITIONS_MAX * 2] {
            is_unsupported(&nodes(2), partitions, 1, "partitions");
        }
        for replicas in [0, REPLICAS_MAX + 1] {
            is_unsupported(&nodes(100), 16, replicas, "replicas");
        }
        for weight in [0, WEIGHT_MAX + 1] {
            let mut two = nodes(2);
            two[1].weight = weight;
            is_unsupported(&two, 16, 1, "weight");
        }
    }

    #[test]
    fn more_replicas_than_nodes_need_more_nodes() {
        assert_eq!(check(&nodes(2), 16, 3), Err(Error::TooFewNodes(3)));
        assert_eq!(check(&[], 16, 1), Err(Error::TooFewNodes(1)));
    }

    #[test]
    fn two_nodes_of_one_id_are_refused() {
        is_unsupported(&["a", "b", "a"].map(Node::named), 16, 1, "\"a\"");
    }
}
