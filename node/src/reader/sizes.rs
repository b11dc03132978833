//! Reads of how much there is, and of which keys there are.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use kv_core::guard::{Admitted, Installed};
use kv_core::limits::DIGEST_RECORDS_MAX;
use kv_core::partition::Partition;
use kv_core::refusal::Refusal;
use kv_protocol::reply::{Counted, Keys, PartitionSize};
use kv_protocol::request::Count;
use kv_storage::{ScanStart, Store, Visit};

use super::walk;
use crate::refusals::from_store;

/// Counts the records of partitions that the node owns or hands over. Those whose sums are not known are read: the
/// first one of them that is not empty whatever its size, so that every request gets further.
///
/// # Errors
/// Why it was refused.
pub fn count(store: &Store, admitted: Admitted<'_>, request: &Count) -> Result<Counted, Refusal> {
    request.partitions.iter().try_for_each(|it| admitted.check_countable(*it))?;
    let installed = admitted.installed();
    let wanted: BTreeSet<_> = request.partitions.iter().copied().collect();
    let sums = store.sums(installed.layout.partitions, &wanted);
    let unknown = wanted.into_iter().filter(|it| !sums.contains_key(it)).collect();
    let mut answer = count_by_reading(store, installed, &unknown)?;
    let next = answer.next;
    let known = sums
        .into_iter()
        .filter(|(partition, sum)| sum.keys > 0 && next.is_none_or(|next| *partition < next));
    answer.partitions.extend(known.map(|(partition, sum)| PartitionSize {
        partition,
        keys: sum.keys,
        bytes: sum.bytes,
    }));
    answer.partitions.sort_unstable_by_key(|it| it.partition);
    Ok(answer)
}

fn count_by_reading(
    store: &Store,
    installed: &Installed,
    wanted: &BTreeSet<Partition>,
) -> Result<Counted, Refusal> {
    let Some(first) = wanted.first() else { return Ok(Counted::default()) };
    let start = ScanStart::Hash(installed.hash_range(*first).0);
    let mut answer = Counted::default();
    let mut records_beyond_first = 0;
    let outcome = walk(
        store,
        installed,
        start,
        |it| wanted.contains(&it),
        |partition, entry| {
            let Some(value_bytes) = entry.value_bytes() else {
                return Ok(ControlFlow::Continue(()));
            };
            if answer.partitions.last().is_none_or(|it| it.partition != partition) {
                answer.partitions.push(PartitionSize { partition, keys: 0, bytes: 0 });
            }
            if answer.partitions.len() > 1 {
                records_beyond_first += 1;
            }
            if records_beyond_first > DIGEST_RECORDS_MAX {
                answer.partitions.pop();
                answer.next = Some(partition);
                return Ok(ControlFlow::Break(()));
            }
            if let Some(size) = answer.partitions.last_mut() {
                size.keys += 1;
                size.bytes += entry.key.len() as u64 + value_bytes;
            }
            Ok(ControlFlow::Continue(()))
        },
    );
    outcome.map_err(|error| from_store(&error))?;
    Ok(answer)
}

/// Reads one page of the keys that lie on the disk, whether the node owns them or not.
///
/// # Errors
/// Why it was refused.
pub fn stored(store: &Store, admitted: Admitted<'_>, after: Option<&str>) -> Result<Keys, Refusal> {
    admitted.check_current()?;
    let mut page = Keys::default();
    let mut records_read = 0;
    let start = after.map_or(ScanStart::Hash(0), ScanStart::After);
    let outcome = store.scan(start, |entry| {
        if entry.value_bytes().is_some() {
            page.keys.push(entry.key.to_owned());
        }
        records_read += 1;
        if records_read >= DIGEST_RECORDS_MAX {
            page.next = Some(entry.key.to_owned());
            return Ok(Visit::Stop);
        }
        Ok(Visit::Next)
    });
    outcome.map_err(|error| from_store(&error))?;
    Ok(page)
}
