//! The layout that Consul offers a node, put together with what belongs to it.

use kv_consul::ConsulError;
use kv_core::installed::{InstallError, Installed, strategy_digests};
use kv_core::layout::{Layout, LayoutError};
use kv_registry::parts::Part;
use kv_registry::{ReadLayoutError, Registry};
use uuid::Uuid;

/// Why a layout could not be fetched or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutsError {
    /// Consul did not do what was asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// What Consul holds is not a valid layout.
    #[error(
        "{key} in Consul: {source}: it is not installed. Where somebody has damaged it or made it up, delete it, and the nodes put theirs back"
    )]
    Layout {
        /// The key.
        key: String,
        /// How it is invalid.
        source: LayoutError,
    },
    /// The layout must not be installed here.
    #[error("{0}")]
    NotHere(InstallError),
    /// The layout names a table or strategy that Consul does not hold.
    #[error(
        "the layout names {key}, which Consul does not hold: a node that has it installed will restore it. Where somebody has made that layout up, delete {layout}, and the nodes put theirs back"
    )]
    Missing {
        /// The key.
        key: String,
        /// The layout's key.
        layout: String,
    },
}

impl From<ReadLayoutError> for LayoutsError {
    fn from(error: ReadLayoutError) -> Self {
        match error {
            ReadLayoutError::Consul(error) => Self::Consul(error),
            ReadLayoutError::Unreadable { key, source } => Self::Layout { key, source },
        }
    }
}

/// Fetches what belongs to `layout`, except what `previous` has of it, and puts it together for the
/// node with this `uuid` that has `previous` installed.
///
/// # Errors
/// [`LayoutsError`] where tables or strategies are missing or not those that the layout names, or
/// the layout must not be installed here.
pub async fn complete(
    registry: &Registry,
    layout: Layout,
    uuid: Uuid,
    previous: Option<&Installed>,
) -> Result<Installed, LayoutsError> {
    let mut tables = Vec::new();
    for placement in layout.placements() {
        let known = previous.into_iter().flat_map(|it| it.layout.placements().zip(&it.tables));
        let known = known.into_iter().find(|(it, _)| it.table == placement.table);
        tables.push(match known {
            Some((_, table)) => table.to_bytes(),
            None => bytes_of(registry.table(&placement.table).await?, registry)?,
        });
    }
    let mut strategies = Vec::new();
    for digest in strategy_digests(&layout) {
        let known = previous.into_iter();
        let mut known =
            known.flat_map(|it| strategy_digests(&it.layout).into_iter().zip(&it.strategies));
        strategies.push(match known.find(|(it, _)| *it == digest) {
            Some((_, bytes)) => bytes.clone(),
            None => bytes_of(registry.strategy(&digest).await?, registry)?,
        });
    }
    Installed::new(layout, &tables, strategies, uuid, previous).map_err(|error| match error {
        InstallError::Layout(source) => LayoutsError::Layout { key: registry.layout_key(), source },
        error => LayoutsError::NotHere(error),
    })
}

/// The bytes of what a layout names. Damaged ones are refused with the layout, where they are examined.
fn bytes_of(part: Part, registry: &Registry) -> Result<Vec<u8>, LayoutsError> {
    match part {
        Part::Whole(bytes) | Part::Damaged(bytes) => Ok(bytes),
        Part::Missing { key } => Err(LayoutsError::Missing { key, layout: registry.layout_key() }),
    }
}
