//! Reads of what moves from one node to another: the records, and the digests that both must agree
//! on before the move counts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kv_core::guard::Admitted;
use kv_core::layout::Side;
use kv_core::limits::{DIGEST_RECORDS_MAX, PAGE_BYTES_TARGET, STREAM_RECORDS_MAX};
use kv_core::partition::{Partition, key_hash};
use kv_core::refusal::{Refusal, bad_request};
use kv_core::version::Version;
use kv_protocol::record_stream::{self, StreamRecord, fingerprint};
use kv_protocol::reply::{MoveDigest, PartitionDigest, Records};
use kv_protocol::request::{Digest, Fetch};
use kv_storage::{ScanStart, Store};

use super::walk;
use crate::refusals::from_store;

/// Reads one page of what moves from this node to another.
///
/// # Errors
/// Why it was refused.
pub fn fetch(
    store: &Store,
    admitted: Admitted<'_>,
    request: &Fetch<'_>,
) -> Result<Records, Refusal> {
    admitted.check_exact("FETCH")?;
    let installed = admitted.installed();
    let moves = |it| installed.open_move(it) == Some((Side::Source, request.to));
    let start = match request.after.as_deref() {
        Some(after) if !moves(installed.partition_of(after)) => {
            return Err(bad_request("\"after\" is not a key that moves there"));
        }
        after => start_after(after),
    };
    let mut page = Records::default();
    let mut last = None;
    let outcome = walk(store, installed, start, moves, |_, entry| {
        let size = entry.key.len() + entry.value_bytes().map_or(0, |it| it as usize);
        let is_full = page.records as usize >= STREAM_RECORDS_MAX
            || (page.records > 0 && page.stream.len() + size > PAGE_BYTES_TARGET);
        if is_full {
            page.next = last.take();
            return Ok(ControlFlow::Break(()));
        }
        let record = entry.decode()?;
        // Tombstones of earlier moves are as good as nothing.
        if let Some(value) = record.value {
            let (key, version, value) = (entry.key, record.version, Some(value));
            record_stream::push(&mut page.stream, &StreamRecord { key, version, value });
            page.records += 1;
            last = Some(entry.key.to_owned());
        }
        Ok(ControlFlow::Continue(()))
    });
    outcome.map_err(|error| from_store(&error))?;
    Ok(page)
}

/// Digests a stretch of what moves between this node and another. At a destination no write may
/// happen meanwhile.
///
/// # Errors
/// Why it was refused.
pub fn digest(
    store: &Store,
    admitted: Admitted<'_>,
    request: &Digest<'_>,
) -> Result<MoveDigest, Refusal> {
    admitted.check_exact("DIGEST")?;
    if request.side == Side::Source && request.until.is_some() {
        return Err(bad_request("\"until\" is not a member of DIGEST at a source"));
    }
    let installed = admitted.installed();
    let moves = |it| installed.open_move(it) == Some((request.side, request.peer));
    let until = request.until.as_deref().map(|key| (key_hash(key), key));
    let mut sums = Sums::default();
    let mut answer = MoveDigest::default();
    let mut records_read = 0;
    let start = start_after(request.after.as_deref());
    let outcome = walk(store, installed, start, moves, |partition, entry| {
        if until.is_some_and(|until| (entry.hash, entry.key) > until) {
            return Ok(ControlFlow::Break(()));
        }
        let record = entry.decode()?;
        let was_copied = record.version.epoch < installed.since(partition);
        match (record.value, request.side) {
            (Some(value), Side::Source) => sums.add(partition, entry.key, record.version, value),
            (None, Side::Source) => {}
            (Some(value), Side::Destination) if was_copied => {
                sums.add(partition, entry.key, record.version, value);
            }
            // A tombstone came by a write here, even where it bears an older version.
            (_, Side::Destination) => answer.written.push(entry.key.to_owned()),
        }
        records_read += 1;
        // A source has said how far the stretch goes, so only what was written here can be much.
        let counted = match request.side {
            Side::Source => records_read,
            Side::Destination => answer.written.len(),
        };
        if counted >= DIGEST_RECORDS_MAX {
            answer.next = Some(entry.key.to_owned());
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    });
    outcome.map_err(|error| from_store(&error))?;
    answer.partitions = sums.into_digests();
    Ok(answer)
}

fn start_after(after: Option<&str>) -> ScanStart<'_> {
    after.map_or(ScanStart::Hash(0), ScanStart::After)
}

/// The number of records of each partition, and the sum of their fingerprints.
#[derive(Default)]
struct Sums(BTreeMap<Partition, (u64, u64)>);

impl Sums {
    fn add(&mut self, partition: Partition, key: &str, version: Version, value: &[u8]) {
        let (records, fingerprints) = self.0.entry(partition).or_default();
        *records += 1;
        *fingerprints = fingerprints.wrapping_add(fingerprint(key, version, Some(value)));
    }

    fn into_digests(self) -> Vec<PartitionDigest> {
        let digest = |(partition, (records, fingerprints))| PartitionDigest {
            partition,
            records,
            fingerprints,
        };
        self.0.into_iter().map(digest).collect()
    }
}
