//! `kvclient add-node`: starts nodes and moves to them what becomes theirs.

use kv_rebalance::limits::TAKE_BACK_WAIT;
use kv_rebalance::{Addition, Change, Launched, Plan, Rebalancer, Task, Wanted};

use super::{Session, rebalancing};
use crate::cli::{AddNode, NewNodes};
use crate::failure::Failure;
use crate::{interrupt, output};

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
    let mut wanted = wanted(&nodes);
    if applied.is_some() {
        // Its ids are those that the plan was made for.
        wanted.id = chosen.first().map(|node| node.id.clone());
    }
    let launched = Launched::default();
    // What has been started is stopped again first.
    interrupt::allow(2 * TAKE_BACK_WAIT);
    let beginning = begin(&rebalancer, &mut chosen, &wanted, applied.as_ref(), &launched);
    let begun = tokio::select! {
        begun = beginning => begun,
        () = interrupt::asked() => Err(Failure::Interrupted),
    };
    let task = match begun {
        Ok(task) => task,
        Err(failure) => {
            take_back(&rebalancer, &launched).await;
            return Err(failure);
        }
    };
    let end = rebalancing::run(session, &rebalancer, task, carrying.throttle).await?;
    rebalancing::reached(&end, &Change::Add { nodes: chosen }.to_string())
}

/// Has those nodes started that do not run, and begins to move to all of them what becomes theirs.
async fn begin(
    rebalancer: &Rebalancer,
    chosen: &mut [Addition],
    wanted: &Wanted,
    applied: Option<&Plan>,
    launched: &Launched,
) -> Result<Task, Failure> {
    rebalancer.finish_rest().await?;
    // What makes no sense is found before anything is started.
    let prepared = rebalancer.plan(Change::Add { nodes: chosen.to_vec() }).await?;
    rebalancer.check_rights(&prepared).await?;
    rebalancer.launch(chosen, wanted, launched, &output::note).await?;
    rebalancing::begin(rebalancer, Change::Add { nodes: chosen.to_vec() }, applied).await
}

/// Leaves nothing behind that this command has started for nothing, unless it is asked to end meanwhile.
async fn take_back(rebalancer: &Rebalancer, launched: &Launched) {
    let taken = tokio::select! {
        taken = rebalancer.take_back(launched, &output::note) => taken,
        () = interrupt::asked_again() => return,
    };
    if let Err(error) = taken {
        output::note(&format!(
            "what was started could not be taken back ({error}): nodes that run and are no members are \
             taken by the next `kvclient add-node`, or stopped by `kvclient remove-node ID`"
        ));
    }
}

/// Chooses the nodes that are asked for.
pub(super) async fn choose(
    rebalancer: &Rebalancer,
    nodes: &NewNodes,
) -> Result<Vec<Addition>, Failure> {
    Ok(rebalancer.choose(&wanted(nodes)).await?)
}

fn wanted(nodes: &NewNodes) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.count = nodes.count;
    wanted.id.clone_from(&nodes.id);
    wanted.host.clone_from(&nodes.host);
    wanted.weight = nodes.weight;
    wanted.zone.clone_from(&nodes.zone);
    wanted
}
