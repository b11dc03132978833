//! The layout as it is in Consul, and the next one in its place.

use kv_core::layout::{Layout, Table};
use kvclient::admin::{Discovery, View};

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
pub(crate) async fn look(discovery: &Discovery) -> Result<Seen, RebalanceError> {
    let Some(found) = discovery.registry.layout_now().await? else {
        return Err(RebalanceError::NoLayout { cluster: discovery.registry.cluster().to_string() });
    };
    let tables = discovery.tables(&found.value).await?;
    let view = discovery.view(found.value, &discovery.instances().await?).await?;
    Ok(Seen { view, tables, index: found.index })
}

/// Sets the layout, if it is still the one that was seen. Returns whether it was. Where this brings it
/// to rest, what is to be done about nodes that leave is written down first.
pub(crate) async fn set(
    discovery: &Discovery,
    seen: &Seen,
    next: &Layout,
) -> Result<bool, RebalanceError> {
    if next.rebalance.is_none() {
        leaving::note(discovery, &seen.view.layout, next).await?;
    }
    Ok(discovery.registry.step_layout(&seen.view.layout, seen.index, next).await?)
}
