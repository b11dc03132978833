//! How the cost of one operation, one key and one start grows with the size of things.
//!
//! `cargo bench -p kv-tests --bench scaling` runs everything and prints tables; `-- --help` lists what
//! can be chosen. What the figures mean is in `tests/bench/README.md`.
//!
//! Each section is a [`curve::Curve`]: its figures at several sizes, and the exponent with which each
//! grows. `by_keys` and `by_overwrites` vary the keys, the others what they are named after.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]

mod by_clients;
mod by_keys;
mod by_nodes;
mod by_overwrites;
mod by_values;
mod curve;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use kv_bench::journal::Journal;
use kv_bench::programs::Programs;
use kv_bench::settings::{Settings, Usage};

const USAGE: &str = "\
usage: cargo bench -p kv-tests --bench scaling [-- [OPTIONS] [SECTION...]]

sections (all of them where none is named):
  keys        10,000 to 1,000,000 keys: operations, memory, start
  overwrites  the same keys: the disk after 1,000,000 overwrites
  clients     1 to 64 clients: operations, memory of their connections
  values      values of 16 bytes to 1 MiB
  nodes       1 to 8 nodes

options:
  --large       also with 10,000,000 keys
  --keys N      keys of clients, values and nodes [default: 100000]
  --rounds N    how often everything is measured [default: 1]
  --seconds N   how long one measurement takes [default: 3]
  --json FILE   write each measurement to FILE, as a line of JSON
  --programs D  measure kvnode and kvclient of the folder D instead of building them, to compare";

fn main() -> ExitCode {
    let usage = Usage {
        text: USAGE,
        sections: &["keys", "overwrites", "clients", "values", "nodes"],
        options: &["--large", "--keys", "--rounds", "--seconds", "--json"],
        defaults: Settings {
            sections: Vec::new(),
            keys: 100_000,
            sizes: Vec::new(),
            rounds: 1,
            stored: 0,
            measured_for: Duration::from_secs(3),
            large: false,
            memory_bytes: None,
            json: None,
            programs: None,
        },
    };
    kv_bench::program::run(&usage, measure)
}

async fn measure(settings: &Settings, programs: &Programs) -> anyhow::Result<()> {
    let mut journal = Journal::open(settings.json.as_deref())?;
    for section in &settings.sections {
        let curve = match *section {
            "keys" => by_keys::run(settings, programs, &mut journal).await,
            "overwrites" => by_overwrites::run(settings, programs, &mut journal).await,
            "clients" => by_clients::run(settings, programs, &mut journal).await,
            "values" => by_values::run(settings, programs, &mut journal).await,
            _ => by_nodes::run(settings, programs, &mut journal).await,
        };
        println!("{}\n", curve.context(*section)?.report());
    }
    Ok(())
}
