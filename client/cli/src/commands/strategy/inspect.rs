//! `kvclient strategy inspect`: what a component is.

use clap::Args;
use kv_core::limits::PARTITIONS_DEFAULT;
use kv_placement::limits::COMPILE_WORK_MAX;
use kv_placement::{Complexity, Cost, Strategy, StrategyHost, StrategyNode, StrategySource};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Format};

/// Show what a strategy is: digest, size, contract, imports, and what answering takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient strategy inspect hrw
  kvclient strategy inspect ./my-strategy.wasm --output json")]
pub(crate) struct Inspect {
    /// The strategy: a .wasm file or a built-in name
    #[arg(value_name = "FILE|NAME")]
    strategy: StrategySource,
    /// The settings that it is called with
    #[arg(long, value_name = "TEXT", default_value = "")]
    strategy_config: String,
}

/// What the cost of an answer is told for: so many equal nodes, with the default number of partitions.
const REFERENCE_NODES: usize = 10;

impl Inspect {
    pub(super) fn run(&self, host: &StrategyHost, format: Format) -> Result<(), Failure> {
        let source = &self.strategy;
        let complexity = host.complexity(source)?;
        // A component that is no strategy is shown as far as it goes, and then refused.
        let strategy = match host.load(source) {
            Ok(strategy) => strategy,
            Err(error) => {
                show_complexity(&complexity, format)?;
                return Err(error.into());
            }
        };
        let node =
            |number| StrategyNode { id: format!("node-{number}"), weight: 1, zone: String::new() };
        let nodes: Vec<_> = (0..REFERENCE_NODES).map(node).collect();
        let (_, cost) =
            strategy.assign_counted(&nodes, PARTITIONS_DEFAULT, 1, &self.strategy_config)?;
        match format {
            Format::Json => output::json(&in_json(&strategy, &complexity, cost)),
            Format::Text => output::data(text(&strategy, &complexity, cost).as_bytes()),
        }
    }
}

fn show_complexity(complexity: &Complexity, format: Format) -> Result<(), Failure> {
    let Complexity { imports, exports, .. } = complexity;
    match format {
        Format::Json => output::json(&json!({ "imports": imports, "exports": exports })),
        Format::Text => output::data(interfaces(complexity).as_bytes()),
    }
}

fn interfaces(complexity: &Complexity) -> String {
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!("exports   {}\nimports   {}\n", list(&complexity.exports), list(&complexity.imports))
}

fn text(strategy: &Strategy, complexity: &Complexity, cost: Cost) -> String {
    let info = strategy.info();
    format!(
        "name      {} {}\nsummary   {}\nsettings  {}\nsha256    {}\nsize      {} bytes, {:.0} % of what a client compiles\ncontract  {}\n{}\
         answer    {:.1} M fuel ({:.0} % of the limit), {:.1} MiB, {:.1} ms for {REFERENCE_NODES} nodes and \
         {PARTITIONS_DEFAULT} partitions\n",
        info.name,
        info.version,
        info.summary,
        settings(info.settings.as_deref()),
        strategy.digest(),
        strategy.bytes().len(),
        100.0 * complexity.compile_work as f64 / COMPILE_WORK_MAX as f64,
        strategy.contract(),
        interfaces(complexity),
        cost.fuel as f64 / 1e6,
        100.0 * cost.fuel as f64 / cost.fuel_max as f64,
        cost.memory_bytes as f64 / f64::from(1 << 20),
        cost.took.as_secs_f64() * 1e3,
    )
}

fn settings(said: Option<&str>) -> &str {
    match said {
        None => "not told by strategies of this contract",
        Some("") => "none",
        Some(settings) => settings,
    }
}

fn in_json(strategy: &Strategy, complexity: &Complexity, cost: Cost) -> serde_json::Value {
    let info = strategy.info();
    json!({
        "name": info.name,
        "version": info.version,
        "summary": info.summary,
        "settings": info.settings,
        "sha256": strategy.digest(),
        "bytes": strategy.bytes().len(),
        "compile_work": complexity.compile_work,
        "compile_work_max": COMPILE_WORK_MAX,
        "contract": strategy.contract(),
        "exports": complexity.exports,
        "imports": complexity.imports,
        "reference": {
            "nodes": REFERENCE_NODES,
            "partitions": PARTITIONS_DEFAULT,
            "fuel": cost.fuel,
            "fuel_max": cost.fuel_max,
            "memory_bytes": cost.memory_bytes,
            "took_us": cost.took.as_micros(),
        },
    })
}
