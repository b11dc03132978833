//! How the installed layout lies on disk: the layout and all that belongs to it as one record, so
//! that one durable write installs it.
//!
//! After eight bytes that say what it is, it is a sequence of parts, each with its length (32 bits,
//! little-endian) before it: the layout document; the epochs since which each partition has been
//! assigned as it is (64 bits each, little-endian); the tables of the document's placements; the
//! strategies that it names, each once.

use kv_protocol::layout::{Layout, LayoutError};
use uuid::Uuid;

use crate::installed::Installed;

/// What the record starts with: its kind and the version of its form.
const MARK: [u8; 8] = *b"kvnode\0\x02";

/// Lays out an installed layout.
#[must_use]
pub fn encode(installed: &Installed) -> Vec<u8> {
    let since = installed.all_since().iter().flat_map(|epoch| epoch.to_le_bytes()).collect();
    let mut parts = vec![installed.layout.to_json(), since];
    parts.extend(installed.tables.iter().map(kv_protocol::layout::Table::to_bytes));
    let parts = parts.iter().chain(&installed.strategies);
    let mut bytes = MARK.to_vec();
    for part in parts {
        let length = u32::try_from(part.len()).expect("each part is far below 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Reads an installed layout back, for the node with this `uuid`.
///
/// # Errors
/// [`LayoutError`] where the bytes are not what [`encode`] made.
pub fn decode(bytes: &[u8], uuid: Uuid) -> Result<Installed, LayoutError> {
    let invalid = |problem: &str| LayoutError::Invalid(format!("its stored record {problem}"));
    let Some(rest) = bytes.strip_prefix(&MARK) else {
        return Err(invalid(
            "was written by another version of kvnode: use that one, or start with a new data directory",
        ));
    };
    let parts = split(rest).ok_or_else(|| invalid("is cut short"))?;
    let [document, since, rest @ ..] = parts.as_slice() else {
        return Err(invalid("is cut short"));
    };
    let layout = Layout::parse(document)?;
    let (tables, strategies) = rest
        .split_at_checked(layout.placements().count())
        .ok_or_else(|| invalid("is cut short"))?;
    let owned = |parts: &[&[u8]]| parts.iter().map(|it| it.to_vec()).collect::<Vec<_>>();
    let (epochs, odd) = since.as_chunks::<8>();
    if !odd.is_empty() {
        return Err(invalid("is cut short"));
    }
    let since = epochs.iter().map(|it| u64::from_le_bytes(*it)).collect();
    Installed::restored(layout, &owned(tables), owned(strategies), uuid, since)
}

fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}
