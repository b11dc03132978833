//! `kvclient init`: creates a new cluster's layout.

use kv_core::partition::PartitionCount;
use kvclient::{Client, NewCluster};
use serde_json::json;

use super::{Session, describe};
use crate::cli::Init;
use crate::failure::Failure;
use crate::{interrupt, output};

pub(super) async fn run(session: &Session, init: Init) -> Result<(), Failure> {
    let partitions =
        PartitionCount::new(init.partitions).map_err(|error| Failure::Usage(error.to_string()))?;
    let accepted = init.accepting.accepted();
    let new = NewCluster { partitions, strategy_config: init.strategy_config, accepted };
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
