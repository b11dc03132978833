//! Leaving only the newest change of each key of a segment, when the node starts: where keys were written again and
//! again, a segment is many times as long as what counts of it, and would be in memory until the engine has it.
//!
//! What is left says what there was before all changes of its key, so that sums change by it as by all of them.

use std::collections::HashMap;

use bytes::Bytes;
use rayon::slice::ParallelSliceMut;

use crate::batch::{self, Before};
use crate::replayed::{Found, Read};
use crate::wal::{Malformed, Segment};

/// The newest change of a key.
struct Newest {
    found: Found,
    /// What there was before the first change of the key, where all its changes say what there was.
    before: Before,
}

impl Newest {
    /// A newer change of the key takes its place.
    fn give_way(&mut self, found: Found, before: Before) {
        self.found = found;
        if before == Before::Unknown {
            self.before = Before::Unknown;
        }
    }
}

/// The segment with only the newest change of each key, where those are no more than half of it. One in which sums
/// begin to be kept stays as it is: the changes before that do not count in them.
pub(crate) fn newest_of(segment: Segment<Read>) -> Segment<Read> {
    if segment.taken.iter().any(|read| read.sums_begun.is_some()) {
        return segment;
    }
    let changes: usize = segment.taken.iter().map(|read| read.changes.len()).sum();
    let newest = newest_changes(&segment).ok().filter(|newest| newest.len() <= changes / 2);
    // It was read before, so that it can be read again.
    newest.and_then(|newest| copy(&segment, newest).ok()).unwrap_or(segment)
}

/// The newest change of each key, in the order of their places.
fn newest_changes(segment: &Segment<Read>) -> Result<Vec<Newest>, Malformed> {
    let mut changes: Vec<Found> =
        segment.taken.iter().flat_map(|read| &read.changes).copied().collect();
    changes.par_sort_unstable();
    let mut newest = Vec::new();
    // Of keys with the hash of another key, of which there can be as many as an attacker likes.
    let mut others: HashMap<&str, Newest> = HashMap::new();
    for of_hash in changes.chunk_by(|one, next| one.0 == next.0) {
        let mut first: Option<(&str, Newest)> = None;
        for found in of_hash.iter().copied() {
            let change = batch::read_change(&segment.bytes, found.1 as usize)?;
            let new = Newest { found, before: change.before };
            match &mut first {
                None => first = Some((change.key, new)),
                Some((key, newest)) if *key == change.key => newest.give_way(found, new.before),
                Some(_) => {
                    others.entry(change.key).or_insert(new).give_way(found, change.before);
                }
            }
        }
        newest.extend(first.map(|(_, newest)| newest));
        newest.extend(others.drain().map(|(_, newest)| newest));
    }
    newest.par_sort_unstable_by_key(|it| it.found.1);
    Ok(newest)
}

fn copy(segment: &Segment<Read>, newest: Vec<Newest>) -> Result<Segment<Read>, Malformed> {
    let mut bytes = Vec::with_capacity(segment.bytes.len() / 2);
    let mut changes = Vec::with_capacity(newest.len());
    for Newest { found: (hash, place), before } in newest {
        let change = batch::read_change(&segment.bytes, place as usize)?;
        changes.push((hash, bytes.len() as u64));
        let rest = &segment.bytes[change.rest];
        batch::append_change(&mut bytes, (change.kind, before), change.key, |bytes| {
            bytes.extend_from_slice(rest);
        });
    }
    let layout = segment.taken.iter().rev().find_map(|read| read.layout.clone());
    let layout = layout.map(|layout| {
        let at = bytes.len();
        bytes.extend_from_slice(&segment.bytes[layout]);
        at..bytes.len()
    });
    bytes.shrink_to_fit();
    let taken = Read {
        changes,
        bytes: bytes.len() as u64,
        counters: segment.taken.iter().rev().find_map(|read| read.counters),
        layout,
        sums_begun: None,
    };
    Ok(Segment { bytes: Bytes::from(bytes), taken: vec![taken] })
}
