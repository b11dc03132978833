//! Carrying out reads of many keys against the store.

use std::ops::ControlFlow;

use kv_protocol::limits::{
    GET_ALL_BYTES_MAX, PAGE_BYTES_TARGET, PAGE_ITEMS_MAX, PAGE_RECORDS_READ_MAX,
};
use kv_protocol::partition::key_hash;
use kv_protocol::refusal::{Refusal, bad_request, too_large};
use kv_protocol::reply::Page;
use kv_protocol::request::Scan;

use crate::guard::Admitted;
use crate::refusals::from_store;
use crate::store::{ScanStart, Store};

/// Reads one page of what the node owns.
///
/// # Errors
/// Why it was refused.
pub fn page(store: &Store, admitted: Admitted<'_>, scan: &Scan<'_>) -> Result<Page, Refusal> {
    let (hash_first, hash_last) = match scan.partition {
        Some(partition) => {
            admitted.check_partition(partition)?;
            admitted.hash_range(partition)
        }
        None => (0, u64::MAX),
    };
    let start = match scan.after.as_deref() {
        None => ScanStart::Hash(hash_first),
        Some(after) if (hash_first..=hash_last).contains(&key_hash(after)) => {
            ScanStart::After(after)
        }
        Some(_) => {
            return Err(bad_request("\"after\" is not a key of the partition that is read"));
        }
    };
    let items_max = scan.limit.map_or(PAGE_ITEMS_MAX, |limit| PAGE_ITEMS_MAX.min(limit as usize));
    let mut page = Page::default();
    let (mut bytes, mut records_read) = (0, 0);
    let outcome = store.scan(start, hash_last, |key, record| {
        records_read += 1;
        if admitted.owns_hash(key_hash(key)) && key.starts_with(&*scan.prefix) {
            bytes += key.len() + record.value.len();
            page.items.push((key.to_owned(), record));
        }
        let full = page.items.len() >= items_max
            || bytes >= PAGE_BYTES_TARGET
            || records_read >= PAGE_RECORDS_READ_MAX;
        if full {
            page.next = Some(key.to_owned());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    outcome.map_err(|error| from_store(&error))?;
    Ok(page)
}

/// Reads all that the node owns.
///
/// # Errors
/// Why it was refused.
pub fn all(store: &Store, admitted: Admitted<'_>) -> Result<Page, Refusal> {
    let mut page = Page::default();
    let mut bytes = 0;
    let outcome = store.scan(ScanStart::Hash(0), u64::MAX, |key, record| {
        if admitted.owns_hash(key_hash(key)) {
            bytes += key.len() + record.value.len();
            page.items.push((key.to_owned(), record));
        }
        if bytes > GET_ALL_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    outcome.map_err(|error| from_store(&error))?;
    if bytes > GET_ALL_BYTES_MAX {
        let mut refusal = too_large("what this node owns, in bytes,", bytes, GET_ALL_BYTES_MAX);
        refusal.message = format!("{} for GET_ALL: page with SCAN", refusal.message);
        return Err(refusal);
    }
    Ok(page)
}
