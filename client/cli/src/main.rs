//! `kvclient`, the command line of the store. It parses, logs, runs and exits; the `commands` do.

mod blocking;
mod cli;
mod commands;
mod exit;
mod failure;
mod input;
mod interrupt;
mod line_bounds;
mod lines;
mod ndjson;
mod option_value;
mod output;
mod progress;
mod session;
mod visible;

use std::io;
use std::num::NonZero;

use clap::{CommandFactory, Parser};
use kv_system::resources;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;
use crate::output::Format;

/// How many files and connections any command opens, and some to spare.
const DESCRIPTORS_MIN: usize = 24;
/// How many threads a command has besides one for each processor, and some to spare: those of connections,
/// interruptions and blocking work.
const THREADS_BESIDE: usize = 8;
/// How much stack the main thread needs, in bytes: mostly for a command line to be understood.
const STACK_BYTES_MIN: u64 = 1 << 20;
/// How much memory a command maps at least, in bytes. A strategy's alone is 4 GiB, of which hardly any is
/// ever used.
const MEMORY_BYTES_MIN: u64 = 6 << 30;

/// What an operation allocates, another thread frees, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Before anything that needs much of it.
    if let Err(error) = resources::stack(STACK_BYTES_MIN) {
        std::process::exit(exit::report(Err(Failure::Scarce(error)), Format::Text));
    }
    run()
}

fn run() -> ! {
    resources::mind_the_size_of_files();
    let cli = cli::Cli::try_parse()
        .unwrap_or_else(|error| exit::not_understood(&error, cli::Cli::command()));
    let format = cli.globals.output;
    let _failpoints = kv_system::failpoints::listen();
    output::log(cli.globals.verbose);
    let result = start(&cli.command).map_err(Failure::Scarce);
    let result = result.and_then(|runtime| {
        let result = runtime.block_on(cli.run());
        // Nothing waits for a thread that reads from a terminal.
        runtime.shutdown_background();
        result
    });
    // Not returned from, for the same reason.
    std::process::exit(exit::report(result, format))
}

/// What runs a command.
fn start(command: &cli::Command) -> io::Result<Runtime> {
    resources::raise_descriptors();
    resources::memory(MEMORY_BYTES_MIN)?;
    let mut runtime = match command {
        // A benchmark's workers are meant to keep the connections' thread busy, not one another.
        cli::Command::Bench(_) => Builder::new_current_thread(),
        _ => {
            take_small_pages();
            Builder::new_multi_thread()
        }
    };
    // The runtime takes them for granted.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    resources::descriptors(DESCRIPTORS_MIN)?;
    resources::threads(processors + THREADS_BESIDE)?;
    interrupt::listen()?;
    runtime.enable_all().build()
}

/// Takes memory in small pages. Large ones make the allocator a little faster, and compiling a strategy
/// take twice as much memory, which is more than it may take.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "large pages are taken where there are some");
    }
}
