//! Removing the tables, strategies, lists of members and standings that nothing refers to any more.
//!
//! They lie in Consul under their digests, written before the layout that names them. What none of the
//! layout's placements names, nor a past layout that is kept, is of no more use; but a client may just
//! have written it, to begin a rebalance by it. What makes the removal safe is the order of Consul's
//! indexes, which grow with every write:
//!
//! - A client that is to take a step has seen a layout, writes table, strategy, members and standing after that, and then
//!   sets the layout by compare-and-set, which succeeds only as long as the layout it saw is the present one.
//!   It writes them with the layout's epoch as flags, so that also where they were there before, their
//!   modify index is a new one: it is above the index of the layout that was seen.
//! - The collection reads the layout first. It removes only what was modified before that layout was, and
//!   only by compare-and-set. A step that was prepared before that layout cannot be taken any more;
//!   for one that is prepared under it or a later one, they are modified after it, so they
//!   are left alone, or the compare-and-set fails, or they are written after their removal.
//!
//! The mover does that, once a rebalance has ended. Standings change more often, with each node that goes or comes
//! back: where too many of them lie there, a process that has admitted copies removes the old ones. One that
//! has evicted some does not, since writes wait for that.
//!
//! What the change that has just ended named is left for the next collection, since a client that saw its
//! last layout may be about to fetch it. Nodes that give Consul a lost layout back write its parts first,
//! and again when they see it there.

use std::collections::BTreeSet;

use kv_consul::Read;
use kv_core::layout::{Blob, Document, Layout, Placement};

use crate::error::ReadLayoutError;
use crate::history::{PAST_LAYOUTS_MAX, PastLayout};
use crate::keys;
use crate::registry::Registry;

/// The most parts without use that are removed at a time; the next change goes on.
pub const COLLECTED_MAX: usize = 64;

/// The most standings that lie there after copies were admitted: as many as past layouts can name, and some.
pub const STANDINGS_MAX: usize = PAST_LAYOUTS_MAX + 32;

impl Registry {
    /// Removes the tables, strategies, lists of members and standings that neither the layout, nor a past one, nor one
    /// of the `spared` placements names, but no more than [`COLLECTED_MAX`] of them.
    ///
    /// # Errors
    /// Consul cannot be asked, or a layout is [unreadable](ReadLayoutError::Unreadable), so that what it
    /// refers to is not known.
    pub async fn collect_garbage(&self, spared: [&Placement; 2]) -> Result<(), ReadLayoutError> {
        let cluster = self.cluster();
        let folders = [
            keys::tables(cluster),
            keys::strategies(cluster),
            keys::member_lists(cluster),
            keys::standings(cluster),
        ];
        let spared = spared.into_iter().flat_map(|it| self.keys_named_by(it)).collect();
        self.collect(&folders, spared).await
    }

    /// Removes old standings, where that is due after a step from the layout `seen` to `next`.
    pub(crate) async fn after_step(&self, seen: &Layout, next: &Layout) {
        if next.standing.learners() < seen.standing.learners()
            && let Err(error) = self.collect_standings(seen).await
        {
            // The step is taken all the same, and the next one removes them.
            tracing::warn!("cannot remove old standings from Consul: {error}");
        }
    }

    async fn collect_standings(&self, seen: &Layout) -> Result<(), ReadLayoutError> {
        let folder = keys::standings(self.cluster());
        let there = self.consul().kv_keys(&folder, Read::default()).await?.value;
        match there.len() > STANDINGS_MAX {
            true => self.collect(&[folder], self.blobs_of(seen).collect()).await,
            false => Ok(()),
        }
    }

    async fn collect(
        &self,
        folders: &[String],
        spared: BTreeSet<String>,
    ) -> Result<(), ReadLayoutError> {
        let Some(layout) = self.layout_now().await? else { return Ok(()) };
        let readable = |PastLayout { key, layout }| {
            layout.map_err(|source| ReadLayoutError::Unreadable { key, source })
        };
        let past = self.past_layouts().await?.into_iter().map(readable);
        let past = past.collect::<Result<Vec<Layout>, _>>()?;
        let mut named = spared;
        for layout in past.iter().chain([&layout.value]) {
            named.extend(layout.placements().flat_map(|it| self.keys_named_by(it)));
            named.extend(self.blobs_of(layout));
        }
        let mut removed = 0;
        for prefix in folders {
            let keys = self.consul().kv_keys(prefix, Read::consistent()).await?.value;
            for key in keys.into_iter().filter(|key| !named.contains(key)) {
                if removed == COLLECTED_MAX {
                    return Ok(());
                }
                let Some(part) = self.get(&key).await? else { continue };
                if part.modify_index < layout.index
                    && self.consul().kv_delete_cas(&key, part.modify_index).await?
                {
                    tracing::debug!(key, "nothing refers to it any more: removed from Consul");
                    removed += 1;
                }
            }
        }
        Ok(())
    }

    fn keys_named_by(&self, placement: &Placement) -> [String; 3] {
        let cluster = self.cluster();
        let strategy = keys::strategy(cluster, &placement.strategy.sha256);
        let members = keys::blob(cluster, &Blob::Members(placement.members_digest()));
        [keys::table(cluster, &placement.table), strategy, members]
    }

    fn blobs_of(&self, layout: &Layout) -> impl Iterator<Item = String> {
        let blobs = Document::of(layout).blobs();
        blobs.into_iter().map(|it| keys::blob(self.cluster(), &it))
    }
}
