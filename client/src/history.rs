//! Past layouts. A layout that is at rest is kept in Consul, beside the strategies and tables that it
//! names, before a rebalance begins that takes its place. So what was placed where, and why, can be
//! computed again.

use kv_consul::Read;
use kv_core::layout::{Layout, LayoutError};
use kv_registry::keys;
use uuid::Uuid;

use crate::cluster::Registry;
use crate::error::ClientError;
use crate::limits::PAST_LAYOUTS_MAX;

/// Keeps a layout that is at rest, in place of the oldest one where there are too many.
///
/// # Errors
/// Consul cannot be asked.
pub async fn keep(registry: &Registry, layout: &Layout) -> Result<(), ClientError> {
    let Registry { consul, cluster, .. } = registry;
    let key = keys::past_layout(cluster, layout.epoch);
    consul.kv_put(&key, &layout.to_json()).await?;
    // Only their keys, since all of them together may be larger than what is read at once.
    let kept = consul.kv_keys(&keys::past_layouts(cluster), Read::consistent()).await?.value;
    let excess = kept.len().saturating_sub(PAST_LAYOUTS_MAX);
    for key in &kept[..excess] {
        // Another client may have removed it already.
        consul.kv_delete(key).await?;
    }
    Ok(())
}

/// All past layouts that are kept, with their keys, also those of a cluster that had the same name before.
///
/// # Errors
/// Consul cannot be asked.
pub async fn all(
    registry: &Registry,
) -> Result<Vec<(String, Result<Layout, LayoutError>)>, ClientError> {
    let prefix = keys::past_layouts(&registry.cluster);
    let keys = registry.consul.kv_keys(&prefix, Read::consistent()).await?.value;
    let mut layouts = Vec::new();
    for key in keys {
        // One that is gone since then is too old to be kept.
        if let Some(entry) = registry.consul.kv_get(&key, Read::consistent()).await?.value {
            layouts.push((key, Layout::parse(&entry.value)));
        }
    }
    Ok(layouts)
}

/// The past layouts of the cluster with this identity that are kept and are from before the epoch
/// `before`, the oldest first.
///
/// # Errors
/// Consul cannot be asked.
pub async fn kept(
    registry: &Registry,
    cluster: Uuid,
    before: u64,
) -> Result<Vec<Layout>, ClientError> {
    let mut layouts = Vec::new();
    for (key, layout) in all(registry).await? {
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
