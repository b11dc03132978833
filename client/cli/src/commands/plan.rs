//! `kvclient plan`: what a change would move.

use kv_rebalance::{Change, Rebalancer};

use super::{Session, add_node, rebalancing};
use crate::cli::PlannedChange;
use crate::failure::Failure;

pub(super) async fn run(session: &Session, change: PlannedChange) -> Result<(), Failure> {
    let rebalancer = Rebalancer::connect(&session.config).await?;
    let change = match change {
        PlannedChange::AddNode(nodes) => {
            Change::Add { nodes: add_node::choose(&rebalancer, &nodes).await? }
        }
        PlannedChange::RemoveNode(nodes) => Change::Remove { ids: nodes.ids, dead: nodes.dead },
        PlannedChange::SetNode(set) => {
            Change::Set { id: set.id, weight: set.weight, zone: set.zone }
        }
        PlannedChange::Migrate(strategy) => {
            let config = strategy.strategy_config;
            let accepted = strategy.accepting.accepted();
            Change::Migrate { strategy: strategy.to.to_string(), config, accepted }
        }
    };
    let prepared = rebalancer.plan(change).await?;
    rebalancing::print(session, &prepared.plan)
}
