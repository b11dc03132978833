//! What the options of every command make of it: which cluster it is about, and how results are written.

use kvclient::{Client, ClientConfig, Creation};

use crate::failure::Failure;
use crate::output::{self, Format};

/// What every command about a cluster is told.
pub(crate) struct Session {
    /// Where the cluster is, and how it is reached.
    pub(crate) config: ClientConfig,
    /// How results are written.
    pub(crate) format: Format,
}

impl Session {
    /// Connects to the cluster, and says so where this has created it.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let client = Client::connect(self.config.clone()).await?;
        if let Some(creation) = client.creation() {
            output::note(&describe(creation));
        }
        Ok(client)
    }

    /// Whether results are written for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// The creation of a layout, in words.
pub(crate) fn describe(creation: &Creation) -> String {
    format!(
        "created cluster {} ({}): epoch {}, {} partitions on {} nodes ({}), placed by {} ({})",
        creation.name,
        creation.cluster,
        creation.epoch,
        creation.partitions,
        creation.nodes.len(),
        creation.nodes.join(", "),
        creation.strategy,
        creation.strategy_digest.short()
    )
}
