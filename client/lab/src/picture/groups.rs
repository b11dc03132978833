//! Nodes put together, where there are more than a picture has room for.

use kv_placement::StrategyNode;

/// The most rows or columns of a matrix.
const GROUPS_MAX: usize = 40;
/// The most special nodes that each have a row or column of their own.
const SPECIAL_MAX: usize = 8;

/// One node, or neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The node's id, or the ids of the first and the last.
    pub(super) label: String,
    /// Their indexes.
    pub(super) nodes: Vec<usize>,
    /// Whether they come or go.
    pub(super) is_special: bool,
}

/// The nodes in their order, each by itself where there are few, otherwise as many together as it
/// takes. Those that `is_special` are not put together with others, and stand last.
pub(super) fn grouped(nodes: &[StrategyNode], is_special: impl Fn(&str) -> bool) -> Vec<Group> {
    let (special, usual): (Vec<usize>, Vec<usize>) =
        (0..nodes.len()).partition(|index| is_special(&nodes[*index].id));
    let mut groups = packed(nodes, &usual, GROUPS_MAX - SPECIAL_MAX, false);
    groups.extend(packed(nodes, &special, SPECIAL_MAX, true));
    groups
}

fn packed(nodes: &[StrategyNode], of: &[usize], most: usize, is_special: bool) -> Vec<Group> {
    // Few more than fit are not worth putting together.
    let most = if of.len() <= GROUPS_MAX && !is_special { of.len() } else { most };
    let group = |members: &[usize]| {
        let ids = [members.first(), members.last()].map(|it| it.map_or("", |it| &*nodes[*it].id));
        let label = match ids {
            [first, last] if first == last => first.to_owned(),
            [first, last] => format!("{first}..{}", distinct_end(first, last)),
        };
        Group { label, nodes: members.to_vec(), is_special }
    };
    of.chunks(of.len().div_ceil(most.max(1)).max(1)).map(group).collect()
}

/// The end of `id` without the word that it begins with as `other` does: `9` of `node-9`.
fn distinct_end<'a>(other: &str, id: &'a str) -> &'a str {
    let at = id.rfind('-').map_or(0, |at| at + 1);
    if other.get(..at) == id.get(..at) { &id[at..] } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes;

    #[test]
    fn few_nodes_stand_alone_and_the_special_ones_last() {
        let groups = grouped(&nodes(0..3), |id| id == "node-1");
        let labels: Vec<&str> = groups.iter().map(|group| &*group.label).collect();
        assert_eq!(labels, ["node-0", "node-2", "node-1"]);
        assert!(groups[2].is_special && !groups[0].is_special);
    }

    #[test]
    fn many_nodes_are_put_together_and_none_is_lost() {
        for count in [1, 40, 41, 100, 999, 1000] {
            let groups = grouped(&nodes(0..count), |id| id == "node-7");
            assert!(groups.len() <= GROUPS_MAX + 1, "{}", groups.len());
            let mut members: Vec<usize> = groups.iter().flat_map(|it| it.nodes.clone()).collect();
            members.sort_unstable();
            assert_eq!(members, (0..count).collect::<Vec<_>>());
        }
        let groups = grouped(&nodes(0..1000), |_| false);
        assert_eq!(groups[0].label, "node-0..31");
        assert_eq!(grouped(&nodes(0..100), |_| true).len(), SPECIAL_MAX);
    }

    #[test]
    fn ids_are_shortened_only_where_they_begin_alike() {
        assert_eq!(distinct_end("node-1", "node-12"), "12");
        assert_eq!(distinct_end("eu-1", "us-3"), "us-3");
        assert_eq!(distinct_end("a", "b"), "b");
    }
}
