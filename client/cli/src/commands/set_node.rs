//! `kvclient set-node`: gives a member another weight or zone.

use clap::Args;
use kv_core::limits::WEIGHT_MAX;
use kv_core::name::{Name, parse_zone};
use kv_rebalance::{Change, Rebalancer};

use super::rebalancing::{self, Carrying};
use crate::failure::Failure;
use crate::session::Session;

/// Give a node another weight or zone, and move the data to where it then belongs
#[derive(Debug, Args)]
#[command(after_help = "\
What the layout says of a node counts, whatever `kvnode --weight` and `--zone` said when it was started.

Examples:
  kvclient set-node node-3 --weight 4
  kvclient set-node node-3 --zone rack-7 --dry-run")]
pub(crate) struct SetNode {
    /// The node's id
    #[arg(value_name = "ID", required_unless_present = "apply")]
    id: Option<Name>,
    /// The capacity relative to other nodes
    #[arg(long, value_name = "N", required_unless_present_any = ["zone", "apply"],
          value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    weight: Option<u32>,
    /// The failure domain, such as a rack; "" for none
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    zone: Option<String>,
    #[command(flatten)]
    carrying: Carrying,
}

impl SetNode {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { id, weight, zone, carrying } = self;
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
            (None, Some(id)) => Change::Set { id, weight, zone },
            (None, None) => return Err(Failure::Usage("the node's id is missing".into())),
        };
        if carrying.dry_run {
            let prepared = rebalancer.plan(change).await?;
            return rebalancing::print(session, &prepared.plan);
        }
        rebalancing::carry_out(session, &rebalancer, change, &carrying, applied.as_ref()).await
    }
}
