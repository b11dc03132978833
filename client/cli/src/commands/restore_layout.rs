//! `kvclient restore-layout`: publishes a past layout again.

use kv_rebalance::Rebalancer;
use serde_json::json;

use super::Session;
use crate::failure::Failure;
use crate::{interrupt, output};

pub(super) async fn run(session: &Session, epoch: u64) -> Result<(), Failure> {
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
