//! `kvclient rebalance`: pauses, resumes or undoes a rebalance that is under way.

use kvclient::rebalance::Rebalancer;
use serde_json::json;

use super::Session;
use super::rebalancing;
use crate::cli::RebalanceAction;
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(session: &Session, action: RebalanceAction) -> Result<(), Failure> {
    let rebalancer = Rebalancer::connect(&session.config).await?;
    let throttle = match action {
        RebalanceAction::Pause => {
            let layout = rebalancer.pause(true).await?;
            if session.is_json() {
                return output::json(&json!({ "state": "paused", "epoch": layout.epoch }));
            }
            output::note(
                "paused: what is being moved now is finished, and nothing further is begun. Go on with \
                 `kvclient rebalance resume`",
            );
            return Ok(());
        }
        RebalanceAction::Resume { throttle } => {
            let layout = rebalancer.layout().await?;
            if layout.rebalance.as_ref().is_some_and(|it| it.paused) {
                rebalancer.pause(false).await?;
            } else if layout.rebalance.is_none() {
                output::note("no rebalance is under way: there is nothing to resume");
                return Ok(());
            }
            throttle
        }
        RebalanceAction::Abort { throttle } => {
            rebalancer.turn_back().await?;
            throttle
        }
    };
    rebalancing::run(session, &rebalancer, None, throttle).await?;
    Ok(())
}
