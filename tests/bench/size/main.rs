//! How one node fares with more keys, and with more data than memory: beside Redis, beside its own limits, and beside
//! the disk's own random reads.
//!
//! `cargo bench -p kv-tests --bench size` runs everything and prints tables; `-- --help` lists what can be chosen.
//! What the figures mean is in `tests/bench/README.md`.
//!
//! | module | what |
//! |---|---|
//! | `sizes` | one number of keys from its storing to the start after `kill -9`: the node and Redis take turns |
//! | `goals` | the rows of its table, with what each is to be |
//! | `misses` | data ten times the memory |
//! | `confinement` | what keeps the node and its page cache within that memory |
//! | `disk` | the disk's own random reads, by `fio` |

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]

mod confinement;
mod disk;
mod goals;
mod misses;
mod sizes;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kv_bench::comparison::{Comparison, HEADER};
use kv_bench::figures::table;
use kv_bench::journal::Journal;
use kv_bench::programs::Programs;
use kv_bench::redis;
use kv_bench::settings::{Settings, Usage};

const USAGE: &str = "\
usage: cargo bench -p kv-tests --bench size [-- [OPTIONS] [SECTION...]]

sections (all of them where none is named):
  sizes   each number of keys: GET, PUT, memory, stop, start, disk; against Redis
  misses  data ten times the memory: GETs against the disk's random reads, and what they cost hits

options:
  --keys LIST     numbers of keys of sizes [default: 100000,1000000,10000000]
  --stored N      keys of misses, with values of 1,000 bytes [default: 1000000]
  --memory BYTES  what a node of sizes may take [default: 512 MiB, or 600 bytes a key where that is more]
  --rounds N      how often everything is measured, alternating [default: 3]
  --seconds N     how long one measurement takes [default: 5]; PUTs take three times as long
  --json FILE     write each measurement to FILE, as a line of JSON
  --programs D    measure kvnode and kvclient of the folder D instead of building them, to compare";

fn main() -> ExitCode {
    let usage = Usage {
        text: USAGE,
        sections: &["sizes", "misses"],
        options: &["--keys", "--stored", "--memory", "--rounds", "--seconds", "--json"],
        defaults: Settings {
            sections: Vec::new(),
            keys: 0,
            sizes: vec![100_000, 1_000_000, 10_000_000],
            rounds: 3,
            stored: 1_000_000,
            measured_for: Duration::from_secs(5),
            large: false,
            memory_bytes: None,
            json: None,
            programs: None,
        },
    };
    kv_bench::program::run(&usage, measure)
}

async fn measure(settings: &Settings, programs: &Programs) -> anyhow::Result<()> {
    if !redis::is_installed() {
        bail!("Redis is not installed: expected redis-server, redis-cli and redis-benchmark");
    }
    let mut journal = Journal::open(settings.json.as_deref())?;
    for section in &settings.sections {
        match *section {
            "sizes" => sizes::run(settings, programs, &mut journal).await,
            _ => misses::run(settings, programs, &mut journal).await,
        }
        .context(*section)?;
    }
    Ok(())
}

/// Prints comparisons as a table, with what there is to know of it.
fn print(title: &str, compared: &[&Comparison], notes: &str) {
    let rows: Vec<_> = compared.iter().map(|it| it.row()).collect();
    println!("{}\n\n{notes}\n", table(title, &HEADER, &rows));
}
