//! What a client must be told.

#[cfg(feature = "strategies")]
use std::collections::BTreeSet;
use std::time::Duration;

use kv_consul::ConsulConfig;
#[cfg(feature = "strategies")]
use kv_core::limits::PARTITIONS_DEFAULT;
use kv_core::name::Name;
#[cfg(feature = "strategies")]
use kv_core::partition::PartitionCount;
#[cfg(feature = "strategies")]
use kv_placement::StrategySource;
#[cfg(feature = "strategies")]
use kv_placement::admission::Property;
use kv_registry::CLUSTER_DEFAULT;

use crate::error::ClientError;
use crate::limits::TIMEOUT_DEFAULT;

/// Which cluster to talk to, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Where the cluster's Consul is.
    pub consul: ConsulConfig,
    /// The cluster's name.
    pub cluster: Name,
    /// The placement strategy. `None` is the one that the cluster has adopted, and the built-in default
    /// for a cluster that has adopted no strategy yet.
    #[cfg(feature = "strategies")]
    pub strategy: Option<StrategySource>,
    /// How long an operation may take, retries included.
    pub timeout: Duration,
}

impl ClientConfig {
    /// The cluster named `default`, its own strategy, and [`TIMEOUT_DEFAULT`].
    #[must_use]
    pub fn new(consul: ConsulConfig) -> Self {
        let cluster = CLUSTER_DEFAULT.parse().expect("the default is a valid name");
        Self {
            consul,
            cluster,
            #[cfg(feature = "strategies")]
            strategy: None,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Bounds the time that it takes to find out about the cluster.
    ///
    /// # Errors
    /// Those of `work`, and [`ClientError::Unavailable`] where it takes longer than [`ClientConfig::timeout`].
    pub async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let consul = self.consul.address();
            let problem = format!("Consul at {consul}, or the nodes that it names, are too slow");
            Err(ClientError::Unavailable { timeout, problem })
        })
    }
}

/// The decisions at the creation of a cluster's layout, besides the strategy.
#[cfg(feature = "strategies")]
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// How many partitions keys are hashed to. It never changes.
    pub partitions: PartitionCount,
    /// The configuration text that the strategy is called with.
    pub strategy_config: String,
    /// The properties that the strategy may lack.
    pub accepted: BTreeSet<Property>,
}

#[cfg(feature = "strategies")]
impl Default for NewCluster {
    fn default() -> Self {
        let partitions = PartitionCount::new(PARTITIONS_DEFAULT);
        let partitions = partitions.expect("the default is a valid number of partitions");
        Self { partitions, strategy_config: String::new(), accepted: BTreeSet::new() }
    }
}
