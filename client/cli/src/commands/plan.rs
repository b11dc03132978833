//! `kvclient plan`: what a change would move.

use clap::{Args, Subcommand};
use kv_core::limits::WEIGHT_MAX;
use kv_core::name::{Name, parse_zone};
use kv_placement::StrategySource;
use kv_rebalance::{Change, Rebalancer};

use super::accepting::Accepting;
use super::add_node::{self, NewNodes};
use super::rebalancing;
use crate::failure::Failure;
use crate::session::Session;

/// Show what a change would move, without changing anything
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient plan add-node --count 2
  kvclient plan remove-node node-3 --output json
  kvclient plan migrate --to consistent-hash")]
pub(crate) struct Plan {
    /// The change.
    #[command(subcommand)]
    change: PlannedChange,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlannedChange {
    /// Nodes are added
    AddNode(NewNodes),
    /// Nodes are removed
    RemoveNode(PlannedRemoval),
    /// A node has another weight or zone
    SetNode(PlannedSettings),
    /// Another strategy is adopted
    Migrate(PlannedMigration),
}

#[derive(Debug, Args)]
pub(crate) struct PlannedRemoval {
    /// Their ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<Name>,
    /// They are gone for good
    #[arg(long)]
    dead: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlannedSettings {
    /// The node's id
    #[arg(value_name = "ID")]
    id: Name,
    /// The capacity relative to other nodes
    #[arg(long, value_name = "N", required_unless_present = "zone",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    weight: Option<u32>,
    /// The failure domain, such as a rack; "" for none
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    zone: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlannedMigration {
    /// The strategy: a .wasm file or a built-in name (hrw, consistent-hash, zone-hrw, bounded-hrw,
    /// maglev)
    #[arg(long, value_name = "FILE|NAME")]
    to: StrategySource,
    /// The strategy's own settings, as it understands them
    #[arg(long, value_name = "TEXT")]
    strategy_config: Option<String>,
    #[command(flatten)]
    accepting: Accepting,
}

impl Plan {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let rebalancer = Rebalancer::connect(&session.config).await?;
        let change = match self.change {
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
}
