//! `kvclient migrate`: adopts another strategy.

use kv_rebalance::{Change, Rebalancer};

use super::{Session, rebalancing};
use crate::cli::Migrate;
use crate::failure::Failure;

pub(super) async fn run(session: &Session, migrate: Migrate) -> Result<(), Failure> {
    let Migrate { strategy, carrying } = migrate;
    let rebalancer = Rebalancer::connect(&session.config).await?;
    let applied = match &carrying.apply {
        Some(path) => Some(rebalancing::read_plan(&rebalancer, path).await?),
        None => None,
    };
    let change = match (applied.as_ref().map(|plan| &plan.change), strategy.to) {
        (Some(change @ Change::Migrate { .. }), _) => change.clone(),
        (Some(other), _) => {
            return Err(Failure::Usage(format!("the plan is to {other}, not to migrate")));
        }
        (None, Some(to)) => {
            let accepted = strategy.accepting.accepted();
            let config = strategy.strategy_config;
            Change::Migrate { strategy: to.to_string(), config, accepted }
        }
        (None, None) => return Err(Failure::Usage("--to is missing".into())),
    };
    if carrying.dry_run {
        let prepared = rebalancer.plan(change).await?;
        return rebalancing::print(session, &prepared.plan);
    }
    rebalancing::carry_out(session, &rebalancer, change, &carrying, applied.as_ref()).await
}
