//! The command line as it is typed: the options of every command, and the commands.

use clap::{Args, CommandFactory, Parser, Subcommand};
use kv_consul::ConsulConfig;
use kv_core::name::Name;
use kv_placement::StrategySource;
use kv_registry::CLUSTER_DEFAULT;
use kvclient::ClientConfig;
use kvclient::limits::TIMEOUT_DEFAULT;

use crate::commands::{
    AddNode, Bench, Completions, Delete, Explain, Export, Fsck, Get, GetAll, Import, Init, Lab,
    Locate, Migrate, Plan, Put, Rebalance, RemoveNode, RestoreLayout, SetNode, Status, Strategy,
    UpgradeLayout,
};
use crate::failure::Failure;
use crate::interrupt;
use crate::option_value::{Seconds, seconds};
use crate::output::Format;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  kvclient put greeting hello            store a value
  kvclient get greeting                  print it
  kvclient put photo - < photo.jpg       store any bytes from standard input
  kvclient import words.ndjson           store many, one {\"key\":...,\"value\":...} a line
  kvclient export all.ndjson             write everything to a file
  kvclient status                        see the nodes
  kvclient add-node                      add a node, and move its share to it
  kvclient remove-node node-1            move its share away, and stop it
  kvclient set-node node-2 --weight 4    give it more, and move its share to it
  kvclient migrate --to consistent-hash  place everything by another strategy
  kvclient explain greeting              say why it is where it is
  kvclient lab                           compare placement strategies, without a cluster
  kvclient strategy new my-own           begin a strategy of your own
  kvclient bench --workload a            measure the cluster
  kvclient --strategy consistent-hash put a b
                                         start a new cluster with another strategy

Exit codes:
  0    done
  1    not found: get or delete of a key that is not there
  2    usage: bad arguments, key, or input line; a file or output that cannot be read or written
  3    unavailable: Consul or nodes not reached, time over, outcome unknown, or this machine gives
       too few descriptors, threads or memory
  4    refused: strategy, condition, size, wrong cluster, damaged record, full disk, or Consul
       does not allow it
  5    not finished: another command has paused the rebalance
  6    undone: another command has turned the rebalance back, or ended it where it was
  130  interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP)

Data goes to standard output, everything else to standard error.";

/// Stores and finds data in a cluster of kvnodes.
///
/// The cluster is found through Consul. The first client of a new cluster decides with its placement
/// strategy which node owns what; from then on every client uses the same one.
#[derive(Debug, Parser)]
#[command(name = "kvclient", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command, before or after it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Where Consul is: HOST, HOST:PORT or a URL [default: $CONSUL_HTTP_ADDR or localhost:8500].
    /// The other CONSUL_* variables (token, TLS) are honoured too
    #[arg(long, global = true, value_name = "ADDR")]
    consul: Option<String>,

    /// The cluster's name
    #[arg(long, global = true, value_name = "NAME", default_value = CLUSTER_DEFAULT)]
    cluster: Name,

    /// The placement strategy: a .wasm file or a built-in name (hrw, consistent-hash, zone-hrw,
    /// bounded-hrw, maglev) [default: the cluster's own; hrw for a new cluster]
    #[arg(long, global = true, value_name = "FILE|NAME")]
    strategy: Option<StrategySource>,

    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,

    /// How long an operation may take, retries included, such as 10 or 0.5
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds,
          default_value_t = Seconds(TIMEOUT_DEFAULT))]
    timeout: Seconds,

    /// Say what is going on, on standard error (RUST_LOG is honoured too)
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Put(Put),
    Get(Get),
    GetAll(GetAll),
    Delete(Delete),
    Import(Import),
    Export(Export),
    Locate(Locate),
    Explain(Explain),
    Status(Status),
    AddNode(AddNode),
    RemoveNode(RemoveNode),
    SetNode(SetNode),
    Migrate(Migrate),
    Plan(Plan),
    Rebalance(Rebalance),
    RestoreLayout(RestoreLayout),
    UpgradeLayout(UpgradeLayout),
    Fsck(Fsck),
    Bench(Bench),
    Lab(Lab),
    Init(Init),
    Strategy(Strategy),
    Completions(Completions),
}

impl Cli {
    /// Runs the command that was typed, until it ends or the process is asked to end.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // These finish the operations under way, and say what they have done.
        let finishes = match &self.command {
            Command::Import(_) | Command::Bench(_) | Command::AddNode(_) => true,
            Command::Put(put) => put.is_import(),
            _ => false,
        };
        tokio::select! {
            // A command that has something to say when it is interrupted comes before.
            biased;
            done = self.carry_out() => done,
            () = asked_and_heard(), if !finishes => Err(match interrupt::what_is_open() {
                Some(open) => Failure::InterruptedChange { open },
                None => Failure::Interrupted,
            }),
        }
    }

    async fn carry_out(self) -> Result<(), Failure> {
        let Self { globals, command } = self;
        // Some commands need no cluster, so nothing that is said of one can be wrong for them.
        let session = || globals.session();
        match command {
            Command::Put(put) => put.run(&session()?).await,
            Command::Get(get) => get.run(&session()?).await,
            Command::GetAll(get_all) => get_all.run(&session()?).await,
            Command::Delete(delete) => delete.run(&session()?).await,
            Command::Import(import) => import.run(&session()?).await,
            Command::Export(export) => export.run(&session()?).await,
            Command::Locate(locate) => locate.run(&session()?).await,
            Command::Explain(explain) => explain.run(&session()?).await,
            Command::Status(status) => status.run(&session()?).await,
            Command::AddNode(add_node) => add_node.run(&session()?).await,
            Command::RemoveNode(remove_node) => remove_node.run(&session()?).await,
            Command::SetNode(set_node) => set_node.run(&session()?).await,
            Command::Migrate(migrate) => migrate.run(&session()?).await,
            Command::Plan(plan) => plan.run(&session()?).await,
            Command::Rebalance(rebalance) => rebalance.run(&session()?).await,
            Command::UpgradeLayout(upgrade_layout) => upgrade_layout.run(&session()?).await,
            Command::RestoreLayout(restore_layout) => restore_layout.run(&session()?).await,
            Command::Fsck(fsck) => fsck.run(&session()?).await,
            Command::Bench(bench) => bench.run(&session()?).await,
            Command::Lab(lab) => lab.run(&session()?).await,
            Command::Init(init) => init.run(&session()?).await,
            Command::Strategy(strategy) => strategy.run(globals.output).await,
            Command::Completions(completions) => completions.run(Self::command()),
        }
    }
}

impl Globals {
    /// What they make of a command about a cluster.
    fn session(&self) -> Result<Session, Failure> {
        let mut config = ClientConfig::new(ConsulConfig::resolve(self.consul.as_deref())?);
        config.cluster = self.cluster.clone();
        config.strategy = self.strategy.clone();
        config.timeout = self.timeout.0;
        Ok(Session { config, format: self.output })
    }
}

/// Waits until the process is asked to end, and the command has had its turn to hear of it.
async fn asked_and_heard() {
    interrupt::asked().await;
    tokio::task::yield_now().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_every_command_stand_before_or_after_it() {
        for line in [
            "kvclient --consul c:1 --cluster x --output json --timeout 0.5 -v get k",
            "kvclient get k --consul c:1 --cluster x --output json --timeout 0.5 --verbose",
        ] {
            let Globals { consul, cluster, output, timeout, verbose, .. } =
                parse(line).unwrap().globals;
            assert_eq!(consul.as_deref(), Some("c:1"));
            assert_eq!((cluster.as_str(), output, verbose), ("x", Format::Json, true));
            assert_eq!(timeout.0, Duration::from_millis(500));
        }
        let defaults = parse("kvclient status").unwrap().globals;
        assert_eq!(defaults.cluster.as_str(), "default");
        assert_eq!((defaults.timeout.0, defaults.output), (TIMEOUT_DEFAULT, Format::Text));
        assert!(defaults.consul.is_none() && defaults.strategy.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "kvclient",
            "kvclient put --if-absent",
            "kvclient put --if-version 1-1",
            "kvclient get",
            "kvclient nothing",
            "kvclient get a b",
            "kvclient put k v --if-absent --if-version 1-1",
            "kvclient put k v --if-version 1",
            "kvclient status --timeout 0",
            "kvclient status --timeout -1",
            "kvclient status --timeout inf",
            "kvclient status --timeout 86401",
            "kvclient status --cluster Upper",
            "kvclient status --strategy no-such-one",
            "kvclient status --output xml",
            "kvclient init --partitions 100",
            "kvclient init --partitions 131072",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert!(parse("kvclient status --timeout 86400").is_ok());
        assert!(parse("kvclient init --partitions 65536").is_ok());
    }

    #[test]
    fn the_help_teaches_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:") && help.contains("130"), "{help}");
    }
}
