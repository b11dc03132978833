//! `kvclient fsck`: whether every key is where it belongs, and every record is served.

use clap::Args;
use kv_rebalance::Rebalancer;
use kvclient::inspect;

use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// Check that every key is stored where it belongs, and nowhere else, and that nodes know how many they have
#[derive(Debug, Args)]
pub(crate) struct Fsck {}

impl Fsck {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let rebalancer = Rebalancer::connect(&session.config).await?;
        let bar = indicatif::ProgressBar::new_spinner();
        let told = |keys: u64| bar.set_message(format!("{keys} keys"));
        let report = rebalancer.fsck(&told).await;
        bar.finish_and_clear();
        let mut report = report?;
        // A node that was given up, and came back, is no member any more.
        for node in inspect(&session.config).await?.nodes {
            let kept = node.answer.ok().and_then(|it| it.kept).map_or(0, |it| it.not_handed_over);
            if kept > 0 && !node.member {
                report.keeping.push(node.id);
            }
        }
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
            for it in &report.miscounted {
                output::data(
                    format!(
                        "node {} says that partition {} has {} keys, and has {}\n",
                        it.node, it.partition, it.said, it.read
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
        if report.strays > 0 {
            Err(Failure::Strays { strays: report.strays })
        } else if !report.miscounted.is_empty() {
            Err(Failure::Miscounted { partitions: report.miscounted.len() })
        } else if report.keeping.is_empty() {
            Ok(())
        } else {
            Err(Failure::Kept { nodes: report.keeping.join(", ") })
        }
    }
}
