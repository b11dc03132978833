//! How fast data moves, what that costs the clients that read and write meanwhile, and how it grows.
//!
//! `cargo bench -p kv-tests --bench rebalance` runs everything and prints tables; `-- --help` lists
//! what can be chosen. What the figures mean is in `README.md` beside this file.
//!
//! | module | what it measures |
//! |---|---|
//! | `speed` | keys moved per second, against `redis-cli --cluster rebalance` on the same machine |
//! | `foreground` | what reads and writes take while everything moves, against a cluster at rest |
//! | `growth` | that a move costs as the moved records do, however many are stored |
//! | `movement` | that nothing moves that need not, and nothing twice |
//!
//! `fleet` and `redis` are the clusters under test, `server` and `programs` their processes, `figures`
//! turns measurements into tables. Everything runs on the loopback interface, with its data in a
//! temporary directory, and ends with this program, Ctrl-C included.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]

mod figures;
#[allow(dead_code, reason = "shared by the benchmark programs, each of which uses a part of it")]
mod fleet;
mod foreground;
mod growth;
#[allow(dead_code, reason = "shared by the benchmark programs, each of which uses a part of it")]
mod load;
mod movement;
mod program;
mod programs;
mod redis;
mod server;
mod settings;
mod speed;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use self::programs::Programs;
use self::settings::{Settings, Usage};

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
            rounds: 3,
            stored: 2_000_000,
            measured_for: Duration::from_secs(10),
            large: false,
            json: None,
            programs: None,
        },
    };
    program::run(&usage, measure)
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
