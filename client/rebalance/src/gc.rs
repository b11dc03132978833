//! Removing the tables and strategies that nothing refers to any more.
//!
//! They lie in Consul under their digests, written before the layout that names them. What names none
//! of the layout's placements, nor a past layout that is kept, is of no more use; but a client may just
//! have written it, to begin a rebalance by it. What makes the removal safe is the order of Consul's
//! indexes, which grow with every write:
//!
//! - Who is to begin a rebalance has seen a layout, writes table and strategy after that, and then sets
//!   the layout by compare-and-set, which succeeds only as long as the layout it saw is the present one.
//!   It writes them with the layout's epoch as flags, so that also where they were there before, their
//!   modify index is a new one: it is above the index of the layout that was seen.
//! - The collection reads the layout first. It removes only what was modified before that layout was, and
//!   only by compare-and-set. A rebalance that was prepared before that layout cannot be begun any more;
//!   for one that is prepared under it or a later one, table and strategy are modified after it, so they
//!   are left alone, or the compare-and-set fails, or they are written after their removal.
//!
//! What the change that has just ended named is left for the next collection, since a client that saw its last
//! layout may be about to fetch it. Nodes that give Consul a lost layout back write its parts first, and again when they see it there.

use std::collections::BTreeSet;

use kv_consul::Read;
use kv_core::layout::{Layout, Placement};
use kv_registry::keys;
use kvclient::ClientError;
use kvclient::admin::{Registry, history};

use crate::error::RebalanceError;
use crate::limits::SWEPT_MAX;

/// Removes what nothing refers to, and none of the `spared` placements, but no more than [`SWEPT_MAX`] documents: the next change goes on.
///
/// # Errors
/// Consul cannot be asked, or a past layout is not understood, so that what it refers to is not known.
pub(crate) async fn collect(
    registry: &Registry,
    spared: [&Placement; 2],
) -> Result<(), RebalanceError> {
    let Registry { consul, cluster, .. } = registry;
    let entry = consul.kv_get(&keys::layout(cluster), Read::consistent()).await?.value;
    let Some(entry) = entry else { return Ok(()) };
    let layout = Layout::parse(&entry.value).map_err(ClientError::from)?;
    let past = history::all(registry).await?.into_iter().map(|(_, layout)| layout);
    let past: Vec<Layout> = past.collect::<Result<_, _>>().map_err(ClientError::from)?;
    let mut named = BTreeSet::new();
    for placement in past.iter().chain([&layout]).flat_map(Layout::placements).chain(spared) {
        named.insert(keys::table(cluster, &placement.table));
        named.insert(keys::strategy(cluster, &placement.strategy.sha256));
    }
    let mut removed = 0;
    for prefix in [keys::tables(cluster), keys::strategies(cluster)] {
        let keys = consul.kv_keys(&prefix, Read::consistent()).await?.value;
        for key in keys.into_iter().filter(|key| !named.contains(key)) {
            if removed == SWEPT_MAX {
                return Ok(());
            }
            let Some(part) = consul.kv_get(&key, Read::consistent()).await?.value else { continue };
            if part.modify_index < entry.modify_index
                && consul.kv_delete_cas(&key, part.modify_index).await?
            {
                tracing::debug!(key, "nothing refers to it any more: removed from Consul");
                removed += 1;
            }
        }
    }
    Ok(())
}
