//! Builds strategies to WebAssembly components: the command `cargo strategies`.
//!
//! - [`catalog`]: which strategies there are, asked of cargo.
//! - [`toolchain`]: what compiles them, and what to install where nothing does.
//! - [`compile`]: one build by cargo, its profile and flags.
//! - [`component`]: from core module to component, and the check that it imports nothing.
//! - [`output`]: the file, written whole or not at all.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::catalog::{Catalog, Strategy};
use crate::output::Written;
use crate::toolchain::{Choice, Toolchain};

mod catalog;
mod compile;
mod component;
mod output;
mod toolchain;

/// Builds placement strategies to WebAssembly components at strategies/NAME.wasm
///
/// A strategy is a library under strategies/ that depends on kv-strategy. Each is compiled for
/// wasm32-unknown-unknown, made a component of the world in wit/placement.wit, and refused if it
/// imports anything or exports anything else.
#[derive(Parser)]
#[command(name = "cargo strategies", bin_name = "cargo strategies", after_help = EXAMPLES)]
struct Arguments {
    /// The strategies to build [default: all of them]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// The folder to write the components to [default: strategies/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// What compiles the strategies; auto takes the first that this machine has
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    toolchain: Choice,
}

const EXAMPLES: &str = "\
Examples:
  cargo strategies                       build all, into strategies/
  cargo strategies mine                  build only strategies/mine
  cargo strategies --out /tmp/rebuilt    build all into another folder, to compare

How to write a strategy: strategies/README.md";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let catalog = Catalog::read()?;
    let strategies = catalog.select(&arguments.names)?;
    let out = arguments.out.clone().unwrap_or_else(|| catalog.folder());
    let toolchain = Toolchain::find(arguments.toolchain, &catalog.root)?;
    eprintln!("compiling with {toolchain}");
    for strategy in strategies {
        build(strategy, &catalog, &toolchain, &out)
            .with_context(|| format!("cannot build the strategy {}", strategy.name))?;
    }
    Ok(())
}

fn build(
    strategy: &Strategy,
    catalog: &Catalog,
    toolchain: &Toolchain,
    out: &std::path::Path,
) -> Result<()> {
    let module = compile::compile(strategy, catalog, toolchain)?;
    let component = component::encode(&module)?;
    let path = out.join(format!("{}.wasm", strategy.name));
    let what = match output::write(&path, &component)? {
        Written::Changed => "written",
        Written::Same => "unchanged",
    };
    println!("{} ({} bytes, {what})", path.display(), component.len());
    Ok(())
}
