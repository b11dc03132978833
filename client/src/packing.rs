//! How waiting operations become batches. Pure: it looks at no clock and sends nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kv_protocol::limits::BATCH_OPERATIONS_MAX;
use kv_protocol::request::Operation;

use crate::limits::{BATCH_BYTES_TARGET, READ_BYTES_ASSUMED};

/// What packing needs to know of a waiting operation.
pub(crate) trait Parcel {
    /// The bytes that it adds to a batch or to its reply.
    fn bytes(&self) -> usize;
    /// The epoch by which it was routed, which goes for the whole batch.
    fn epoch(&self) -> u64;
    /// When there must be an answer.
    fn deadline(&self) -> Instant;
    /// Whether it must be sent by itself.
    fn alone(&self) -> bool;
}

/// The bytes that an operation counts for.
pub(crate) fn operation_bytes(operation: &Operation<'_>) -> usize {
    operation.key().len()
        + match operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Get { .. } => READ_BYTES_ASSUMED,
            Operation::Delete { .. } => 0,
        }
}

/// Takes the next batch from the front of `queue`: as many parcels as fit together.
///
/// The whole batch is given up when its earliest deadline passes, so it takes no parcel whose own
/// deadline is further than `spread` from the first one's.
pub(crate) fn take_batch<P: Parcel>(queue: &mut VecDeque<P>, spread: Duration) -> Vec<P> {
    let Some(first) = queue.front() else { return Vec::new() };
    let (epoch, deadline, alone) = (first.epoch(), first.deadline(), first.alone());
    let mut bytes = 0;
    let fits = |parcel: &P| {
        let earlier = deadline.saturating_duration_since(parcel.deadline());
        let later = parcel.deadline().saturating_duration_since(deadline);
        parcel.epoch() == epoch && !parcel.alone() && earlier.max(later) <= spread
    };
    let rest = queue.iter().skip(1).take(BATCH_OPERATIONS_MAX - 1).take_while(|parcel| {
        bytes += parcel.bytes();
        !alone && bytes <= BATCH_BYTES_TARGET && fits(parcel)
    });
    let count = 1 + rest.count();
    queue.drain(..count).collect()
}
