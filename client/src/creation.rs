//! What a client tells of a layout that it has created.

use kv_core::digest::Digest;
#[cfg(feature = "strategies")]
use kv_core::layout::Layout;
use kv_core::name::Name;
use uuid::Uuid;

/// What was created, for programs that tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Creation {
    /// The cluster's name.
    pub name: Name,
    /// The cluster's identity, drawn just now.
    pub cluster: Uuid,
    /// The layout's epoch.
    pub epoch: u64,
    /// The ids of the nodes that are part of it.
    pub nodes: Vec<String>,
    /// What the adopted strategy calls itself.
    pub strategy: String,
    /// The digest of the adopted strategy.
    pub strategy_digest: Digest,
    /// How many partitions keys are hashed to.
    pub partitions: u32,
}

#[cfg(feature = "strategies")]
impl Creation {
    pub(crate) fn of(name: Name, layout: &Layout) -> Self {
        Self {
            name,
            cluster: layout.cluster,
            epoch: layout.epoch,
            nodes: layout.placement.members.iter().map(|member| member.id.to_string()).collect(),
            strategy: layout.placement.strategy.name.clone(),
            strategy_digest: layout.placement.strategy.sha256,
            partitions: layout.partitions.get(),
        }
    }
}
