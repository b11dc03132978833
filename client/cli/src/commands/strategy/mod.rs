//! `kvclient strategy`: strategies by themselves, without a cluster.

mod check;
mod inspect;
mod new;
mod templates;

use clap::{Args, Subcommand};
use kv_placement::{Cache, StrategyHost, StrategySource};

use super::blocking;
use crate::failure::Failure;
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Show what a strategy is: digest, size, contract, imports, and what answering takes
    #[command(after_help = "\
Examples:
  kvclient strategy inspect hrw
  kvclient strategy inspect ./my-strategy.wasm --output json")]
    Inspect(Inspected),
    /// Find out whether a cluster should adopt a strategy
    ///
    /// It is asked for the tables of clusters of many kinds, small ones first. Each property passes,
    /// or fails with the smallest counterexample. The exit code is 4 where a required one fails.
    #[command(after_help = "\
Examples:
  kvclient strategy check ./my-strategy.wasm
  kvclient strategy check consistent-hash --strategy-config points=64 --output json")]
    Check(Checked),
    /// Make a project that works, to be changed into a strategy of one's own
    ///
    /// It starts as weighted rendezvous hashing, gives the same tables as the built-in hrw, and is built
    /// with the two commands of its README.
    #[command(after_help = "\
Examples:
  kvclient strategy new my-own
  kvclient strategy new my-own --lang c")]
    New(new::New),
}

#[derive(Debug, Args)]
pub(crate) struct Inspected {
    /// The strategy: a .wasm file or a built-in name
    #[arg(value_name = "FILE|NAME")]
    strategy: StrategySource,
    /// The settings that it is called with
    #[arg(long, value_name = "TEXT", default_value = "")]
    strategy_config: String,
}

#[derive(Debug, Args)]
pub(crate) struct Checked {
    /// The strategy: a .wasm file or a built-in name
    #[arg(value_name = "FILE|NAME")]
    strategy: StrategySource,
    /// The settings that it is called with
    #[arg(long, value_name = "TEXT", default_value = "")]
    strategy_config: String,
}

pub(crate) async fn run(action: Action, format: Format) -> Result<(), Failure> {
    if let Action::New(new) = action {
        return new::run(&new, format);
    }
    blocking(move || {
        let host = StrategyHost::new(Cache::from_env())?;
        match action {
            Action::Inspect(inspected) => inspect::run(&host, &inspected, format),
            Action::Check(checked) => check::run(&host, &checked, format),
            Action::New(new) => new::run(&new, format),
        }
    })
    .await
}
