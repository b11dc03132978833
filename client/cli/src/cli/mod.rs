//! The command line as it is typed.
//!
//! - here: the options of every command, and the commands;
//! - `records`: what the commands about keys and values are told;
//! - `changes`: what those are told that change who owns what.

mod changes;
mod records;

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use kv_core::name::Name;
use kv_core::partition::PartitionCount;
use kv_placement::StrategySource;
use kv_registry::CLUSTER_DEFAULT;
use kvclient::limits::{TIMEOUT_DEFAULT, TIMEOUT_MAX};

pub(crate) use self::changes::{
    AddNode, Carrying, Init, Migrate, NewNodes, PlannedChange, RebalanceAction, RemoveNode, SetNode,
};
pub(crate) use self::records::{Delete, Explain, Export, Import, Key, Prefix, Put};
use crate::bench;
use crate::commands::{lab, strategy};
use crate::output::Format;

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
    pub(crate) consul: Option<String>,

    /// The cluster's name
    #[arg(long, global = true, value_name = "NAME", default_value = CLUSTER_DEFAULT)]
    pub(crate) cluster: Name,

    /// The placement strategy: a .wasm file or a built-in name (hrw, consistent-hash, zone-hrw,
    /// bounded-hrw, maglev) [default: the cluster's own; hrw for a new cluster]
    #[arg(long, global = true, value_name = "FILE|NAME")]
    pub(crate) strategy: Option<StrategySource>,

    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,

    /// How long an operation may take, retries included, such as 10 or 0.5
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds,
          default_value_t = Seconds(TIMEOUT_DEFAULT))]
    pub(crate) timeout: Seconds,

    /// Say what is going on, on standard error (RUST_LOG is honoured too)
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

/// A time that is typed in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a value, or many from standard input
    #[command(after_help = "\
Without a KEY, the payloads of PUT requests are read from standard input, one a line, and stored as `import`
does it: {\"op\":\"PUT\",\"key\":\"...\",\"value\":\"...\"}, with or without \"op\". With a KEY and no VALUE, standard
input is the value; where that is empty, nothing is stored, unless it is asked for by - or \"\".

Examples:
  kvclient put greeting hello
  kvclient put photo < photo.jpg
  kvclient put nothing \"\"                     (an empty value)
  kvclient put < words.ndjson
  kvclient put lock me --if-absent
  kvclient put counter 2 --if-version 1-42   (versions: kvclient get counter --output json)
  kvclient put note -- --starts-with-a-dash")]
    Put(Put),
    /// Print a value: exactly its bytes (on a terminal, control characters are shown escaped)
    Get(Key),
    /// Print everything, one JSON object a line, in no particular order
    GetAll(Prefix),
    /// Remove a record
    Delete(Delete),
    /// Store many values from lines of JSON
    #[command(after_help = "\
Every line is {\"key\":\"...\",\"value\":\"...\"}, or {\"key\":\"...\",\"value_base64\":\"...\"} for a value that is
not text; the \"op\":\"PUT\" of a request is allowed. The first bad line ends the import, and so does Ctrl-C;
what is under way is finished, and the number of stored values is reported. Running it again is safe. A
second Ctrl-C, and nodes that do not answer within a second, have it end at once.

Examples:
  kvclient import words.ndjson
  kvclient export | kvclient --cluster copy import")]
    Import(Import),
    /// Write everything as lines of JSON
    #[command(after_help = "\
A FILE is replaced only when everything has been read; until then it stays as it was. A link is followed. A
new FILE is for its owner only, since it may hold everything that is stored; one that is there keeps its
owner and mode.

Examples:
  kvclient export backup.ndjson
  kvclient export --prefix user/ | wc -l")]
    Export(Export),
    /// Say where a key belongs: partition, owner, epoch, strategy
    Locate(Key),
    /// Say why a key is where it is: the strategy's candidates, and what moved it
    #[command(after_help = "\
Examples:
  kvclient explain greeting               why it is where it is
  kvclient explain greeting --epoch 7     compared with where it was then")]
    Explain(Explain),
    /// Show the cluster: nodes, health, partitions, keys, bytes, epoch, strategy
    Status,
    /// Add nodes: start them where they do not run, and move to them what becomes theirs
    #[command(after_help = "\
A desired_state in Consul has the new node started by a node that runs on its host; nodes that were started by
hand and are no members yet are taken first. Reading and writing go on meanwhile.

Examples:
  kvclient add-node                        one more node
  kvclient add-node --count 3              three, moving each key at most once
  kvclient add-node --id node-9 --weight 2 --zone rack-3 --host 10.0.0.9
  kvclient add-node --dry-run              what would move
  kvclient add-node --dry-run --output json > plan.json && kvclient add-node --apply plan.json")]
    AddNode(AddNode),
    /// Remove nodes: move away what they have, then have them stop
    #[command(after_help = "\
Examples:
  kvclient remove-node node-3
  kvclient remove-node node-3 --dry-run
  kvclient remove-node --dead node-3 --accept-data-loss    it will never come back")]
    RemoveNode(RemoveNode),
    /// Give a node another weight or zone, and move the data to where it then belongs
    #[command(after_help = "\
What the layout says of a node counts, whatever `kvnode --weight` and `--zone` said when it was started.

Examples:
  kvclient set-node node-3 --weight 4
  kvclient set-node node-3 --zone rack-7 --dry-run")]
    SetNode(SetNode),
    /// Adopt another placement strategy, and move the data to where it wants it
    #[command(after_help = "\
Examples:
  kvclient migrate --to consistent-hash
  kvclient migrate --to ./my-strategy.wasm --dry-run")]
    Migrate(Migrate),
    /// Show what a change would move, without changing anything
    #[command(after_help = "\
Examples:
  kvclient plan add-node --count 2
  kvclient plan remove-node node-3 --output json
  kvclient plan migrate --to consistent-hash")]
    Plan {
        /// The change.
        #[command(subcommand)]
        change: PlannedChange,
    },
    /// Go on with a rebalance that is under way, pause it, or undo it
    Rebalance {
        /// What to do with it.
        #[command(subcommand)]
        action: RebalanceAction,
    },
    /// Publish a past layout again, where another one was put in its place
    #[command(after_help = "\
Nothing is moved. The nodes follow where they still have what they had in that epoch; one that has not
refuses, says so in its log, and goes on as it is. `kvclient status` names the epochs to choose from where
nodes keep records that a layout has taken from them.

Example:
  kvclient restore-layout 7")]
    RestoreLayout {
        /// The epoch of the layout, one of those that are kept
        epoch: u64,
    },
    /// Check that every key is stored where it belongs, and nowhere else
    Fsck,
    /// Measure the cluster: throughput and latencies of a workload
    #[command(after_help = "\
It stores the records first, under keys of their own, and leaves them there. Ctrl-C ends the measuring
early, and what was measured is printed.

Examples:
  kvclient bench --workload get --threads 50
  kvclient bench --workload a --keys 1000000 --duration 60 --warm-up 5 --output json
  kvclient bench --workload put --value-size 4096 --depth 1 --operations 10000 --no-load")]
    Bench(bench::Arguments),
    /// Compare placement strategies side by side, without a cluster
    #[command(after_help = lab::EXAMPLES)]
    Lab(lab::Arguments),
    /// Create a new cluster's layout explicitly, of all nodes that are registered
    ///
    /// The first client of a new cluster does this by itself; `init` is for those who want other
    /// numbers. Neither can be changed later.
    Init(Init),
    /// Look at strategies and judge them, without a cluster
    Strategy {
        /// What to do.
        #[command(subcommand)]
        action: strategy::Action,
    },
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  kvclient completions bash > ~/.local/share/bash-completion/completions/kvclient"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

pub(crate) fn seconds(text: &str) -> Result<Seconds, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero() && *timeout <= TIMEOUT_MAX)
        .map(Seconds)
        .ok_or_else(|| format!("expected seconds, above 0 and up to {}", TIMEOUT_MAX.as_secs()))
}

pub(crate) fn partitions(text: &str) -> Result<u32, String> {
    let count = text.parse::<u32>().map_err(|error| error.to_string())?;
    PartitionCount::new(count).map(PartitionCount::get).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

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
    fn values_may_be_numbers_below_zero_and_anything_after_two_dashes() {
        for (line, expected) in [
            ("kvclient put k v", Some("v")),
            ("kvclient put k -", Some("-")),
            ("kvclient put k", None),
            ("kvclient put", None),
            ("kvclient put k -5", Some("-5")),
            ("kvclient put k -- --if-absent", Some("--if-absent")),
        ] {
            let Command::Put(put) = parse(line).unwrap().command else { panic!("{line}") };
            assert_eq!(put.value, expected.map(OsString::from), "{line}");
            assert!(!put.if_absent);
        }
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
