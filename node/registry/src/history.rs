//! Past layouts. One that is at rest is kept, beside the strategies and tables that it names, before a
//! rebalance begins that takes its place. So what was placed where, and why, can be computed again, and
//! an operator can publish it again.
//!
//! Keys `history/<epoch>`, the epoch as twenty digits, so that keys are in the order of epochs; JSON of a
//! [`Document`](kv_core::layout::Document), at most [`VALUE_BYTES_MAX`](kv_consul::VALUE_BYTES_MAX) bytes each, and
//! [`PAST_LAYOUTS_MAX`] of them.

use kv_consul::{ConsulError, Read};
use kv_core::installed::Installed;
use kv_core::layout::{Layout, LayoutError};
use uuid::Uuid;

use crate::keys;
use crate::registry::Registry;

/// The past layouts that are kept; the oldest go first.
pub const PAST_LAYOUTS_MAX: usize = 64;

/// What stands at the key of a past layout.
#[derive(Debug)]
pub struct PastLayout {
    /// The key, for messages to people.
    pub key: String,
    /// The layout, or why the value there cannot be read as one.
    pub layout: Result<Layout, LayoutError>,
}

impl Registry {
    /// Keeps a layout that is at rest, in place of the oldest one where there are too many.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn keep_past_layout(&self, layout: &Layout) -> Result<(), ConsulError> {
        let (consul, cluster) = (self.consul(), self.cluster());
        self.put_blobs(layout, None, layout.epoch).await?;
        consul.kv_put(&keys::past_layout(cluster, layout.epoch), &layout.to_json()).await?;
        // Only their keys, since all of them together may be larger than one read may be.
        let kept = consul.kv_keys(&keys::past_layouts(cluster), Read::consistent()).await?.value;
        let excess = kept.len().saturating_sub(PAST_LAYOUTS_MAX);
        for key in &kept[..excess] {
            // Another client may have removed it already.
            consul.kv_delete(key).await?;
        }
        Ok(())
    }

    /// Puts the layout that a node has installed among the past ones, with what belongs to it, unless it
    /// is there.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn keep_installed(&self, installed: &Installed) -> Result<(), ConsulError> {
        let key = keys::past_layout(self.cluster(), installed.layout.epoch);
        let there = self.consul().kv_get(&key, Read::default()).await?.value;
        let there = match &there {
            Some(entry) => Some(self.found(entry).await?),
            None => None,
        };
        // Mostly the mover, or another node, has put it there; but any process that can write to Consul may
        // have put something else.
        let is_it = |it: &Result<Layout, _>| it.as_ref().is_ok_and(|it| *it == installed.layout);
        if there.as_ref().is_some_and(|it| is_it(&it.value)) {
            return Ok(());
        }
        self.restore_parts(installed).await?;
        let index = there.map_or(0, |it| it.index);
        self.consul().kv_put_cas(&key, &installed.layout.to_json(), index).await?;
        Ok(())
    }

    /// All past layouts that are kept, also those of a cluster that had the same name before.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn past_layouts(&self) -> Result<Vec<PastLayout>, ConsulError> {
        let prefix = keys::past_layouts(self.cluster());
        let keys = self.consul().kv_keys(&prefix, Read::consistent()).await?.value;
        let mut layouts = Vec::new();
        for key in keys {
            // One that is gone since then is too old to be kept.
            if let Some(entry) = self.get(&key).await? {
                let layout = self.found(&entry).await?.value;
                layouts.push(PastLayout { key, layout });
            }
        }
        Ok(layouts)
    }

    /// The past layouts of the cluster with this identity that are kept and are from before the epoch
    /// `before`, the oldest first. Those that cannot be read are passed over.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn past_layouts_of(
        &self,
        cluster: Uuid,
        before: u64,
    ) -> Result<Vec<Layout>, ConsulError> {
        let mut layouts = Vec::new();
        for PastLayout { key, layout } in self.past_layouts().await? {
            match layout {
                Ok(layout) => layouts.push(layout),
                // It is no reason to do without the others.
                Err(error) => tracing::warn!("{key} in Consul is passed over: {error}"),
            }
        }
        // There may be some of a cluster that had the same name before.
        layouts.retain(|it| it.cluster == cluster && it.epoch < before);
        layouts.sort_by_key(|layout| layout.epoch);
        Ok(layouts)
    }
}
