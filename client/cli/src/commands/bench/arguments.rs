//! What can be asked for on the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use kv_core::limits::VALUE_BYTES_MAX_CEILING;

use super::schedule::RATE_MAX;
use super::workload::Workload;
use crate::option_value::{Seconds, seconds};

/// The most records: half of what their keys have digits for, so that there is room to insert.
pub(super) const KEYS_MAX: u64 = 5_000_000_000;
/// The most workers.
const THREADS_MAX: u64 = 1024;
/// The most operations that one worker has under way.
const DEPTH_MAX: u64 = 65_536;

/// How the keys of operations are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// A few keys are drawn most of the time
    Zipfian,
    /// Every key is as likely as any other
    Uniform,
}

/// Measure the cluster: throughput and latencies of a workload
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
It stores the records first, under keys of their own, and leaves them there. Ctrl-C ends the measuring
early, and what was measured is printed.

Without --rate, each operation waits for the one before it: the load falls when the cluster slows down, and
few operations see a pause. With --rate, operations fall due at a fixed rate, and latencies count from then,
so that the high percentiles are those of users who do not wait for each other. At most --threads times
--depth operations are under way; what else is due waits, and the wait counts.

Examples:
  kvclient bench --workload get --threads 50
  kvclient bench --workload a --keys 1000000 --duration 60 --warm-up 5 --output json
  kvclient bench --workload put --value-size 4096 --depth 1 --operations 10000 --no-load
  kvclient bench --workload b --threads 50 --rate 20000 --no-load")]
pub(crate) struct Bench {
    /// What to do: only puts, only gets, or one of YCSB's core workloads
    #[arg(long, value_enum)]
    pub(crate) workload: Workload,
    /// How many records there are
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    pub(crate) keys: u64,
    /// The length of the values in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(..=VALUE_BYTES_MAX_CEILING as u64))]
    pub(crate) value_size: u64,
    /// How many workers there are; they share one client
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=THREADS_MAX))]
    pub(crate) threads: u64,
    /// How many operations each worker has under way
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u64).range(1..=DEPTH_MAX))]
    pub(crate) depth: u64,
    /// Measure this many operations [default: as many as fit into the duration]
    #[arg(long, value_name = "N", conflicts_with = "duration",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) operations: Option<u64>,
    /// Measure for this long [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<Seconds>,
    /// Do as many operations in each second, whether or not those before have ended [default: as many as
    /// the cluster answers]
    #[arg(long, value_name = "OPS_PER_S",
          value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    pub(crate) rate: Option<u64>,
    /// Do the same for this long before anything is measured [default: 1, or 0 with --operations]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none)]
    pub(crate) warm_up: Option<Seconds>,
    /// How keys are drawn [default: uniform for put and get, zipfian otherwise]
    #[arg(long, value_enum)]
    pub(crate) distribution: Option<Distribution>,
    /// What the random numbers start from: the same seed draws the same operations
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// What the keys start with
    #[arg(long, value_name = "TEXT", default_value = "bench-")]
    pub(crate) prefix: String,
    /// Store the records first [default]
    #[arg(long, overrides_with = "no_load")]
    pub(crate) load: bool,
    /// Do not store the records first: measure on those that are there
    #[arg(long, overrides_with = "load")]
    pub(crate) no_load: bool,
}

fn seconds_or_none(text: &str) -> Result<Seconds, String> {
    if text == "0" { Ok(Seconds(Duration::ZERO)) } else { seconds(text) }
}
