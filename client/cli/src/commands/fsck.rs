//! `kvclient fsck`: whether every key is where it belongs.

use kvclient::rebalance::Rebalancer;

use super::Session;
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(session: &Session) -> Result<(), Failure> {
    let rebalancer = Rebalancer::connect(&session.config).await?;
    let bar = indicatif::ProgressBar::new_spinner();
    let told = |keys: u64| bar.set_message(format!("{keys} keys"));
    let report = rebalancer.fsck(&told).await;
    bar.finish_and_clear();
    let report = report?;
    if session.is_json() {
        output::json(&report)?;
    } else {
        for finding in &report.findings {
            let twice = if finding.duplicate { ", which has it too" } else { "" };
            output::data(
                format!(
                    "{:?} (partition {}) lies at {}, and belongs to {}{twice}\n",
                    finding.key, finding.partition, finding.node, finding.owner
                )
                .as_bytes(),
            )?;
        }
        for node in &report.clearing {
            output::note(&format!("node {node} is removing what it does not own any more"));
        }
        for node in &report.keeping {
            output::note(&format!(
                "node {node} keeps records that are not its own: `kvclient status` says why"
            ));
        }
        output::note(&format!(
            "{} keys looked at in epoch {}: {} strays, {} duplicates",
            report.keys, report.epoch, report.strays, report.duplicates
        ));
    }
    if report.strays > 0 { Err(Failure::Strays { strays: report.strays }) } else { Ok(()) }
}
