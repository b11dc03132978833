//! The layout as it is in Consul, and the next one in its place.

use kv_consul::Read;
use kv_core::layout::{Layout, Table};
use kv_registry::keys;
use kvclient::admin::{Registry, View, read_layout};

use crate::error::RebalanceError;
use crate::leaving;

/// A layout as it was seen, with what belongs to it.
pub(crate) struct Seen {
    pub(crate) view: View,
    /// The tables of the layout's placements.
    pub(crate) tables: Vec<Table>,
    /// The document's index, for a compare-and-set.
    pub(crate) index: u64,
}

/// Looks at the layout as it is now.
pub(crate) async fn look(registry: &Registry) -> Result<Seen, RebalanceError> {
    let key = keys::layout(&registry.cluster);
    let entry = registry.consul.kv_get(&key, Read::consistent()).await?.value;
    let Some(entry) = entry else {
        return Err(RebalanceError::NoLayout { cluster: registry.cluster.to_string() });
    };
    let layout = read_layout(&entry)?;
    let tables = registry.tables(&layout).await?;
    let view = registry.view(layout, &registry.instances().await?).await?;
    Ok(Seen { view, tables, index: entry.modify_index })
}

/// Sets the layout, if it is still the one that was seen. Returns whether it was. Where this brings it
/// to rest, what is to be done about nodes that leave is written down first.
pub(crate) async fn set(
    registry: &Registry,
    seen: &Seen,
    next: &Layout,
) -> Result<bool, RebalanceError> {
    if next.rebalance.is_none() {
        leaving::note(registry, &seen.view.layout, next).await?;
    }
    let key = keys::layout(&registry.cluster);
    Ok(registry.consul.kv_put_cas(&key, &next.to_json(), seen.index).await?)
}
