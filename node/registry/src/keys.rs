//! Where things lie in Consul.

use kv_core::digest::Digest;
use kv_core::layout::Blob;
use kv_core::name::Name;

/// The service under which every node of every cluster registers.
pub(crate) const SERVICE: &str = "kv";

/// The name of a cluster whose operator gives it no name.
pub const CLUSTER_DEFAULT: &str = "default";

/// The members of a registered service's metadata. Nodes write them and clients read them.
pub(crate) mod meta {
    /// The name of the cluster that the node joins.
    pub(crate) const CLUSTER: &str = "cluster";
    /// The identity of the node's data directory.
    pub(crate) const UUID: &str = "uuid";
    /// The version of the protocol that the node speaks.
    pub(crate) const PROTOCOL: &str = "protocol";
    /// The node's weight.
    pub(crate) const WEIGHT: &str = "weight";
    /// The node's zone.
    pub(crate) const ZONE: &str = "zone";
    /// The host that the node is on, as desired states name it: the address by which others reach it.
    pub(crate) const HOST: &str = "host";
    /// Which run of the node has registered: an [`Incarnation`](kv_core::incarnation::Incarnation).
    pub(crate) const INCARNATION: &str = "incarnation";
}

/// The key of `cluster`'s layout document.
pub(crate) fn layout(cluster: &Name) -> String {
    format!("kv/{cluster}/layout")
}

/// The key of the table with this digest.
pub(crate) fn table(cluster: &Name, digest: &Digest) -> String {
    format!("kv/{cluster}/tables/{digest}")
}

/// The key of the strategy with this digest.
pub(crate) fn strategy(cluster: &Name, digest: &Digest) -> String {
    format!("kv/{cluster}/strategies/{digest}")
}

/// The key of what a layout's document names.
pub(crate) fn blob(cluster: &Name, blob: &Blob) -> String {
    match blob {
        Blob::Members(digest) => format!("kv/{cluster}/members/{digest}"),
        Blob::Standing(digest) => format!("kv/{cluster}/standing/{digest}"),
    }
}

/// The keys of all standings of `cluster` start with this, and end with their digests.
pub(crate) fn standings(cluster: &Name) -> String {
    format!("kv/{cluster}/standing/")
}

/// The keys of all lists of members of `cluster` start with this, and end with their digests.
pub(crate) fn member_lists(cluster: &Name) -> String {
    format!("kv/{cluster}/members/")
}

/// The keys of all tables of `cluster` start with this, and end with their digests.
pub(crate) fn tables(cluster: &Name) -> String {
    format!("kv/{cluster}/tables/")
}

/// The keys of all strategies of `cluster` start with this, and end with their digests.
pub(crate) fn strategies(cluster: &Name) -> String {
    format!("kv/{cluster}/strategies/")
}

/// The keys of all past layouts of `cluster` start with this.
pub(crate) fn past_layouts(cluster: &Name) -> String {
    format!("kv/{cluster}/history/")
}

/// The key of the layout that was at rest in this epoch; keys are in the order of epochs.
pub(crate) fn past_layout(cluster: &Name, epoch: u64) -> String {
    format!("kv/{cluster}/history/{epoch:020}")
}

/// The keys of all claims of `cluster` start with this, and end with the id.
pub(crate) fn claims(cluster: &Name) -> String {
    format!("kv/{cluster}/nodes/")
}

/// The key of the claim on a node's id: a [`Claim`](crate::claim::Claim).
pub(crate) fn claim(cluster: &Name, node: &Name) -> String {
    format!("kv/{cluster}/nodes/{node}")
}

/// The keys of all desired states of `cluster` start with this.
pub(crate) fn desired_states(cluster: &Name) -> String {
    format!("kv/{cluster}/desired/")
}

/// The key of a node's desired state, which the node reads, and so do the processes that may start it.
pub(crate) fn desired_state(cluster: &Name, node: &Name) -> String {
    format!("kv/{cluster}/desired/{node}")
}

/// The key of the mover's lock, whose value says how far the mover is. It saves work that would be
/// done twice; nothing is safe or unsafe because of it.
pub(crate) fn mover(cluster: &Name) -> String {
    format!("kv/{cluster}/mover")
}

/// The key of the list of nodes that have left the layout and are yet to be told, or forgotten. The mover
/// that brings a rebalance to its end writes it first, so that any other can do the rest.
pub(crate) fn leaving(cluster: &Name) -> String {
    format!("kv/{cluster}/leaving")
}
