//! Carrying out reads of many keys against the store.

use std::ops::ControlFlow;

use kv_protocol::limits::{
    GET_ALL_BYTES_MAX, PAGE_BYTES_READ_MAX, PAGE_BYTES_TARGET, PAGE_ITEMS_MAX,
    PAGE_RECORDS_READ_MAX, REPLY_BYTES_MAX,
};
use kv_protocol::partition::key_hash;
use kv_protocol::refusal::{ErrorCode, Refusal, bad_request, too_large};
use kv_protocol::reply::{Done, Outcome, Page};
use kv_protocol::request::{Operation, Scan};

use crate::guard::Admitted;
use crate::refusals::from_store;
use crate::store::{ScanStart, Store};

/// How much one reply may still carry. Reads beyond it are refused, to be asked for again.
pub struct ReplyBudget {
    left_bytes: usize,
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self { left_bytes: REPLY_BYTES_MAX }
    }
}

impl ReplyBudget {
    /// Carries `operation` out by `carry_out`, where the reply has room for its outcome.
    ///
    /// # Errors
    /// `overloaded` for a read that finds no room; otherwise why the operation was refused.
    pub fn carry_out<'a>(
        &mut self,
        operation: Operation<'a>,
        carry_out: impl FnOnce(Operation<'a>) -> Outcome,
    ) -> Outcome {
        let is_write = operation.is_write();
        let no_room = || {
            Refusal::new(
                ErrorCode::Overloaded,
                format!(
                    "the replies to one batch are longer than {REPLY_BYTES_MAX} bytes: ask for this key again"
                ),
            )
        };
        if self.left_bytes == 0 && !is_write {
            return Err(no_room());
        }
        let done = carry_out(operation)?;
        if let Done::Read(Some(record)) = &done {
            match self.left_bytes.checked_sub(record.value.len()) {
                Some(left) => self.left_bytes = left,
                None => {
                    self.left_bytes = 0;
                    return Err(no_room());
                }
            }
        }
        Ok(done)
    }
}

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
    let (mut bytes, mut bytes_read, mut records_read) = (0, 0, 0);
    let outcome = store.scan(start, hash_last, |key, record| {
        records_read += 1;
        bytes_read += key.len() + record.value.len();
        if admitted.owns_hash(key_hash(key)) && key.starts_with(&*scan.prefix) {
            bytes += key.len() + record.value.len();
            page.items.push((key.to_owned(), record));
        }
        let full = page.items.len() >= items_max
            || bytes >= PAGE_BYTES_TARGET
            || bytes_read >= PAGE_BYTES_READ_MAX
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
