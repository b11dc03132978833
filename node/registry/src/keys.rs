//! Where things lie in Consul.

use kv_core::digest::Digest;
use kv_core::name::Name;

/// The service under which every node of every cluster registers.
pub const SERVICE: &str = "kv";

/// The name of a cluster whose operator gives none.
pub const CLUSTER_DEFAULT: &str = "default";

/// The members of a registered service's metadata. Nodes write them and clients read them.
pub mod meta {
    /// The name of the cluster that the node joins.
    pub const CLUSTER: &str = "cluster";
    /// The identity of the node's data directory.
    pub const UUID: &str = "uuid";
    /// The version of the protocol that the node speaks.
    pub const PROTOCOL: &str = "protocol";
    /// The node's weight.
    pub const WEIGHT: &str = "weight";
    /// The node's zone.
    pub const ZONE: &str = "zone";
    /// The host that the node is on, as signals name it: the address by which others reach it.
    pub const HOST: &str = "host";
    /// Which run of the node has registered: an [`Incarnation`](kv_core::incarnation::Incarnation).
    pub const INCARNATION: &str = "incarnation";
}

/// The service id under which a node registers: its own id, with the cluster's name before it where
/// that is not the default, so that clusters which share a Consul agent stay apart.
#[must_use]
pub fn service_id(cluster: &Name, node: &Name) -> String {
    if cluster.as_str() == CLUSTER_DEFAULT { node.to_string() } else { format!("{cluster}.{node}") }
}

/// The node's id in the service id that a node of `cluster` has registered under.
#[must_use]
pub fn id_of_service<'a>(cluster: &Name, service_id: &'a str) -> &'a str {
    let prefix = service_id.strip_prefix(cluster.as_str());
    prefix.and_then(|rest| rest.strip_prefix('.')).unwrap_or(service_id)
}

/// The version of the protocol between clients and nodes, as registered in [`meta::PROTOCOL`].
pub const PROTOCOL_VERSION: &str = "1";

/// The key of `cluster`'s layout document.
#[must_use]
pub fn layout(cluster: &Name) -> String {
    format!("kv/{cluster}/layout")
}

/// The key of the table with this digest.
#[must_use]
pub fn table(cluster: &Name, digest: &Digest) -> String {
    format!("kv/{cluster}/tables/{digest}")
}

/// The key of the strategy with this digest.
#[must_use]
pub fn strategy(cluster: &Name, digest: &Digest) -> String {
    format!("kv/{cluster}/strategies/{digest}")
}

/// The keys of all tables of `cluster` start with this, and end with their digests.
#[must_use]
pub fn tables(cluster: &Name) -> String {
    format!("kv/{cluster}/tables/")
}

/// The keys of all strategies of `cluster` start with this, and end with their digests.
#[must_use]
pub fn strategies(cluster: &Name) -> String {
    format!("kv/{cluster}/strategies/")
}

/// The keys of all past layouts of `cluster` start with this.
#[must_use]
pub fn past_layouts(cluster: &Name) -> String {
    format!("kv/{cluster}/history/")
}

/// The key of the layout that was at rest in this epoch; keys are in the order of epochs.
#[must_use]
pub fn past_layout(cluster: &Name, epoch: u64) -> String {
    format!("kv/{cluster}/history/{epoch:020}")
}

/// The keys of all claims of `cluster` start with this, and end with the id.
#[must_use]
pub fn claims(cluster: &Name) -> String {
    format!("kv/{cluster}/nodes/")
}

/// The key of the claim on a node's id: a [`Claim`](crate::claim::Claim).
#[must_use]
pub fn claim(cluster: &Name, node: &Name) -> String {
    format!("kv/{cluster}/nodes/{node}")
}

/// The keys of all signals of `cluster` start with this.
#[must_use]
pub fn signals(cluster: &Name) -> String {
    format!("kv/{cluster}/desired/")
}

/// The key of the signal to a node, and to those who may start it.
#[must_use]
pub fn signal(cluster: &Name, node: &Name) -> String {
    format!("kv/{cluster}/desired/{node}")
}

/// The key of the mover's lock, whose value says how far the mover is. It saves work that would be
/// done twice; nothing is safe or unsafe because of it.
#[must_use]
pub fn mover(cluster: &Name) -> String {
    format!("kv/{cluster}/mover")
}

/// The key of the list of nodes that have left the layout and are yet to be told, or forgotten. The mover
/// that brings a rebalance to its end writes it first, so that any other can do the rest.
#[must_use]
pub fn leaving(cluster: &Name) -> String {
    format!("kv/{cluster}/leaving")
}
