//! How fast one node is, against other stores on the same machine in the same run.
//!
//! `cargo bench -p kv-tests --bench peers` runs everything and prints a table; `-- --help` lists what
//! can be chosen. What the figures mean is in `tests/bench/README.md`.
//!
//! | module | what it measures | against |
//! |---|---|---|
//! | `throughput` | reads and writes per second, many under way at a time | Redis |
//! | `latency` | one operation after the other | `raw`: ZeroMQ, and an append that is synced |
//! | `ycsb` | the core workloads A, B and C, by the `mix` of their operations | `etcd`, `memcached` |
//! | `million` | memory, and the start after `kill -9` | Redis |
//! | `overwrites` | the disk after everything was overwritten | the data |
//!
//! Ours is driven by `kvclient bench`, Redis by `redis-benchmark`, the others by `mix`. All
//! sides take turns. Everything runs on the loopback interface, with its data in temporary directories,
//! and ends with this program, Ctrl-C included.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]

mod etcd;
mod latency;
mod memcached;
mod million;
mod mix;
mod overwrites;
mod raw;
mod throughput;
mod ycsb;
mod zipfian;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use kv_bench::comparison::{Comparison, HEADER};
use kv_bench::figures::{grouped, table};
use kv_bench::fleet::VALUE_BYTES;
use kv_bench::journal::Journal;
use kv_bench::programs::Programs;
use kv_bench::settings::{Settings, Usage};

const USAGE: &str = "\
usage: cargo bench -p kv-tests --bench peers [-- [OPTIONS] [SECTION...]]

sections (all of them where none is named):
  get       reads per second, against Redis
  put       durable writes per second, against Redis with AOF always
  everysec  writes per second with --fsync everysec, against Redis with AOF everysec
  latency   single operations, against raw ZeroMQ and raw fdatasync
  ycsb      the core workloads A, B and C, against etcd and memcached
  million   memory, and the start after kill -9, against Redis
  disk      the disk after ten overwrites of each key, against the data

options:
  --keys N      keys [default: 100000]
  --stored N    keys of million [default: 1000000]
  --rounds N    how often everything is measured, alternating [default: 3]
  --seconds N   how long one measurement takes [default: 3]
  --json FILE   write each measurement to FILE, as a line of JSON
  --programs D  measure kvnode and kvclient of the folder D instead of building them, to compare";

fn main() -> ExitCode {
    let usage = Usage {
        text: USAGE,
        sections: &["get", "put", "everysec", "latency", "ycsb", "million", "disk"],
        options: &["--keys", "--stored", "--rounds", "--seconds", "--json"],
        defaults: Settings {
            sections: Vec::new(),
            keys: 100_000,
            sizes: Vec::new(),
            rounds: 3,
            stored: 1_000_000,
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
    if !kv_bench::redis::is_installed() {
        bail!("Redis is not installed: expected redis-server, redis-cli and redis-benchmark");
    }
    let mut journal = Journal::open(settings.json.as_deref())?;
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for section in &settings.sections {
        let compared = match *section {
            "get" => throughput::gets(settings, programs, &mut journal).await,
            "put" => throughput::puts(settings, programs, &mut journal).await,
            "everysec" => throughput::relaxed_puts(settings, programs, &mut journal).await,
            "latency" => latency::run(settings, programs, &mut journal).await,
            "ycsb" => ycsb::run(settings, programs, &mut journal).await,
            "million" => million::run(settings, programs, &mut journal).await,
            _ => overwrites::run(settings, programs, &mut journal).await,
        };
        match compared {
            Ok(compared) => rows.extend(compared.iter().map(Comparison::row)),
            // What the others have measured took long and stands for itself.
            Err(error) => {
                eprintln!("{section}: {error:#}");
                failed.push(*section);
            }
        }
    }
    println!("{}\n", table("Peers", &HEADER, &rows));
    println!(
        "{} keys, values of {VALUE_BYTES} bytes, one node, one client process; medians of {} rounds that \
         take turns",
        grouped(settings.keys as f64),
        settings.rounds
    );
    for (program, option) in [("redis-server", "-v"), ("etcd", "--version"), ("memcached", "-V")] {
        println!("{}", version(program, option));
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

/// What a program says of its version.
fn version(program: &str, option: &str) -> String {
    let output = std::process::Command::new(program).arg(option).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let line = text.as_deref().unwrap_or_default().lines().next();
    line.map_or_else(|| format!("{program} is not installed"), str::to_owned)
}
