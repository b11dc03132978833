//! `kvclient init`: creates a new cluster's layout.

use clap::Args;
use kv_core::limits::PARTITIONS_DEFAULT;
use kv_core::partition::PartitionCount;
use kvclient::{Client, NewCluster};
use serde_json::json;

use super::accepting::Accepting;
use crate::failure::Failure;
use crate::option_value::partitions;
use crate::session::{Session, describe};
use crate::{interrupt, output};

/// Create a new cluster's layout explicitly, of all nodes that are registered
///
/// The first client of a new cluster does this by itself; `init` is for those who want other
/// numbers. Neither can be changed later.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// How many partitions keys are hashed to, a power of two
    #[arg(long, value_name = "N", value_parser = partitions, default_value_t = PARTITIONS_DEFAULT)]
    partitions: u32,
    /// The strategy's own settings, as it understands them
    #[arg(long, value_name = "TEXT", default_value = "")]
    strategy_config: String,
    #[command(flatten)]
    accepting: Accepting,
}

impl Init {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let partitions = PartitionCount::new(self.partitions)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let accepted = self.accepting.accepted();
        let new = NewCluster { partitions, strategy_config: self.strategy_config, accepted };
        let open = "whether the cluster was created is unknown: `kvclient status` shows it".into();
        let client = interrupt::changing(open, Client::create(session.config.clone(), new)).await?;
        let Some(creation) = client.creation() else { return Ok(()) };
        if session.is_json() {
            return output::json(&json!({
                "name": creation.name,
                "cluster": creation.cluster,
                "epoch": creation.epoch,
                "partitions": creation.partitions,
                "nodes": creation.nodes,
                "strategy": creation.strategy,
                "strategy_sha256": creation.strategy_digest,
            }));
        }
        output::note(&describe(creation));
        Ok(())
    }
}
