//! `kvclient`, the command line of the store. It parses, logs, runs and exits; `commands` decide.

mod bench;
mod cli;
mod commands;
mod exit;
mod lines;
mod ndjson;
mod output;
mod progress;

use clap::Parser;

/// What an operation allocates, another thread frees, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let cli = cli::Cli::try_parse().unwrap_or_else(|error| exit::not_understood(&error));
    let format = cli.globals.output;
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    output::log(cli.globals.verbose);
    let mut runtime = match cli.command {
        // A benchmark's workers are meant to keep the connections' thread busy, not one another.
        cli::Command::Bench(_) => tokio::runtime::Builder::new_current_thread(),
        _ => {
            take_small_pages();
            tokio::runtime::Builder::new_multi_thread()
        }
    };
    let result = runtime
        .enable_all()
        .build()
        .map_err(|error| exit::Failure::local("cannot start", error))
        .and_then(|runtime| runtime.block_on(commands::run(cli)));
    // Not returned from, so that nothing waits for a thread that reads from a terminal.
    std::process::exit(exit::report(result, format))
}

/// Takes memory in small pages. Large ones make the allocator a little faster, and compiling a strategy
/// take twice as much memory, which is more than it may take.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "large pages are taken where there are some");
    }
}
