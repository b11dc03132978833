//! `kvclient set-node`: gives a member another weight or zone.

use kv_rebalance::{Change, Rebalancer};

use super::{Session, rebalancing};
use crate::cli::SetNode;
use crate::failure::Failure;

pub(super) async fn run(session: &Session, set: SetNode) -> Result<(), Failure> {
    let SetNode { id, settings, carrying } = set;
    let rebalancer = Rebalancer::connect(&session.config).await?;
    let applied = match &carrying.apply {
        Some(path) => Some(rebalancing::read_plan(&rebalancer, path).await?),
        None => None,
    };
    let change = match (applied.as_ref().map(|plan| &plan.change), id) {
        (Some(change @ Change::Set { .. }), _) => change.clone(),
        (Some(other), _) => {
            return Err(Failure::Usage(format!("the plan is to {other}, not to set a node")));
        }
        (None, Some(id)) => Change::Set { id, weight: settings.weight, zone: settings.zone },
        (None, None) => return Err(Failure::Usage("the node's id is missing".into())),
    };
    if carrying.dry_run {
        let prepared = rebalancer.plan(change).await?;
        return rebalancing::print(session, &prepared.plan);
    }
    rebalancing::carry_out(session, &rebalancer, change, &carrying, applied.as_ref()).await
}
