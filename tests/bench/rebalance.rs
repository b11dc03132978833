//! How fast data moves, what that costs those who read and write meanwhile, and how it grows.
//!
//! `cargo bench -p kv-tests --bench rebalance` runs everything and prints tables; `-- --help` lists
//! what can be chosen. What the figures mean is in `README.md` beside this file.
//!
//! | module | what it measures |
//! |---|---|
//! | `speed` | keys moved per second, against `redis-cli --cluster rebalance` on the same machine |
//! | `foreground` | what reads and writes take while everything moves, against a cluster at rest |
//! | `growth` | that a move costs what moves, and not what is stored |
//! | `movement` | that nothing moves that need not, and nothing twice |
//!
//! `fleet` and `redis` are the clusters under test, `server` and `programs` their processes, `figures`
//! turns measurements into tables. Everything runs on the loopback interface, with its data in a
//! temporary directory, and ends with this program, Ctrl-C included.

mod figures;
mod fleet;
mod foreground;
mod growth;
mod movement;
mod programs;
mod redis;
mod server;
mod settings;
mod speed;

use std::process::ExitCode;

use anyhow::Context as _;

use self::programs::Programs;
use self::settings::{Benchmark, Settings};

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            println!("{}", settings::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{}", settings::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> anyhow::Result<()> {
    let programs = match &settings.programs {
        Some(folder) => Programs::in_folder(folder)?,
        None => Programs::build()?,
    };
    println!("{}\n", machine());
    let runtime = tokio::runtime::Runtime::new().context("no runtime can be made")?;
    runtime.block_on(async {
        tokio::select! {
            result = run_all(settings, &programs) => result,
            // What is under way is dropped, and with it end its processes and its directory.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    })
}

async fn run_all(settings: &Settings, programs: &Programs) -> anyhow::Result<()> {
    for benchmark in &settings.benchmarks {
        let report = match benchmark {
            Benchmark::Speed => speed::run(settings, programs).await.context("speed")?,
            Benchmark::Foreground => {
                foreground::run(settings, programs).await.context("foreground")?
            }
            Benchmark::Growth => growth::run(settings, programs).await.context("growth")?,
            Benchmark::Movement => movement::run(settings, programs).await.context("movement")?,
        };
        println!("{report}\n");
    }
    Ok(())
}

/// What the figures depend on besides the programs.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let model = model.map_or("unknown processor", str::trim);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("machine: {cores} cores ({model}); load before the first benchmark: {load}")
}
