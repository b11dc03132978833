//! A cluster as it is, for programs that look for a better strategy for it.

use kv_core::layout::Member;
use kv_core::partition::PartitionCount;
use kv_placement::{Strategy, StrategyNode};
use kvclient::ClientConfig;
use kvclient::admin::Discovery;
use uuid::Uuid;

use crate::error::RebalanceError;

/// What a cluster's layout says, at rest. Looking changes nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LiveCluster {
    /// The cluster's name.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
    /// The layout's epoch.
    pub epoch: u64,
    /// The members, by id.
    pub nodes: Vec<StrategyNode>,
    /// How many partitions there are.
    pub partitions: PartitionCount,
    /// How many owners each partition has.
    pub replicas: u32,
    /// The table: the owners of each partition in turn, as indexes into the nodes.
    pub owners: Vec<u32>,
    /// The strategy that the layout pins.
    pub strategy: Strategy,
    /// The cluster's settings of it.
    pub config: String,
}

impl LiveCluster {
    /// Looks at the cluster that `config` names.
    ///
    /// # Errors
    /// Consul cannot be asked, there is no layout, a rebalance is under way, or the layout's strategy
    /// is missing or does not give the layout's table.
    pub async fn look(config: &ClientConfig) -> Result<Self, RebalanceError> {
        let discovery = config.within(Discovery::new(config)).await?;
        let deadline = std::time::Instant::now() + config.timeout;
        let found = config.within(discovery.layout(deadline)).await?.value;
        let layout = found.ok_or_else(|| {
            RebalanceError::Refused(format!(
                "the cluster {} has no layout yet: the first client that stores or reads creates it",
                discovery.registry.cluster()
            ))
        })?;
        if layout.rebalance.is_some() {
            return Err(RebalanceError::UnderWay { epoch: layout.epoch });
        }
        let tables = config.within(discovery.tables(&layout)).await?;
        let pin = &layout.placement.strategy;
        let strategy = config.within(discovery.pinned_strategy(pin)).await?;
        // A layout at rest has one placement, and so one table.
        let bytes = tables.iter().flat_map(kv_core::layout::Table::to_bytes);
        let bytes: Vec<u8> = bytes.collect();
        let entry = |entry: &[u8]| u32::from(u16::from_le_bytes([entry[0], entry[1]]));
        let node = |member: &Member| StrategyNode {
            id: member.id.to_string(),
            weight: member.weight,
            zone: member.zone.clone(),
        };
        Ok(Self {
            name: discovery.registry.cluster().to_string(),
            uuid: layout.cluster,
            epoch: layout.epoch,
            nodes: layout.placement.members.iter().map(node).collect(),
            partitions: layout.partitions,
            replicas: layout.replicas,
            owners: bytes.chunks_exact(2).map(entry).collect(),
            strategy,
            config: pin.config.clone(),
        })
    }
}
