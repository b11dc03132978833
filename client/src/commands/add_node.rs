//! `kvclient add-node`: starts nodes and moves to them what becomes theirs.

use kvclient::rebalance::{Addition, Change, RebalanceError, Rebalancer, Wanted};

use super::Session;
use super::rebalancing;
use crate::cli::{AddNode, NewNodes};
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(session: &Session, add: AddNode) -> Result<(), Failure> {
    let AddNode { nodes, carrying } = add;
    let rebalancer = Rebalancer::connect(&session.config).await?;
    let applied = match &carrying.apply {
        Some(path) => Some(rebalancing::read_plan(&rebalancer, path).await?),
        None => None,
    };
    let mut chosen = match applied.as_ref().map(|plan| &plan.change) {
        Some(Change::Add { nodes }) => nodes.clone(),
        Some(other) => {
            return Err(Failure::Usage(format!("the plan is to {other}, not to add nodes")));
        }
        None => choose(&rebalancer, &nodes).await?,
    };
    if carrying.dry_run {
        let prepared = rebalancer.plan(Change::Add { nodes: chosen }).await?;
        return rebalancing::print(session, &prepared.plan);
    }
    // What makes no sense is found before anything is started.
    rebalancer.plan(Change::Add { nodes: chosen.clone() }).await?;
    rebalancer.launch(&mut chosen, nodes.host.as_deref(), &output::note).await?;
    let change = Change::Add { nodes: chosen.clone() };
    let end = rebalancing::carry_out(session, &rebalancer, change, &carrying, applied.as_ref());
    let end = end.await;
    if let Err(Failure::Rebalance(RebalanceError::UnderWay { .. })) = &end {
        output::note(&format!("they run, and are no members yet: {}", ids(&chosen)));
    }
    end.map(|_| ())
}

/// Chooses the nodes that are asked for.
pub(super) async fn choose(
    rebalancer: &Rebalancer,
    nodes: &NewNodes,
) -> Result<Vec<Addition>, Failure> {
    let mut wanted = Wanted::default();
    wanted.count = nodes.count;
    wanted.id.clone_from(&nodes.id);
    wanted.host.clone_from(&nodes.host);
    wanted.weight = nodes.weight;
    wanted.zone.clone_from(&nodes.zone);
    Ok(rebalancer.choose(&wanted).await?)
}

fn ids(nodes: &[Addition]) -> String {
    nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>().join(", ")
}
