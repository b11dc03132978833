//! How the installed layout lies on disk: the layout, its table and its strategy as one record, so
//! that one durable write installs them all.
//!
//! It is two lengths (32 bits, little-endian), of the layout document and of the table, then the
//! document, the table and the strategy.

use kv_protocol::layout::{Layout, LayoutError};
use uuid::Uuid;

use crate::guard::Installed;

const LENGTHS_BYTES: usize = 8;

/// Lays out an installed layout.
#[must_use]
pub fn encode(installed: &Installed) -> Vec<u8> {
    let (document, table) = (installed.layout.to_json(), installed.table.to_bytes());
    let mut bytes =
        Vec::with_capacity(LENGTHS_BYTES + document.len() + table.len() + installed.strategy.len());
    for part in [&document, &table] {
        let length = u32::try_from(part.len()).expect("documents and tables are far below 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.extend_from_slice(&document);
    bytes.extend_from_slice(&table);
    bytes.extend_from_slice(&installed.strategy);
    bytes
}

/// Reads an installed layout back, for the node with this `uuid`.
///
/// # Errors
/// [`LayoutError`] where the bytes are not what [`encode`] made.
pub fn decode(bytes: &[u8], uuid: Uuid) -> Result<Installed, LayoutError> {
    let parts = split(bytes)
        .ok_or_else(|| LayoutError::Invalid("its stored record is cut short".into()))?;
    let [document, table, strategy] = parts;
    Installed::new(Layout::parse(document)?, table, strategy.to_vec(), uuid)
}

fn split(bytes: &[u8]) -> Option<[&[u8]; 3]> {
    let (document_bytes, rest) = bytes.split_first_chunk::<4>()?;
    let (table_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (document, rest) = rest.split_at_checked(u32::from_le_bytes(*document_bytes) as usize)?;
    let (table, strategy) = rest.split_at_checked(u32::from_le_bytes(*table_bytes) as usize)?;
    Some([document, table, strategy])
}
