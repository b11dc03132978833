//! Every limit that is the client's own. Those that it shares with the nodes are in
//! [`kv_core::limits`].

use std::time::Duration;

use kv_core::backoff::Backoff;
use kv_core::limits::{
    BATCH_OPERATIONS_MAX, BODY_BYTES_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX, PAGE_BYTES_TARGET,
    VALUE_BYTES_MAX_CEILING,
};

/// How long an operation may take, retries included, unless the configuration says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// The longest time that an operation can be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A batch ends once its keys and values exceed this many bytes (it always has an operation).
pub const BATCH_BYTES_TARGET: usize = 1 << 20;

/// The bytes that a read counts for in a batch, in place of its value's, which only the node knows.
pub const READ_BYTES_ASSUMED: usize = 4 << 10;

/// The most batches of reads, and of writes, that wait for one node's answers at a time. While they
/// do, later operations gather for the next batch.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// While batches are under way to a node, the next one is held back until it has at least one operation
/// for every this many that are under way.
pub const BATCH_SHARE_MIN: usize = 2;

/// While batches are under way to a node, the next one is held back until it has this many operations.
pub const BATCH_BESIDE_MIN: usize = 32;

/// The most operations that are queued for one node or under way to it; more wait with their callers.
pub const QUEUE_OPERATIONS_MAX: usize = 8 * BATCH_OPERATIONS_MAX;

/// The most bytes of keys and values that are queued for one node or under way to it.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// The pauses before an operation is tried again.
pub const RETRY_PAUSES: Backoff =
    Backoff::new(Duration::from_millis(5), Duration::from_millis(500));

/// The shortest time between two looks at Consul for a newer layout or address, where there may be
/// one.
pub const REFRESH_SPACING: Duration = Duration::from_millis(100);

/// The shortest times between two looks at Consul where a node has said that there is a newer layout, by
/// how many looks in a row have brought no newer one. During a rebalance there are several layouts in a second.
pub const NEWER_SPACING: Backoff =
    Backoff::new(Duration::from_millis(10), Duration::from_millis(500));

/// The most registrations of one node that are asked which of them is the node.
pub const REGISTRATIONS_ASKED_MAX: usize = 8;

/// The shortest time for which Consul is asked to hold a query for the next layout.
pub const AWAIT_MIN: Duration = Duration::from_millis(10);

/// How long an operation waits for a partition that is being handed over before it helps to finish
/// the handing over.
pub const HELP_AFTER: Duration = Duration::from_secs(1);

/// The most tables that a client keeps, so that it need not ask their strategies again. During a
/// rebalance there are two, and the next one brings two others.
pub const TABLES_KEPT_MAX: usize = 4;

/// How long a look at Consul may take while operations wait for it.
pub const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// How often Consul is looked at for a layout that the nodes are to restore.
pub const LAYOUT_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How long a node may take to say how it is.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// How many nodes or moving partitions are scanned at the same time. A node holds at most one page in
/// memory, a moving partition two.
pub const SCAN_PARALLEL: usize = 4;

const _: () = {
    assert!(BATCH_BYTES_TARGET + VALUE_BYTES_MAX_CEILING + KEY_BYTES_MAX <= FRAME_BYTES_MAX);
    // The largest operation fits the queue, else it would wait for ever.
    assert!(VALUE_BYTES_MAX_CEILING + KEY_BYTES_MAX <= QUEUE_BYTES_MAX);
    assert!(BATCH_BYTES_TARGET <= BODY_BYTES_MAX);
    assert!(PAGE_BYTES_TARGET + VALUE_BYTES_MAX_CEILING + KEY_BYTES_MAX <= FRAME_BYTES_MAX);
    assert!(kv_transport::limits::CONNECT_WAIT.as_millis() * 2 < TIMEOUT_DEFAULT.as_millis());
    assert!(kv_transport::limits::HEARTBEAT_TIMEOUT.as_millis() < TIMEOUT_DEFAULT.as_millis());
    // An operation has time to help, and to be carried out then.
    assert!(HELP_AFTER.as_millis() * 4 < TIMEOUT_DEFAULT.as_millis());
};
