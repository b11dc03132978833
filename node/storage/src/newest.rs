//! Leaving only the newest change of each key of a segment, when the node starts: where keys were written again and
//! again, a segment is many times as long as what counts of it, and would be in memory until the engine has it.

use std::collections::HashSet;

use bytes::Bytes;
use rayon::slice::ParallelSliceMut;

use crate::batch;
use crate::replayed::{Found, Read};
use crate::wal::{Malformed, Segment};

/// The segment with only the newest change of each key, where those are no more than half of it.
pub(crate) fn newest_of(segment: Segment<Read>) -> Segment<Read> {
    let changes: usize = segment.taken.iter().map(|read| read.changes.len()).sum();
    let newest = newest_changes(&segment);
    if newest.len() > changes / 2 {
        return segment;
    }
    // It was read before, so that it can be read again.
    copy(&segment, newest).unwrap_or(segment)
}

/// The places of the newest change of each key, in their order.
fn newest_changes(segment: &Segment<Read>) -> Vec<Found> {
    let mut changes: Vec<Found> =
        segment.taken.iter().flat_map(|read| &read.changes).copied().collect();
    changes.par_sort_unstable();
    let key = |found: &Found| {
        batch::read_change(&segment.bytes, found.1 as usize).map_or("", |change| change.key)
    };
    let mut newest = Vec::new();
    for of_hash in changes.chunk_by(|one, next| one.0 == next.0) {
        let Some((last, before)) = of_hash.split_last() else { continue };
        newest.push(*last);
        let last_key = key(last);
        if before.iter().any(|it| key(it) != last_key) {
            // Keys with one hash, of which there can be as many as an attacker likes.
            let mut seen = HashSet::from([last_key]);
            newest.extend(before.iter().rev().filter(|it| seen.insert(key(it))));
        }
    }
    newest.par_sort_unstable_by_key(|it| it.1);
    newest
}

fn copy(segment: &Segment<Read>, mut newest: Vec<Found>) -> Result<Segment<Read>, Malformed> {
    let mut bytes = Vec::with_capacity(segment.bytes.len() / 2);
    for (_, place) in &mut newest {
        let at = *place as usize;
        let end = batch::read_change(&segment.bytes, at)?.rest.end;
        *place = bytes.len() as u64;
        bytes.extend_from_slice(&segment.bytes[at..end]);
    }
    let layout = segment.taken.iter().rev().find_map(|read| read.layout.clone());
    let layout = layout.map(|layout| {
        let at = bytes.len();
        bytes.extend_from_slice(&segment.bytes[layout]);
        at..bytes.len()
    });
    bytes.shrink_to_fit();
    let taken = Read {
        changes: newest,
        bytes: bytes.len() as u64,
        counters: segment.taken.iter().rev().find_map(|read| read.counters),
        layout,
    };
    Ok(Segment { bytes: Bytes::from(bytes), taken: vec![taken] })
}
