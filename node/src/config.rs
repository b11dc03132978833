//! The command line of `kvnode`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kv_core::limits::{
    HOST_NODES_MAX, MEMBERS_MAX, VALUE_BYTES_MAX_CEILING, VALUE_BYTES_MAX_DEFAULT, WEIGHT_MAX,
};
use kv_core::name::{Name, parse_zone};
use kv_registry::CLUSTER_DEFAULT;

use kv_storage::Fsync;

use crate::memory::{self, MemoryBudget};

/// The environment variable that names the directory of all nodes' data.
pub const DATA_DIR_VARIABLE: &str = "KVNODE_DATA_DIR";

/// A node that is wanted, and that has not registered this long after a supervisor has taken it on, may
/// be taken on by another. Most stores open faster; one that takes longer is not disturbed, since its
/// data directory shows that it runs.
pub const LAUNCH_WITHIN_DEFAULT: Duration = Duration::from_secs(15);

/// What the end of a run tells its caller.
const EXIT_CODES: &str = "\
Exit codes:
  0  stopped as asked (SIGTERM, SIGINT, SIGHUP, or removed from its cluster)
  1  failed in a way that the message on standard error tells, such as a full disk, or too few
     descriptors or threads
  2  the command line is wrong
  3  Consul cannot be reached
  4  refused: the id, the port, the data directory or the cluster is another's, the data an older copy's,
     or Consul does not allow it";

const EXAMPLES: &str = "\
Examples:
  kvnode --consul localhost:8500
      Starts node-0; run it again in another terminal for node-1, and so on.
      Started again after a stop, it is the same node with the same data.
  kvnode --id node-7 --data-dir /var/lib/kvnode --host 10.0.0.7 --consul 10.0.0.1:8500
      Starts a node that other machines can reach.
  kvnode dev
      Starts four nodes and a Consul of their own on this machine, to try things out.

RUST_LOG=debug makes the log on standard error more talkative.
";

/// A node of the store: keeps its share of the data and serves it to kvclient.
///
/// The node registers in Consul, is pushed the cluster's layout, and serves the partitions that the
/// layout gives it. It stops cleanly on SIGTERM, SIGINT and SIGHUP (except where it was started to
/// ignore that, as by nohup).
///
/// Desired states in Consul, which kvclient's add-node and remove-node write, start and stop nodes: a running
/// node starts those that are wanted on its host, with their logs in DIR/ID.log, and again where they
/// die; a node that is removed stops once it stores nothing. SIGTERM takes such a wish back.
#[derive(Debug, Parser)]
#[command(version, after_long_help = format!("{EXAMPLES}\n{EXIT_CODES}"), args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to run, where it is not a single node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The node to run.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What else `kvnode` runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts a whole cluster on this machine, with an embedded Consul agent, for trying things out.
    ///
    /// Nodes that kvclient adds are started beside the others, and all stop together. Started again,
    /// it starts every node that has data, except those that kvclient has removed.
    #[cfg(feature = "dev")]
    Dev(DevArgs),
}

/// When a write counts as durable, as the command line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Once it is on the disk: it survives a power loss
    Always,
    /// Once the operating system has it: a power loss can cost what was written in the last second
    #[value(name = "everysec")]
    EverySecond,
}

impl From<Durability> for Fsync {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Always => Self::Always,
            Durability::EverySecond => Self::EverySecond,
        }
    }
}

/// The options of one node.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// Where Consul is, as host:port or URL [default: CONSUL_HTTP_ADDR, or localhost:8500].
    #[arg(long, value_name = "ADDR")]
    pub consul: Option<String>,

    /// The cluster that the node joins. Clusters of different names may share a Consul.
    #[arg(long, value_name = "NAME", default_value = CLUSTER_DEFAULT)]
    pub cluster: Name,

    /// The node's id [default: the first free one of node-0, node-1, ...].
    #[arg(long, value_name = "ID")]
    pub id: Option<Name>,

    /// The directory under which each node of this machine keeps its data, in DIR/ID
    /// [default: kvnode/CLUSTER in XDG_DATA_HOME or ~/.local/share].
    #[arg(long, value_name = "DIR", env = DATA_DIR_VARIABLE)]
    pub data_dir: Option<PathBuf>,

    /// The address to listen on, or a name of this machine, which is resolved at the start.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub host: String,

    /// The address or host name by which others reach the node [default: the address of --host].
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<String>,

    /// The port to listen on; 0 lets the system choose
    /// [default: the one used last, otherwise the first free one from 2000].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// The node's capacity relative to others, which counts when it joins its cluster's layout; later
    /// `kvclient set-node` changes it [default: what the layout says, otherwise 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    pub weight: Option<u32>,

    /// The node's failure domain, such as a rack; as for the weight, `kvclient set-node` changes it
    /// [default: what the layout says, otherwise none].
    #[arg(long, value_name = "NAME", value_parser = parse_zone)]
    pub zone: Option<String>,

    /// The longest value that the node accepts, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = VALUE_BYTES_MAX_DEFAULT as u64, value_parser = clap::value_parser!(u64).range(1..=VALUE_BYTES_MAX_CEILING as u64))]
    pub value_bytes_max: u64,

    /// How much of the disk to hold in reserve, in bytes, as a file beside the data. On a full disk,
    /// where nothing more is stored, it is given up for deletes, starts and stops. Unless it is 0, some
    /// inodes are held as well [default: 64 MiB, or a quarter of a disk that has less than 256 MiB].
    #[arg(long, value_name = "BYTES")]
    pub disk_reserve_bytes: Option<u64>,

    /// How much memory the node may take, such as 512MiB or 2GiB: for records that were read or written lately,
    /// the storage engine, and what the write-ahead log has of late [default: a quarter of the machine's, or of
    /// its control group's].
    #[arg(long, value_name = "BYTES", value_parser = memory::parse)]
    pub memory: Option<u64>,

    /// When a write is acknowledged. A crash of the node alone loses nothing either way.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Durability::Always)]
    pub fsync: Durability,

    /// Serve a data directory although a newer copy of it has run, or newer data: one that was put back
    /// from a backup when the newest was gone for good. What was written since is missing, and what was
    /// deleted since comes back. It holds for this start; nodes that this one starts are not told so.
    #[arg(long)]
    pub serve_older_copy: bool,

    /// Remove the records that this node keeps although they are not its own by the layout of this
    /// epoch, which is the one that it has installed; its status names them and says why.
    #[arg(long, value_name = "EPOCH")]
    pub discard_kept: Option<u64>,

    /// How long to try to reach Consul at the start, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub start_timeout: u64,

    /// The most nodes that run with their data under DIR because a desired state wants them.
    #[arg(long, value_name = "N", default_value_t = HOST_NODES_MAX, value_parser = parse_launch_max)]
    pub launch_max: usize,

    /// Stop when standard input ends: a supervisor that dies takes its nodes along.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,

    /// How long a segment of the write-ahead log is, in bytes: short ones have tests come to their ends.
    #[arg(long, hide = true, value_name = "BYTES")]
    pub segment_bytes: Option<u64>,

    /// Start no nodes that are wanted on this host: the supervisor that started this one does.
    #[arg(long, hide = true)]
    pub no_launch: bool,

    /// How long to wait for a node that another has taken on to start, in milliseconds.
    #[arg(long, hide = true, value_name = "MS", default_value_t = LAUNCH_WITHIN_DEFAULT.as_millis() as u64)]
    pub launch_within_ms: u64,
}

impl NodeArgs {
    /// The memory that the node may take.
    #[must_use]
    pub fn memory(&self) -> MemoryBudget {
        MemoryBudget::new(self.memory, 1)
    }
}

/// Reads how many nodes may run.
fn parse_launch_max(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MEMBERS_MAX);
    number.ok_or_else(|| format!("expected a number from 0 to {MEMBERS_MAX}"))
}

/// The options of `kvnode dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// How many nodes to start, or more where more have data.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub nodes: u32,

    /// The port of the embedded Consul agent. Where a Consul answers there already, it is used.
    #[arg(long, value_name = "PORT", default_value_t = 8500)]
    pub consul_port: u16,

    /// Start the node ID with --serve-older-copy, which `kvnode --help` explains. May be given several
    /// times.
    #[arg(long, value_name = "ID")]
    pub serve_older_copy: Vec<Name>,

    /// How much memory the nodes may take, together, such as 2GiB. One that is added later gets as much as each
    /// of the first ones [default: a quarter of the machine's, or of its control group's].
    #[arg(long, value_name = "BYTES", value_parser = memory::parse)]
    pub memory: Option<u64>,

    /// Where data and Consul state are kept [default: kvnode/dev in XDG_DATA_HOME or ~/.local/share].
    #[arg(long, value_name = "DIR", env = DATA_DIR_VARIABLE)]
    pub data_dir: Option<PathBuf>,
}

/// Where data lies without `--data-dir` and its variable.
///
/// # Errors
/// Where neither `XDG_DATA_HOME` nor `HOME` is set.
pub fn default_data_dir(name: &str) -> anyhow::Result<PathBuf> {
    let absolute =
        |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| {
            anyhow::anyhow!(
                "neither HOME nor XDG_DATA_HOME is set: name a directory with --data-dir"
            )
        })?;
    Ok(base.join("kvnode").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
