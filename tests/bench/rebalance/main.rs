//! How fast data moves, what that costs the clients that read and write meanwhile, and how it grows.
//!
//! `cargo bench -p kv-tests --bench rebalance` runs everything and prints tables; `-- --help` lists
//! what can be chosen. What the figures mean is in `tests/bench/README.md`.
//!
//! | module | what it measures |
//! |---|---|
//! | `speed` | keys moved per second, against `redis-cli --cluster rebalance` on the same machine |
//! | `foreground` | what reads and writes take while everything moves, against a cluster at rest |
//! | `growth` | that a move costs as the moved records do, however many are stored |
//! | `movement` | that nothing moves that need not, and nothing twice |
//!
//! Everything runs on the loopback interface, with its data in a temporary directory, and ends with this
//! program, Ctrl-C included.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]

mod foreground;
mod growth;
mod movement;
mod speed;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use kv_bench::programs::Programs;
use kv_bench::settings::{Settings, Usage};

const USAGE: &str = "\
usage: cargo bench -p kv-tests --bench rebalance [-- [OPTIONS] [BENCHMARK...]]

benchmarks (all of them where none is named): speed, foreground, growth, movement

options:
  --keys N      keys that speed moves a fifth of [default: 400000]
  --rounds N    how often speed and growth measure, alternating [default: 3]
  --stored N    the larger number of keys that growth stores; the smaller is a tenth [default: 2000000]
  --seconds N   how long foreground measures each state [default: 10]
  --programs D  measure kvnode and kvclient of the folder D instead of building them, to compare";

fn main() -> ExitCode {
    let usage = Usage {
        text: USAGE,
        sections: &["speed", "foreground", "growth", "movement"],
        options: &["--keys", "--rounds", "--stored", "--seconds"],
        defaults: Settings {
            sections: Vec::new(),
            keys: 400_000,
            sizes: Vec::new(),
            rounds: 3,
            stored: 2_000_000,
            measured_for: Duration::from_secs(10),
            large: false,
            memory_bytes: None,
            json: None,
            programs: None,
        },
    };
    kv_bench::program::run(&usage, measure)
}

async fn measure(settings: &Settings, programs: &Programs) -> anyhow::Result<()> {
    for section in &settings.sections {
        let report = match *section {
            "speed" => speed::run(settings, programs).await,
            "foreground" => foreground::run(settings, programs).await,
            "growth" => growth::run(settings, programs).await,
            _ => movement::run(settings, programs).await,
        };
        println!("{}\n", report.context(*section)?);
    }
    Ok(())
}
