//! What the writer tells the node's other threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use kv_core::partition::Partition;
use kv_storage::Counters;
use kv_transport::server::bounds::Bounds;
use tokio::sync::watch;

use super::replies::ReplyBytes;

/// What the writer tells the node's other threads, each of which may look at any time.
#[derive(Debug)]
pub struct Published {
    /// How much is stored.
    pub statistics: Statistics,
    /// Which layout others may rely on.
    pub acknowledged: AcknowledgedEpoch,
    /// The partitions of which there are records that the node keeps, since it never handed them over.
    pub kept: ArcSwap<BTreeSet<Partition>>,
    /// The partitions whose holders are to be asked before anything of them is removed.
    pub questions: watch::Sender<Arc<Questions>>,
    /// What was read for clients and waits for them.
    pub replies: ReplyBytes,
    /// Whether the writer has ended because of something that passes, so that the node can start anew.
    pub can_start_anew: AtomicBool,
}

impl Published {
    /// What a writer tells that has done nothing yet, in a node whose peers may make it hold as much as these
    /// `bounds` say.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            statistics: Statistics::default(),
            acknowledged: AcknowledgedEpoch::default(),
            kept: ArcSwap::default(),
            questions: watch::Sender::default(),
            replies: ReplyBytes::new(bounds),
            can_start_anew: AtomicBool::default(),
        }
    }
}

/// How much a node stores. The figures are of one moment each, and need not be of the same one.
#[derive(Debug, Default)]
pub struct Statistics {
    /// The values that are stored.
    pub keys: AtomicU64,
    /// The bytes of their keys and of themselves.
    pub bytes: AtomicU64,
    /// The number of the last write.
    pub sequence: AtomicU64,
    /// The partitions of which there are records that the node may not have any more.
    pub partitions_to_clear: AtomicU32,
}

impl Statistics {
    pub(super) fn publish(&self, counters: Counters, partitions_to_clear: u32) {
        self.keys.store(counters.keys, Ordering::Relaxed);
        self.bytes.store(counters.bytes, Ordering::Relaxed);
        self.sequence.store(counters.sequence, Ordering::Relaxed);
        self.partitions_to_clear.store(partitions_to_clear, Ordering::Relaxed);
    }
}

/// The epoch of the installed layout, once all is done that its readers rely on: a mover goes on when
/// every node shows it.
#[derive(Debug, Default)]
pub struct AcknowledgedEpoch(AtomicU64);

impl AcknowledgedEpoch {
    /// The epoch; 0 before any was acknowledged.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Lets others rely on the layout of `epoch`.
    pub(super) fn acknowledge(&self, epoch: u64) {
        self.0.store(epoch, Ordering::Release);
    }
}

/// Partitions of which this node has records that others are to hold by the layout of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// The epoch.
    pub epoch: u64,
    /// The partitions, in ascending order.
    pub partitions: Vec<Partition>,
}
