//! `kvclient upgrade-layout`: takes a cluster of an older version over.

use clap::Args;
use kv_rebalance::Rebalancer;
use serde_json::json;

use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output};

/// Take over a cluster whose layout an older version wrote
#[derive(Debug, Args)]
#[command(after_help = "\
Data is served without this. What changes the layout (add-node, remove-node, migrate, ...) needs it first.
Start all nodes with this version before: older programs do not read the layout any more then. Nothing is
moved, and nothing is lost.

Example:
  kvclient upgrade-layout")]
pub(crate) struct UpgradeLayout {}

impl UpgradeLayout {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let rebalancer = Rebalancer::connect(&session.config).await?;
        let open = "whether the layout was published is unknown: `kvclient status` shows it".into();
        let layout = interrupt::changing(open, rebalancer.upgrade_layout()).await?;
        if session.is_json() {
            return output::json(&json!({ "format": layout.format, "epoch": layout.epoch }));
        }
        output::note(&format!(
            "the layout has format {} now, in epoch {}: older programs do not read it any more",
            layout.format, layout.epoch
        ));
        Ok(())
    }
}
