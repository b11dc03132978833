//! Guards of nodes that have installed layouts one after another.

use kv_core::guard::{Guard, Installed};

use super::{Cluster, uuid};

/// Nodes 0 and 1 have the even and the odd partitions.
pub(crate) fn at_rest(epoch: u64) -> Cluster {
    Cluster::new(epoch, 2, |partition| partition % 2)
}

/// Everything goes to the other one of nodes 0 and 1.
pub(crate) fn swap(cluster: &Cluster) -> Cluster {
    cluster.begin(2, |partition| (partition + 1) % 2, &[])
}

pub(crate) fn guard(node: u32, installed: Installed) -> Guard {
    Guard::new(uuid(node), Some(installed))
}

/// A node's guard after it installed these layouts one after another.
pub(crate) fn guard_after(node: u32, layouts: &[&Cluster]) -> Guard {
    guard(node, install_all(node, layouts))
}

pub(crate) fn install_all(node: u32, layouts: &[&Cluster]) -> Installed {
    let first = layouts[0].install(node, None);
    layouts[1..].iter().fold(first, |before, next| next.install(node, Some(&before)))
}
