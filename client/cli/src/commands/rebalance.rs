//! `kvclient rebalance`: pauses, resumes or undoes a rebalance that is under way.

use kv_rebalance::Rebalancer;
use serde_json::json;

use super::{Session, rebalancing};
use crate::cli::RebalanceAction;
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(session: &Session, action: RebalanceAction) -> Result<(), Failure> {
    let rebalancer = Rebalancer::connect(&session.config).await?;
    match action {
        RebalanceAction::Pause => pause(session, &rebalancer).await,
        RebalanceAction::Resume { throttle } => resume(session, &rebalancer, throttle).await,
        RebalanceAction::Abort { throttle } => {
            let task = rebalancer.turn_back().await?;
            let end = rebalancing::run(session, &rebalancer, task, throttle).await?;
            rebalancing::reached(&end, "to undo the rebalance")
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
