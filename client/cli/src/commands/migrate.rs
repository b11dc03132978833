//! `kvclient migrate`: adopts another strategy.

use clap::Args;
use kv_placement::StrategySource;
use kv_rebalance::{Change, Rebalancer};

use super::accepting::Accepting;
use super::rebalancing::{self, Carrying};
use crate::failure::Failure;
use crate::session::Session;

/// Adopt another placement strategy, and move the data to where it wants it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient migrate --to consistent-hash
  kvclient migrate --to ./my-strategy.wasm --dry-run")]
pub(crate) struct Migrate {
    /// The strategy: a .wasm file or a built-in name (hrw, consistent-hash, zone-hrw, bounded-hrw,
    /// maglev)
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "apply")]
    to: Option<StrategySource>,
    /// The strategy's own settings, as it understands them
    #[arg(long, value_name = "TEXT")]
    strategy_config: Option<String>,
    #[command(flatten)]
    accepting: Accepting,
    #[command(flatten)]
    carrying: Carrying,
}

impl Migrate {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { to, strategy_config, accepting, carrying } = self;
        let rebalancer = Rebalancer::connect(&session.config).await?;
        let applied = match &carrying.apply {
            Some(path) => Some(rebalancing::read_plan(&rebalancer, path).await?),
            None => None,
        };
        let change = match (applied.as_ref().map(|plan| &plan.change), to) {
            (Some(change @ Change::Migrate { .. }), _) => change.clone(),
            (Some(other), _) => {
                return Err(Failure::Usage(format!("the plan is to {other}, not to migrate")));
            }
            (None, Some(to)) => {
                let accepted = accepting.accepted();
                Change::Migrate { strategy: to.to_string(), config: strategy_config, accepted }
            }
            (None, None) => return Err(Failure::Usage("--to is missing".into())),
        };
        if carrying.dry_run {
            let prepared = rebalancer.plan(change).await?;
            return rebalancing::print(session, &prepared.plan);
        }
        rebalancing::carry_out(session, &rebalancer, change, &carrying, applied.as_ref()).await
    }
}
