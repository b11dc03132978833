//! Whether nodes know how much they have: they sum that up as they write, and here it is compared with what they list.

use std::collections::BTreeMap;

use kv_core::layout::Assignment;
use kv_core::partition::Partition;
use kv_core::window::Size;
use kv_protocol::reply::Content;
use kv_protocol::request::{Command, Scan};
use serde::Serialize;

use crate::ask::{Asker, Trouble};
use crate::sizes;

/// What does not fit is read so often, since clients may have written meanwhile.
const TRIES: u32 = 3;

/// A partition of which a node says another number of keys than it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Miscounted {
    /// The node.
    pub node: String,
    /// The partition.
    pub partition: u32,
    /// How many keys it has by what the node says of itself.
    pub said: u64,
    /// How many keys were read.
    pub read: u64,
}

/// What a node says of the partitions that it owns, and what was listed of them since.
pub(crate) struct Recount {
    node: u16,
    said: BTreeMap<Partition, Size>,
    listed: BTreeMap<Partition, u64>,
}

impl Recount {
    /// Asks a node. One that cannot tell is not judged.
    pub(crate) async fn begin(asker: Asker<'_>, node: u16) -> Option<Self> {
        let all = (0..asker.view.layout.partitions.get()).map(Partition);
        let is_owned = |it: &Partition| matches!(asker.view.assignments.get(*it), Some(Assignment::Owned(owner)) if owner == node);
        let owned: Vec<_> = all.filter(is_owned).collect();
        let listed = owned.iter().map(|it| (*it, 0)).collect();
        Some(Self { node, said: said(asker, node, owned).await.ok()?, listed })
    }

    /// A key of this partition was listed.
    pub(crate) fn note(&mut self, partition: Partition) {
        if let Some(keys) = self.listed.get_mut(&partition) {
            *keys += 1;
        }
    }

    /// The partitions of which the node does not say what it has. Those that are written to meanwhile are not
    /// judged.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) async fn end(self, asker: Asker<'_>) -> Result<Vec<Miscounted>, Trouble> {
        let mut found = Vec::new();
        for (partition, listed) in self.listed {
            let said = self.said.get(&partition).copied().unwrap_or_default();
            if said.keys != listed
                && let Some(miscounted) = read_again(asker, self.node, partition).await?
            {
                found.push(miscounted);
            }
        }
        Ok(found)
    }
}

async fn read_again(
    asker: Asker<'_>,
    node: u16,
    partition: Partition,
) -> Result<Option<Miscounted>, Trouble> {
    let mut found = None;
    for _ in 0..TRIES {
        let before = said(asker, node, vec![partition]).await?;
        let read = read(asker, node, partition).await?;
        let after = said(asker, node, vec![partition]).await?;
        let said = after.get(&partition).map_or(0, |it| it.keys);
        if before != after || said == read {
            return Ok(None);
        }
        let (node, partition) = (asker.name(node), partition.0);
        found = Some(Miscounted { node, partition, said, read });
    }
    Ok(found)
}

async fn said(
    asker: Asker<'_>,
    node: u16,
    partitions: Vec<Partition>,
) -> Result<BTreeMap<Partition, Size>, Trouble> {
    Ok(sizes::count_at(asker, node, partitions).await?.into_iter().collect())
}

/// Reads how many keys a partition has.
async fn read(asker: Asker<'_>, node: u16, partition: Partition) -> Result<u64, Trouble> {
    let (mut keys, mut after) = (0, None::<String>);
    loop {
        let last = after.clone().map(Into::into);
        let scan = Scan { partition: Some(partition), after: last, ..Scan::default() };
        let Content::Page(page) = asker.ask(node, Command::Scan(scan)).await? else {
            return Err(asker.nonsense(node, "it is not the answer to SCAN"));
        };
        keys += page.items.len() as u64;
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            Some(_) => return Err(asker.nonsense(node, "its keys go round in circles")),
            None => return Ok(keys),
        }
    }
}
