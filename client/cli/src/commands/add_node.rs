//! `kvclient add-node`: starts nodes and moves to them what becomes theirs.

use clap::Args;
use kv_core::limits::WEIGHT_MAX;
use kv_core::name::{Name, parse_zone};
use kv_rebalance::limits::TAKE_BACK_WAIT;
use kv_rebalance::{Addition, Change, Launched, Plan, Rebalancer, Task, Wanted};

use super::rebalancing::{self, Carrying};
use crate::failure::Failure;
use crate::session::Session;
use crate::{interrupt, output};

/// Add nodes: start them where they do not run, and move to them what becomes theirs
#[derive(Debug, Args)]
#[command(after_help = "\
A desired_state in Consul has the new node started by a node that runs on its host; nodes that were started by
hand and are no members yet are taken first. Reading and writing go on meanwhile.

Examples:
  kvclient add-node                        one more node
  kvclient add-node --count 3              three, moving each key at most once
  kvclient add-node --id node-9 --weight 2 --zone rack-3 --host 10.0.0.9
  kvclient add-node --dry-run              what would move
  kvclient add-node --dry-run --output json > plan.json && kvclient add-node --apply plan.json")]
pub(crate) struct AddNode {
    #[command(flatten)]
    nodes: NewNodes,
    #[command(flatten)]
    carrying: Carrying,
}

/// Which nodes are to join.
#[derive(Clone, Debug, Args)]
pub(crate) struct NewNodes {
    /// The node's id [default: nodes that run already, then the first free ones of node-0, node-1, ...]
    #[arg(long, value_name = "ID", conflicts_with = "count")]
    id: Option<Name>,
    /// How many nodes to add
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
    /// The host on which to start what does not run yet: the address by which a node there is reached
    /// [default: any]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The capacity relative to other nodes [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    weight: Option<u32>,
    /// The failure domain, such as a rack [default: none]
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    zone: Option<String>,
}

impl AddNode {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { nodes, carrying } = self;
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
