//! What a page may hold, and how the pages of both ends of a move become one. Pure.

use std::collections::HashSet;

use kv_core::layout::Assignment;
use kv_core::operation::Record;
use kv_core::partition::Partition;
use kv_protocol::reply::Page;

use super::progress::place;
use crate::routing::View;

/// What a node is asked for.
#[derive(Debug)]
pub(super) struct PageRequest<'a> {
    /// The only partition to read, where it is one that moves; otherwise all that the node owns.
    pub(super) partition: Option<Partition>,
    /// The first partition to read.
    pub(super) from: Partition,
    /// The key after which to go on in it.
    pub(super) after: Option<String>,
    pub(super) prefix: &'a str,
}

impl PageRequest<'_> {
    /// Checks that a page of `node` gets the scan on, and holds only what was asked for.
    ///
    /// # Errors
    /// What the page has that it must not have.
    pub(super) fn check(&self, page: &Page, view: &View, node: u16) -> Result<(), String> {
        if let Some((key, _)) = page.items.iter().find(|(key, _)| !key.starts_with(self.prefix)) {
            return Err(format!("its key {key:?} does not start with {:?}", self.prefix));
        }
        let mut last = self.after.as_deref().map(place);
        for (key, _) in &page.items {
            self.check_place(key, view, node)?;
            let next = place(key);
            if last.is_some_and(|last| last >= next) {
                return Err(format!("its key {key:?} comes after one that it should precede"));
            }
            last = Some(next);
        }
        let Some(next) = &page.next else { return Ok(()) };
        let partition = view.layout.partitions.partition_of(next);
        if last.is_some_and(|last| last > place(next)) || partition < self.from {
            return Err(format!("it goes on at {next:?}, which lies behind"));
        }
        if self.after.as_ref() == Some(next) {
            return Err(format!("it goes on at {next:?}, where it began"));
        }
        match self.partition {
            Some(only) if partition != only => {
                Err(format!("it goes on at {next:?}, which is not in partition {only}"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that `key` is where it was looked for. A node that gives what it does not own would make
    /// keys come twice.
    fn check_place(&self, key: &str, view: &View, node: u16) -> Result<(), String> {
        let partition = view.layout.partitions.partition_of(key);
        let is_asked_for = match self.partition {
            Some(only) => partition == only,
            None => {
                let owned = view.assignments.get(partition) == Some(Assignment::Owned(node));
                owned && partition >= self.from
            }
        };
        if is_asked_for {
            return Ok(());
        }
        Err(format!("its key {key:?} is in partition {partition}, which it was not asked for"))
    }
}

/// The records of a moving partition, and the key up to which they are complete (`None` at the end).
///
/// The destination's records count, its tombstones too; for all other keys the source's do. Where one of
/// the pages ends earlier, the other one counts only as far.
pub(super) fn merge(destination: Page, source: Page) -> (Vec<(String, Record)>, Option<String>) {
    let end = match (destination.next, source.next) {
        (Some(ours), Some(theirs)) => {
            Some(if place(&ours) <= place(&theirs) { ours } else { theirs })
        }
        (ours, theirs) => ours.or(theirs),
    };
    let within = |key: &str| end.as_deref().is_none_or(|end| place(key) <= place(end));
    let known: HashSet<&str> = destination
        .items
        .iter()
        .map(|(key, _)| &**key)
        .chain(destination.deleted.iter().map(|key| &**key))
        .collect();
    let mut items = source.items;
    items.retain(|(key, _)| within(key) && !known.contains(&**key));
    items.extend(destination.items.into_iter().filter(|(key, _)| within(key)));
    (items, end)
}
