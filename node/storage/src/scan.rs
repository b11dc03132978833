//! Going through the records in order: those of the engine, with the memtables' changes over them.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use sled::InlineArray;

use crate::changes::Changes;
use crate::engine::{Engine, classify};
use crate::memtable::Memtables;
use crate::{Entry, StorageKey, Store, StoreError};

/// How many changes are taken from a memtable at once, at first and at most.
const CHUNK_MIN: usize = 16;
const CHUNK_MAX: usize = 1024;

/// Where a scan starts.
#[derive(Clone, Copy, Debug)]
pub enum ScanStart<'a> {
    /// With the first key of this hash or above.
    Hash(u64),
    /// After this key.
    After(&'a str),
}

/// How a scan goes on after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// With the next record.
    Next,
    /// With the first record of this hash or above, which must be above the record's own.
    Jump(u64),
    /// Not at all.
    Stop,
}

impl Store {
    /// Hands the records from `start` on to `visit`, in the order of their hashes, which says how to
    /// go on, until there are no more.
    ///
    /// # Errors
    /// As [`Store::get`], and what `visit` reports; the scan ends there.
    pub fn scan(
        &self,
        start: ScanStart<'_>,
        mut visit: impl FnMut(Entry<'_>) -> Result<Visit, StoreError>,
    ) -> Result<(), StoreError> {
        let mut start = match start {
            ScanStart::Hash(hash) => Bound::Included(StorageKey::first_of_hash(hash)),
            ScanStart::After(key) => Bound::Excluded(StorageKey::new(key)),
        };
        let memtables = self.shared.memtables.load_full();
        self.with_engine(|engine| {
            while let Some(hash) = run(engine, &memtables, start, &mut visit)? {
                start = Bound::Included(StorageKey::first_of_hash(hash));
            }
            Ok(())
        })
    }
}

/// Visits records from `start` on. Returns the hash to which the scan jumps; `None` where it ends.
fn run(
    engine: &Engine,
    memtables: &Memtables,
    start: Bound<StorageKey>,
    visit: &mut impl FnMut(Entry<'_>) -> Result<Visit, StoreError>,
) -> Result<Option<u64>, StoreError> {
    // They begin before the engine is looked at, which has what they have given up until then.
    let mut overlays: Vec<Overlay> =
        memtables.newest_first().map(|it| Overlay::new(it, start.clone())).collect();
    let from = start.map(|key| InlineArray::from(key.to_bytes()));
    let mut stored = engine.data.range((from, Bound::Unbounded));
    let mut next_stored = stored.next().transpose().map_err(classify)?;
    loop {
        let change = next_change(&mut overlays);
        let parts = match &next_stored {
            Some((key, _)) => Some(StorageKey::parse(key).ok_or_else(|| {
                StoreError::RecordCorrupt("a key in the engine is not a record's".into())
            })?),
            None => None,
        };
        let order = match (&change, parts) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(parts)) => key.parts().cmp(&parts),
        };
        let visited = match (&change, order) {
            (Some((_, None)), Ordering::Less | Ordering::Equal) => Ok(Visit::Next),
            (Some((key, Some(record))), Ordering::Less | Ordering::Equal) => {
                look_at(Entry::new(key.parts(), record), visit)
            }
            _ => match (&next_stored, parts) {
                (Some((_, record)), Some(parts)) => look_at(Entry::new(parts, record), visit),
                _ => return Ok(None),
            },
        }?;
        match visited {
            Visit::Jump(hash) => return Ok(Some(hash)),
            Visit::Stop => return Ok(None),
            Visit::Next => {}
        }
        if let Some((key, _)) = change.filter(|_| order.is_le()) {
            overlays.iter_mut().for_each(|it| it.pass(&key));
        }
        if order.is_ge() {
            next_stored = stored.next().transpose().map_err(classify)?;
        }
    }
}

/// Visits a record. A jump that does not lead further counts as no jump.
fn look_at(
    entry: Entry<'_>,
    visit: &mut impl FnMut(Entry<'_>) -> Result<Visit, StoreError>,
) -> Result<Visit, StoreError> {
    Ok(match visit(entry)? {
        Visit::Jump(hash) if hash <= entry.hash => Visit::Next,
        visited => visited,
    })
}

/// The next changed key with its newest record.
fn next_change(overlays: &mut [Overlay]) -> Option<(StorageKey, Option<Bytes>)> {
    let mut next: Option<&(StorageKey, Option<Bytes>)> = None;
    for overlay in overlays {
        let candidate = overlay.peek();
        // Of one key, the first overlay's record is the newest.
        if let Some(candidate) = candidate
            && next.is_none_or(|next| candidate.0 < next.0)
        {
            next = Some(candidate);
        }
    }
    next.cloned()
}

/// A memtable that is gone through. It is locked only for a moment now and then.
struct Overlay {
    changes: Arc<dyn Changes>,
    ahead: VecDeque<(StorageKey, Option<Bytes>)>,
    /// Where the next chunk begins; `None` after the last one.
    rest: Option<Bound<StorageKey>>,
    chunk: usize,
}

impl Overlay {
    fn new(changes: Arc<dyn Changes>, start: Bound<StorageKey>) -> Self {
        changes.begin_scan();
        let ahead = VecDeque::new();
        Self { changes, ahead, rest: Some(start), chunk: CHUNK_MIN }
    }

    fn peek(&mut self) -> Option<&(StorageKey, Option<Bytes>)> {
        if self.ahead.is_empty()
            && let Some(start) = self.rest.take()
        {
            self.ahead = self.changes.range(start.as_ref(), self.chunk).into();
            let is_last = self.ahead.len() < self.chunk;
            self.rest =
                self.ahead.back().filter(|_| !is_last).map(|(it, _)| Bound::Excluded(it.clone()));
            self.chunk = CHUNK_MAX.min(self.chunk * 4);
        }
        self.ahead.front()
    }

    /// Goes on behind `key`.
    fn pass(&mut self, key: &StorageKey) {
        if self.ahead.front().is_some_and(|(it, _)| it == key) {
            self.ahead.pop_front();
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        self.changes.end_scan();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kv_core::version::Version;

    use super::*;
    use crate::{Batch, Before, Counters, Fsync, StoreOptions};

    const KEYS: u64 = 10_000;

    fn write(store: &Store, numbers: impl Iterator<Item = u64>, sequence: u64) {
        let mut batch = Batch::default();
        for number in numbers {
            let version = Version { epoch: 1, sequence };
            batch.put(
                StorageKey::new(&number.to_string()),
                version,
                Some(&[0; 100]),
                Before::Unknown,
            );
        }
        store.commit(batch, Counters { keys: KEYS, sequence, ..Counters::default() }).unwrap();
        store.checkpoint_soon().unwrap();
    }

    /// The engine has what it took over, and a scan may have looked at its records of before.
    #[test]
    fn a_scan_finds_the_newest_while_the_engine_takes_it_over_piece_by_piece() {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions { engine_bytes: 8 << 20, ..Fsync::EverySecond.into() };
        let store = Store::open(directory.path(), options).unwrap();
        let wait_until_taken_over = || {
            let deadline = Instant::now() + Duration::from_secs(60);
            while store.shared.memtables.load().frozen.is_some() {
                assert!(Instant::now() < deadline, "the engine hangs");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        // So that pages have more records than a scan takes from a memtable at first.
        write(&store, (0..KEYS).filter(|it| it % 4 > 0), 1);
        wait_until_taken_over();
        write(&store, 0..KEYS, 1);
        wait_until_taken_over();
        for sequence in 2..20 {
            let mut seen = 0;
            write(&store, 0..KEYS, sequence);
            store
                .scan(ScanStart::Hash(u64::MAX / 20 * sequence), |entry| {
                    if seen == 0 {
                        wait_until_taken_over();
                    }
                    seen += 1;
                    assert_eq!(entry.decode().unwrap().version.sequence, sequence, "{seen}");
                    Ok(Visit::Next)
                })
                .unwrap();
            assert!(seen > KEYS / 40, "{seen} of {sequence}");
        }
    }
}
