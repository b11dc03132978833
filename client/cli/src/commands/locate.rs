//! `kvclient locate`: where a key belongs.

use clap::Args;
use kvclient::Location;
use serde_json::json;

use crate::failure::Failure;
use crate::session::Session;
use crate::{output, visible};

/// Say where a key belongs: partition, owner, epoch, strategy
#[derive(Debug, Args)]
pub(crate) struct Locate {
    /// The key: 1 to 1024 bytes of text
    key: String,
}

impl Locate {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { key } = self;
        let client = session.connect().await?;
        let location = client.locate(&key)?;
        if session.is_json() {
            return output::json(&json!({
                "key": key,
                "partition": location.partition,
                "node": location.node,
                "address": location.address.as_ref().ok().map(ToString::to_string),
                "epoch": location.epoch,
                "strategy": location.strategy,
                "strategy_sha256": location.strategy_digest,
            }));
        }
        output::data(text(&location).as_bytes())?;
        if let Err(problem) = &location.address {
            output::note(problem);
        }
        Ok(())
    }
}

fn text(location: &Location) -> String {
    let address = match &location.address {
        Ok(endpoint) => endpoint.to_string(),
        Err(_) => "address unknown".into(),
    };
    format!(
        "partition  {}\nnode       {} ({address})\nepoch      {}\nstrategy   {} ({})\n",
        location.partition,
        visible::line(&location.node),
        location.epoch,
        visible::line(&location.strategy),
        location.strategy_digest.short()
    )
}
