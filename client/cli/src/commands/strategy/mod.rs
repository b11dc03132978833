//! `kvclient strategy`: strategies by themselves, without a cluster.

mod check;
mod inspect;
mod new;
mod templates;

use clap::{Args, Subcommand};
use kv_placement::{Cache, StrategyHost};

use self::check::Check;
use self::inspect::Inspect;
use self::new::New;
use crate::blocking::blocking;
use crate::failure::Failure;
use crate::output::Format;

/// Look at strategies and judge them, without a cluster
#[derive(Debug, Args)]
pub(crate) struct Strategy {
    /// What to do.
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Inspect(Inspect),
    Check(Check),
    New(New),
}

impl Strategy {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        if let Action::New(new) = self.action {
            return new.run(format);
        }
        blocking(move || {
            let host = StrategyHost::new(Cache::from_env())?;
            match self.action {
                Action::Inspect(inspect) => inspect.run(&host, format),
                Action::Check(check) => check.run(&host, format),
                Action::New(new) => new.run(format),
            }
        })
        .await
    }
}
