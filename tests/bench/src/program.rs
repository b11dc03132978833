//! A benchmark program, from its command line to its exit code.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::programs::Programs;
use crate::settings::{Settings, Usage};

/// Runs `measure` with what the command line asks for and the programs under test.
pub fn run(
    usage: &Usage,
    measure: impl AsyncFnOnce(&Settings, &Programs) -> anyhow::Result<()>,
) -> ExitCode {
    let settings = match Settings::from_args(usage, std::env::args().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            println!("{}", usage.text);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{}", usage.text);
            return ExitCode::from(2);
        }
    };
    match run_with(&settings, measure) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_with(
    settings: &Settings,
    measure: impl AsyncFnOnce(&Settings, &Programs) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let programs = match &settings.programs {
        Some(folder) => Programs::in_folder(folder)?,
        None => Programs::build()?,
    };
    println!("{}\n", machine());
    let runtime = tokio::runtime::Runtime::new().context("no runtime can be made")?;
    runtime.block_on(async {
        tokio::select! {
            result = measure(settings, &programs) => result,
            // The measurement is dropped, and with it end its processes and its directory.
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    })
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
