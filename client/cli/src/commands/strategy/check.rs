//! `kvclient strategy check`: the examination of a strategy before it is adopted.

use clap::Args;
use kv_placement::admission::{Finding, Judgement, NotAdmitted, Report, Thoroughness, examine};
use kv_placement::{Strategy, StrategyHost, StrategySource};
use kvclient::ClientError;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{self, Format};

/// Find out whether a cluster should adopt a strategy
///
/// It is asked for the tables of clusters of many kinds, small ones first. Each property passes,
/// or fails with the smallest counterexample. The exit code is 4 where a required one fails.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kvclient strategy check ./my-strategy.wasm
  kvclient strategy check consistent-hash --strategy-config points=64 --output json")]
pub(crate) struct Check {
    /// The strategy: a .wasm file or a built-in name
    #[arg(value_name = "FILE|NAME")]
    strategy: StrategySource,
    /// The settings that it is called with
    #[arg(long, value_name = "TEXT", default_value = "")]
    strategy_config: String,
}

impl Check {
    pub(super) fn run(&self, host: &StrategyHost, format: Format) -> Result<(), Failure> {
        let strategy = host.load(&self.strategy)?;
        let report = examine(&strategy, &self.strategy_config, Thoroughness::Full);
        match format {
            Format::Json => output::json(&in_json(&strategy, &report))?,
            Format::Text => output::data(text(&strategy, &report).as_bytes())?,
        }
        if report.passes() {
            return Ok(());
        }
        let label = strategy.label().to_owned();
        let required = report.findings.iter().filter(|it| it.is_required);
        // A property that is unknown because the clock ended the questions is not lacking.
        let failed = required.filter(|it| match it.verdict {
            Judgement::Pass => false,
            Judgement::Fail(_) => true,
            Judgement::Unknown(_) => report.stopped.is_none(),
        });
        let failed: Vec<_> = failed.map(|it| it.property.name()).collect();
        match report.stopped {
            Some(why) if failed.is_empty() => {
                Err(ClientError::from(NotAdmitted::NotExamined { strategy: label, why }).into())
            }
            _ => Err(Failure::LacksProperties { strategy: label, lacked: failed.join(", ") }),
        }
    }
}

fn text(strategy: &Strategy, report: &Report) -> String {
    let info = strategy.info();
    let rows: Vec<_> = report.findings.iter().map(row).collect();
    let mut text = format!(
        "{} {} ({}), {} questions\n\n{}",
        info.name,
        info.version,
        strategy.digest().short(),
        report.questions,
        output::table(&["PROPERTY", "VERDICT", "FIGURE"], &[false, false, false], &rows)
    );
    for finding in &report.findings {
        let why = match &finding.verdict {
            Judgement::Pass => continue,
            Judgement::Fail(why) | Judgement::Unknown(why) => why,
        };
        let optional = if finding.is_required { "" } else { " (not required with one replica)" };
        text.push_str(&format!("\n{}{optional}: {why}\n", finding.property));
    }
    text
}

fn row(finding: &Finding) -> Vec<String> {
    let figure = finding.figure.map_or_else(String::new, |figure| figure.to_string());
    vec![finding.property.to_string(), verdict(finding).to_owned(), figure]
}

fn verdict(finding: &Finding) -> &'static str {
    match finding.verdict {
        Judgement::Pass => "pass",
        Judgement::Fail(_) => "fail",
        Judgement::Unknown(_) => "unknown",
    }
}

fn in_json(strategy: &Strategy, report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "property": finding.property.name(),
            "verdict": verdict(finding),
            "required": finding.is_required,
            "optional": finding.property.is_optional(),
            "figure": finding.figure.map(|figure| json!({
                "value": figure.value,
                "limit": figure.limit,
                "what": figure.what,
            })),
            "counterexample": match &finding.verdict {
                Judgement::Fail(case) => Some(case),
                Judgement::Pass | Judgement::Unknown(_) => None,
            },
        })
    };
    json!({
        "name": strategy.info().name,
        "sha256": strategy.digest(),
        "passed": report.passes(),
        "questions": report.questions,
        "stopped": report.stopped,
        "properties": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
