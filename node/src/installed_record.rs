//! How the installed layout lies on disk: the layout and all that belongs to it as one record, so
//! that one durable write installs it.
//!
//! After eight bytes that say what it is, it is a sequence of parts, each with its length (32 bits,
//! little-endian) before it: the layout document; the epochs since which each partition has been
//! assigned as it is (64 bits each, little-endian); the partitions that the node keeps, each (32 bits)
//! with a byte that says as what it held it; the data directories to which it has handed over partitions, to
//! be verified (128 bits each); the text of the node's last run, by which a store is found out that was put
//! back without the rest of its data directory; the lists of members that the document names, each once, and
//! the standing, where it names one; the tables of its placements; the strategies that it names, each once.
//! Records of the forms before are read: one had no run, and the one before it neither the kept partitions nor
//! those that were handed over. Documents of the format before name no lists.

use std::collections::BTreeMap;

use kv_core::layout::{Document, LayoutError};
use kv_core::partition::Partition;
use uuid::Uuid;

use kv_core::installed::Installed;
use kv_core::ownership::Role;

/// What the record starts with: its kind and the version of its form.
const MARK: [u8; 8] = *b"kvnode\0\x04";
/// What records of the forms before start with, each with the place of the first part that it lacks, and
/// how many it lacks there.
const MARKS_BEFORE: [([u8; 8], usize, usize); 2] =
    [(*b"kvnode\0\x03", 4, 1), (*b"kvnode\0\x02", 2, 3)];
/// The roles as which a node can have held what it keeps, by their numbers in the record.
const HELD_AS: [Role; 7] = [
    Role::Owner,
    Role::FrozenSource,
    Role::Destination { has_source: true },
    Role::Destination { has_source: false },
    // Where no mover has verified what it handed over.
    Role::Source,
    Role::Backup,
    Role::Learner,
];

/// Lays out an installed layout.
#[must_use]
pub fn encode(installed: &Installed) -> Vec<u8> {
    let since = installed.all_since().iter().flat_map(|epoch| epoch.to_le_bytes()).collect();
    let digested = installed.digested().into_iter().flat_map(Uuid::into_bytes).collect();
    let kept = installed.kept().iter().flat_map(|(partition, held)| {
        // Any other role is none as which records are kept, and is found out when it is read.
        let number = HELD_AS.iter().position(|it| it == held).unwrap_or(HELD_AS.len());
        partition.0.to_le_bytes().into_iter().chain([u8::try_from(number).unwrap_or(u8::MAX)])
    });
    let begun = installed.begun().map_or_else(Vec::new, |it| it.to_string().into_bytes());
    let mut parts = vec![installed.layout.to_json(), since, kept.collect(), digested, begun];
    parts.extend(installed.layout.blobs());
    parts.extend(installed.tables.iter().map(kv_core::layout::Table::to_bytes));
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
    let known = [(MARK, 0, 0)].into_iter().chain(MARKS_BEFORE);
    let mut read =
        known.filter_map(|(mark, at, lacks)| Some((bytes.strip_prefix(&mark)?, at, lacks)));
    let Some((rest, at, lacks)) = read.next() else {
        return Err(invalid(
            "was written by another version of kvnode: use that one, or start with a new data directory",
        ));
    };
    let mut parts = split(rest).ok_or_else(|| invalid("is cut short"))?;
    let at = parts.len().min(at);
    parts.splice(at..at, std::iter::repeat_n(&[][..], lacks));
    let [document, since, kept, digested, begun, rest @ ..] = parts.as_slice() else {
        return Err(invalid("is cut short"));
    };
    let document = Document::parse(document)?;
    let (blobs, rest) =
        rest.split_at_checked(document.blobs().len()).ok_or_else(|| invalid("is cut short"))?;
    let layout = document.layout(&blobs.iter().map(|it| it.to_vec()).collect::<Vec<_>>())?;
    let (tables, strategies) = rest
        .split_at_checked(layout.placements().count())
        .ok_or_else(|| invalid("is cut short"))?;
    let owned = |parts: &[&[u8]]| parts.iter().map(|it| it.to_vec()).collect::<Vec<_>>();
    let (epochs, odd) = since.as_chunks::<8>();
    if !odd.is_empty() {
        return Err(invalid("is cut short"));
    }
    let since = epochs.iter().map(|it| u64::from_le_bytes(*it)).collect();
    let kept = read_kept(kept).ok_or_else(|| invalid("names what cannot be kept"))?;
    let (digested, odd) = digested.as_chunks::<16>();
    if !odd.is_empty() {
        return Err(invalid("is cut short"));
    }
    let digested = digested.iter().copied().map(Uuid::from_bytes).collect();
    let begun = match std::str::from_utf8(begun) {
        Ok("") => None,
        begun => {
            let begun = begun.ok().and_then(|it| it.parse().ok());
            Some(begun.ok_or_else(|| invalid("names no run of the node"))?)
        }
    };
    let (tables, strategies) = (owned(tables), owned(strategies));
    let installed = Installed::restored(layout, &tables, strategies, uuid, since, kept, digested)?;
    Ok(installed.begun_by(begun))
}

fn read_kept(bytes: &[u8]) -> Option<BTreeMap<Partition, Role>> {
    let (entries, odd) = bytes.as_chunks::<5>();
    let read = |[a, b, c, d, number]: &[u8; 5]| {
        let held = HELD_AS.get(usize::from(*number))?;
        Some((Partition(u32::from_le_bytes([*a, *b, *c, *d])), *held))
    };
    odd.is_empty().then(|| entries.iter().map(read).collect())?
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
