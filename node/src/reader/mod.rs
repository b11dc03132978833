//! Carrying out reads of many keys against the store.
//!
//! - here: what clients read, page by page or all at once;
//! - [`moving`]: what moves from one node to another;
//! - [`sizes`]: how much there is, and which keys.

pub mod moving;
pub mod sizes;

use std::ops::ControlFlow;

use kv_core::guard::{Admitted, Installed};
use kv_core::layout::Side;
use kv_core::limits::{
    GET_ALL_BYTES_MAX, PAGE_BYTES_READ_MAX, PAGE_BYTES_TARGET, PAGE_ITEMS_MAX,
    PAGE_RECORDS_READ_MAX, REPLY_BYTES_MAX,
};
use kv_core::operation::{Done, Operation, Outcome};
use kv_core::ownership::{Right, Role};
use kv_core::partition::Partition;
use kv_core::refusal::{ErrorCode, Refusal, bad_request, too_large};
use kv_protocol::reply::{Content, MoveDigest, Page};
use kv_protocol::request::{Command, Digest, Scan};
use kv_storage::{Entry, ScanStart, Store, StoreError, Visit};
use kv_system::failpoints;
use uuid::Uuid;

use crate::refusals::from_store;

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

/// Carries out a command that reads many keys.
///
/// # Errors
/// Why it was refused.
pub fn answer(
    store: &Store,
    admitted: Admitted<'_>,
    command: &Command<'_>,
) -> Result<Content, Refusal> {
    match command {
        Command::Scan(scan) => page(store, admitted, scan).map(Content::Page),
        Command::Fetch(request) => moving::fetch(store, admitted, request).map(Content::Records),
        Command::Digest(request) => moving::digest(store, admitted, request).map(Content::Digest),
        Command::Count(request) => sizes::count(store, admitted, request).map(Content::Count),
        Command::Stored { after } => {
            sizes::stored(store, admitted, after.as_deref()).map(Content::Keys)
        }
        Command::Holds { partitions } => {
            failpoints::pass("node::holds");
            admitted.held(partitions).map(Content::Held)
        }
        Command::GetAll => all(store, admitted).map(Content::Page),
        Command::One(_) | Command::Batch(_) | Command::Copy { .. } | Command::Status => {
            Err(bad_request("this command does not read many keys"))
        }
    }
}

/// The data directory to which this node hands over the partitions whose whole digest it has now been asked
/// for, where `content` is its answer; `None` where that is noted already.
#[must_use]
pub fn verified_peer(
    admitted: Admitted<'_>,
    command: &Command<'_>,
    content: &Content,
) -> Option<Uuid> {
    match (command, content) {
        (
            Command::Digest(Digest { side: Side::Source, peer, .. }),
            Content::Digest(MoveDigest { next: None, .. }),
        ) => Some(*peer).filter(|it| !admitted.installed().was_digested(*it)),
        _ => None,
    }
}

/// Reads one page of what the node serves.
///
/// # Errors
/// Why it was refused.
pub fn page(store: &Store, admitted: Admitted<'_>, scan: &Scan<'_>) -> Result<Page, Refusal> {
    let installed = admitted.installed();
    let right = match scan.partition {
        Some(partition) => admitted.right_to(partition)?,
        None => {
            admitted.check_whole()?;
            Right::Owner
        }
    };
    let first = scan.partition.or(scan.from).unwrap_or(Partition(0));
    let wanted = |it: Partition| match scan.partition {
        Some(partition) => it == partition,
        None => it >= first && installed.role(it) == Some(Role::Owner),
    };
    let start = start(installed, scan.after.as_deref(), first, |it| match scan.partition {
        Some(partition) => it == partition,
        None => it >= first,
    })?;
    let items_max = scan.limit.map_or(PAGE_ITEMS_MAX, |limit| PAGE_ITEMS_MAX.min(limit as usize));
    let mut page = Page::default();
    let (mut bytes, mut bytes_read, mut records_read) = (0, 0, 0);
    let outcome = walk(store, installed, start, wanted, |_, entry| {
        records_read += 1;
        let size = entry.key.len() + entry.value_bytes().map_or(0, |it| it as usize);
        bytes_read += size;
        if entry.key.starts_with(&*scan.prefix) {
            match entry.decode()?.to_owned().into_record() {
                Some(record) => page.items.push((entry.key.to_owned(), record)),
                None if matches!(right, Right::Destination { .. }) => {
                    page.deleted.push(entry.key.to_owned());
                }
                None => {}
            }
            bytes += size;
        }
        let full = page.items.len() + page.deleted.len() >= items_max
            || bytes >= PAGE_BYTES_TARGET
            || bytes_read >= PAGE_BYTES_READ_MAX
            || records_read >= PAGE_RECORDS_READ_MAX;
        if full {
            page.next = Some(entry.key.to_owned());
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    });
    outcome.map_err(|error| from_store(&error))?;
    Ok(page)
}

/// Reads all that the node owns.
///
/// # Errors
/// Why it was refused.
pub fn all(store: &Store, admitted: Admitted<'_>) -> Result<Page, Refusal> {
    admitted.check_whole()?;
    let installed = admitted.installed();
    let mut page = Page::default();
    let mut bytes = 0;
    let owned = |it| installed.role(it) == Some(Role::Owner);
    let outcome = walk(store, installed, ScanStart::Hash(0), owned, |_, entry| {
        if let Some(record) = entry.decode()?.to_owned().into_record() {
            bytes += entry.key.len() + record.value.len();
            page.items.push((entry.key.to_owned(), record));
        }
        let is_full = bytes > GET_ALL_BYTES_MAX;
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    outcome.map_err(|error| from_store(&error))?;
    if bytes > GET_ALL_BYTES_MAX {
        let mut refusal = too_large("what this node owns, in bytes,", bytes, GET_ALL_BYTES_MAX);
        refusal.message = format!("{} for GET_ALL: page with SCAN", refusal.message);
        return Err(refusal);
    }
    Ok(page)
}

/// Where a page starts: after the key `after`, whose partition must be an `expected` one, or at the
/// partition `first`.
fn start<'a>(
    installed: &Installed,
    after: Option<&'a str>,
    first: Partition,
    expected: impl Fn(Partition) -> bool,
) -> Result<ScanStart<'a>, Refusal> {
    match after {
        // A partition that does not exist has no keys, and no hashes.
        None if first.0 >= installed.layout.partitions.get() => Err(bad_request(format!(
            "there is no partition {first}: the cluster has {}",
            installed.layout.partitions.get()
        ))),
        None => Ok(ScanStart::Hash(installed.hash_range(first).0)),
        Some(after) if expected(installed.partition_of(after)) => Ok(ScanStart::After(after)),
        Some(_) => Err(bad_request("\"after\" is not a key of the partitions that are read")),
    }
}

/// Hands the records of the `wanted` partitions on to `visit`, in the order of their hashes, until it
/// breaks. What lies between them is passed over.
fn walk(
    store: &Store,
    installed: &Installed,
    start: ScanStart<'_>,
    wanted: impl Fn(Partition) -> bool,
    mut visit: impl FnMut(Partition, Entry<'_>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let partitions = installed.layout.partitions;
    store.scan(start, |entry| {
        let partition = partitions.partition(entry.hash);
        if wanted(partition) {
            return visit(partition, entry).map(|flow| match flow {
                ControlFlow::Continue(()) => Visit::Next,
                ControlFlow::Break(()) => Visit::Stop,
            });
        }
        let next = (partition.0 + 1..partitions.get()).map(Partition).find(|it| wanted(*it));
        Ok(next.map_or(Visit::Stop, |next| Visit::Jump(installed.hash_range(next).0)))
    })
}
