//! `kvclient rebalance`: pauses, resumes or undoes a rebalance that is under way.

use clap::{Args, Subcommand};
use kv_rebalance::Rebalancer;
use serde_json::json;

use super::rebalancing;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// Go on with a rebalance that is under way, pause it, or undo it
#[derive(Debug, Args)]
pub(crate) struct Rebalance {
    /// What to do with it.
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Begin no further part of it; everything is served meanwhile
    Pause,
    /// Go on with it, also where the command that ran it is gone
    Resume {
        /// Move at most this many megabytes per second
        #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        throttle: Option<u64>,
    },
    /// Move back what it has moved
    Abort {
        /// Move at most this many megabytes per second
        #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        throttle: Option<u64>,
    },
}

impl Rebalance {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let rebalancer = Rebalancer::connect(&session.config).await?;
        match self.action {
            Action::Pause => pause(session, &rebalancer).await,
            Action::Resume { throttle } => resume(session, &rebalancer, throttle).await,
            Action::Abort { throttle } => {
                let task = rebalancer.turn_back().await?;
                let end = rebalancing::run(session, &rebalancer, task, throttle).await?;
                rebalancing::reached(&end, "to undo the rebalance")
            }
        }
    }
}

async fn pause(session: &Session, rebalancer: &Rebalancer) -> Result<(), Failure> {
    let layout = rebalancer.pause().await?;
    if session.is_json() {
        return output::json(&json!({ "state": "paused", "epoch": layout.epoch }));
    }
    output::note(
        "paused: what is being moved now is finished, and nothing further is begun. Go on with \
         `kvclient rebalance resume`",
    );
    Ok(())
}

async fn resume(
    session: &Session,
    rebalancer: &Rebalancer,
    throttle: Option<u64>,
) -> Result<(), Failure> {
    let told = rebalancer.finish_rest().await?;
    for id in &told {
        output::note(&format!(
            "did what was left of an earlier change: node {id} is no member any more"
        ));
    }
    let layout = rebalancer.layout().await?;
    let is_paused = layout.rebalance.as_ref().is_some_and(|it| it.paused);
    let task = match is_paused {
        true => Some(rebalancer.unpause().await?),
        false => rebalancer.under_way().await?,
    };
    let Some(task) = task else {
        if told.is_empty() {
            output::note("no rebalance is under way: there is nothing to resume");
        }
        return Ok(());
    };
    let end = rebalancing::run(session, rebalancer, task, throttle).await?;
    rebalancing::reached(&end, "the rebalance")
}
