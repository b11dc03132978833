//! Whether every key is stored where the layout says, once, and nowhere else, and whether nodes know how many.

use kv_core::layout::Assignment;
use kv_core::operation::{Done, Operation};
use kv_core::partition::Partition;
use kv_protocol::reply::Content;
use kv_protocol::request::Command;
use serde::Serialize;

use crate::ask::{Asker, Trouble, in_plan};
use crate::error::RebalanceError;
use crate::recount::{Miscounted, Recount};

/// At most this many findings are listed; all are counted.
const LISTED_MAX: usize = 1000;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct FsckReport {
    /// The layout's epoch.
    pub epoch: u64,
    /// How many keys were looked at.
    pub keys: u64,
    /// How many keys lie where they do not belong.
    pub strays: u64,
    /// How many of the listed strays lie where they belong as well.
    pub duplicates: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// The partitions of which their nodes say another number of keys than they have.
    pub miscounted: Vec<Miscounted>,
    /// The nodes that have yet to remove what they do not own any more; what they are about to
    /// remove is no finding.
    pub clearing: Vec<String>,
    /// The nodes that keep what is not theirs by the layout, since they never handed it over; that is no
    /// finding either.
    pub keeping: Vec<String>,
}

/// A key that lies where it should not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The key.
    pub key: String,
    /// The key's partition.
    pub partition: u32,
    /// The node that has it.
    pub node: String,
    /// The node that owns it.
    pub owner: String,
    /// Whether the owner has it too.
    pub duplicate: bool,
}

pub(crate) async fn check(
    asker: Asker<'_>,
    told: &(dyn Fn(u64) + Sync),
) -> Result<FsckReport, RebalanceError> {
    let layout = &asker.view.layout;
    let mut report = FsckReport { epoch: layout.epoch, ..FsckReport::default() };
    for node in (0..).take(asker.view.assignments.nodes().len()) {
        let status = asker.status_not_ahead(node).await?.map_err(in_plan)?;
        let is_keeping = status.kept.is_some_and(|kept| kept.not_handed_over > 0);
        if is_keeping {
            report.keeping.push(asker.name(node));
        }
        let is_clearing = status.partitions_to_clear > 0;
        if is_clearing {
            report.clearing.push(asker.name(node));
        }
        let mut recount = Recount::begin(asker, node).await;
        let mut after: Option<String> = None;
        loop {
            let command = Command::Stored { after: after.clone().map(Into::into) };
            let Content::Keys(page) = asker.ask(node, command).await.map_err(in_plan)? else {
                return Err(in_plan(asker.nonsense(node, "it is not the answer to STORED")));
            };
            for key in page.keys {
                let partition = asker.view.layout.partitions.partition_of(&key);
                recount.iter_mut().for_each(|it| it.note(partition));
                look_at(asker, &mut report, node, (partition, key), is_clearing || is_keeping);
            }
            told(report.keys);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                Some(_) => {
                    return Err(in_plan(asker.nonsense(node, "its keys go round in circles")));
                }
                None => break,
            }
        }
        if let Some(recount) = recount {
            report.miscounted.extend(recount.end(asker).await.map_err(in_plan)?);
        }
    }
    for finding in &mut report.findings {
        finding.duplicate = is_at_owner(asker, &finding.key).await.map_err(in_plan)?;
        report.duplicates += u64::from(finding.duplicate);
    }
    Ok(report)
}

/// Counts one key, and lists it where the node should not have it, and it is not known why it has.
fn look_at(
    asker: Asker<'_>,
    report: &mut FsckReport,
    node: u16,
    (partition, key): (Partition, String),
    is_known: bool,
) {
    let assignment = asker.view.assignments.get(partition);
    let may_have = match assignment {
        Some(Assignment::Owned(owner)) => owner == node,
        Some(Assignment::Frozen(it) | Assignment::Moving(it)) => {
            it.source == Some(node) || it.destination == node
        }
        None => false,
    };
    if may_have {
        report.keys += 1;
    } else if !is_known {
        report.strays += 1;
        if report.findings.len() < LISTED_MAX {
            let owner = assignment.map_or_else(String::new, |it| asker.name(it.destination()));
            let node = asker.name(node);
            let partition = partition.0;
            report.findings.push(Finding { key, partition, node, owner, duplicate: false });
        }
    }
}

async fn is_at_owner(asker: Asker<'_>, key: &str) -> Result<bool, Trouble> {
    let partition = asker.view.layout.partitions.partition_of(key);
    let Some(assignment) = asker.view.assignments.get(partition) else { return Ok(false) };
    let command = Command::One(Operation::Get { key: key.into() });
    let content = asker.ask(assignment.destination(), command).await?;
    Ok(matches!(content, Content::One { done: Done::Read(Some(_)), .. }))
}
