//! `kvclient restore-layout`: publishes a past layout again.

use clap::Args;
use kv_rebalance::Rebalancer;
use serde_json::json;

use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output};

/// Publish a past layout again, where another one was put in its place
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is moved. The nodes follow where they still have what they had in that epoch; one that has not
refuses, says so in its log, and goes on as it is. `kvclient status` names the epochs to choose from where
nodes keep records that a layout has taken from them.

Example:
  kvclient restore-layout 7")]
pub(crate) struct RestoreLayout {
    /// The epoch of the layout, one of those that are kept
    epoch: u64,
}

impl RestoreLayout {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { epoch } = self;
        let rebalancer = Rebalancer::connect(&session.config).await?;
        let open = "whether the layout was published is unknown: `kvclient status` shows it".into();
        let layout = interrupt::changing(open, rebalancer.restore_layout(epoch)).await?;
        if session.is_json() {
            return output::json(&json!({ "restored": epoch, "epoch": layout.epoch }));
        }
        output::note(&format!(
            "the layout of epoch {epoch} is published again, as epoch {}. The nodes judge whether they can \
             follow: `kvclient status` shows the epoch of each, and what is still kept",
            layout.epoch
        ));
        Ok(())
    }
}
