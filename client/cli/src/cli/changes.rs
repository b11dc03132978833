//! What the commands are told that change who owns what.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kv_core::limits::{PARTITIONS_DEFAULT, WEIGHT_MAX};
use kv_core::name::{Name, parse_zone};
use kv_placement::StrategySource;
use kv_placement::admission::Property;

use super::partitions;

/// How a rebalance is carried out.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Carrying {
    /// Only show what would move
    #[arg(long, conflicts_with = "throttle")]
    pub(crate) dry_run: bool,
    /// Do what this file plans (of --dry-run --output json), unless the layout has changed since
    #[arg(long, value_name = "PLAN", conflicts_with = "dry_run")]
    pub(crate) apply: Option<PathBuf>,
    /// Move at most this many megabytes per second
    #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) throttle: Option<u64>,
}

/// Which nodes are to join.
#[derive(Clone, Debug, Args)]
pub(crate) struct NewNodes {
    /// The node's id [default: nodes that run already, then the first free ones of node-0, node-1, ...]
    #[arg(long, value_name = "ID", conflicts_with = "count")]
    pub(crate) id: Option<Name>,
    /// How many nodes to add
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) count: u32,
    /// The host on which to start what does not run yet: the address by which a node there is reached
    /// [default: any]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// The capacity relative to other nodes [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    pub(crate) weight: Option<u32>,
    /// The failure domain, such as a rack [default: none]
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    pub(crate) zone: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AddNode {
    #[command(flatten)]
    pub(crate) nodes: NewNodes,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
}

/// Which nodes are to go.
#[derive(Clone, Debug, Args)]
pub(crate) struct OldNodes {
    /// Their ids
    #[arg(value_name = "ID", required_unless_present = "apply")]
    pub(crate) ids: Vec<Name>,
    /// They are gone for good, and what only they stored with them
    #[arg(long)]
    pub(crate) dead: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveNode {
    #[command(flatten)]
    pub(crate) nodes: OldNodes,
    /// With --dead: yes, what only they stored is to be given up
    #[arg(long, requires = "dead")]
    pub(crate) accept_data_loss: bool,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
}

/// What a member is to have.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeSettings {
    /// The capacity relative to other nodes
    #[arg(long, value_name = "N", required_unless_present_any = ["zone", "apply"],
          value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    pub(crate) weight: Option<u32>,
    /// The failure domain, such as a rack; "" for none
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    pub(crate) zone: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SetNode {
    /// The node's id
    #[arg(value_name = "ID", required_unless_present = "apply")]
    pub(crate) id: Option<Name>,
    #[command(flatten)]
    pub(crate) settings: NodeSettings,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
}

/// What a strategy that is to be adopted may lack.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Accepting {
    /// Adopt the strategy though it lacks these properties (see `kvclient strategy check`)
    #[arg(long, value_name = "PROPERTY,...", value_delimiter = ',')]
    accept: Vec<Property>,
}

impl Accepting {
    pub(crate) fn accepted(self) -> BTreeSet<Property> {
        self.accept.into_iter().collect()
    }
}

/// Which strategy is to be adopted.
#[derive(Clone, Debug, Args)]
pub(crate) struct NewStrategy {
    /// The strategy: a .wasm file or a built-in name (hrw, consistent-hash, zone-hrw, bounded-hrw,
    /// maglev)
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "apply")]
    pub(crate) to: Option<StrategySource>,
    /// The strategy's own settings, as it understands them
    #[arg(long, value_name = "TEXT")]
    pub(crate) strategy_config: Option<String>,
    #[command(flatten)]
    pub(crate) accepting: Accepting,
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) strategy: NewStrategy,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
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
    pub(crate) ids: Vec<Name>,
    /// They are gone for good
    #[arg(long)]
    pub(crate) dead: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlannedSettings {
    /// The node's id
    #[arg(value_name = "ID")]
    pub(crate) id: Name,
    /// The capacity relative to other nodes
    #[arg(long, value_name = "N", required_unless_present = "zone",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    pub(crate) weight: Option<u32>,
    /// The failure domain, such as a rack; "" for none
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    pub(crate) zone: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlannedMigration {
    /// The strategy: a .wasm file or a built-in name (hrw, consistent-hash, zone-hrw, bounded-hrw,
    /// maglev)
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) to: StrategySource,
    /// The strategy's own settings, as it understands them
    #[arg(long, value_name = "TEXT")]
    pub(crate) strategy_config: Option<String>,
    #[command(flatten)]
    pub(crate) accepting: Accepting,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum RebalanceAction {
    /// Begin no further part of it; everything is served meanwhile
    Pause,
    /// Go on with it, also where the command that ran it is gone
    Resume {
        /// Move at most this many megabytes per second
        #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        throttle: Option<u64>,
    },
    /// Move back what it has moved
    Abort {
        /// Move at most this many megabytes per second
        #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        throttle: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// How many partitions keys are hashed to, a power of two
    #[arg(long, value_name = "N", value_parser = partitions, default_value_t = PARTITIONS_DEFAULT)]
    pub(crate) partitions: u32,
    /// The strategy's own settings, as it understands them
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) strategy_config: String,
    #[command(flatten)]
    pub(crate) accepting: Accepting,
}
