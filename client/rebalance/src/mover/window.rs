//! What the mover knows of the window that it moves, and what it tells of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use kv_core::layout::{Goal, Layout};
use kv_core::mover::Facts;
use kv_core::partition::Partition;
use kv_core::window::{Moving, Size};
use tokio::sync::watch;

use crate::progress::Progress;
use crate::transfer::{Cursor, Pair};

/// What is known of the window under one epoch.
pub(super) struct WindowState {
    pub(super) epoch: u64,
    /// When the epoch was first seen.
    pub(super) since: Instant,
    pub(super) cursors: HashMap<Pair, Cursor>,
    pub(super) copied_twice: bool,
    pub(super) facts: Facts,
}

impl WindowState {
    pub(super) fn new(epoch: u64) -> Self {
        let (cursors, copied_twice, facts) = Default::default();
        Self { epoch, since: Instant::now(), cursors, copied_twice, facts }
    }
}

/// The moving partitions that are not where the goal wants them yet.
pub(super) fn ahead(layout: &Layout, moving: &[Moving]) -> Vec<Moving> {
    let Some(rebalance) = &layout.rebalance else { return Vec::new() };
    let split = moving.partition_point(|it| it.partition.0 < rebalance.settled);
    match rebalance.goal {
        Goal::Finish => moving[split..].to_vec(),
        Goal::Undo => moving[..split].to_vec(),
    }
}

pub(super) fn report(
    progress: &watch::Sender<Progress>,
    layout: &Layout,
    moving: &[Moving],
    sizes: &BTreeMap<Partition, Size>,
) {
    let mut total = Size::default();
    sizes.values().for_each(|size| total.add(*size));
    let left = ahead(layout, moving).len();
    progress.send_modify(|progress| {
        progress.epoch = layout.epoch;
        if layout.rebalance.is_some() {
            progress.partitions_total = u32::try_from(moving.len()).unwrap_or(u32::MAX);
            progress.partitions_settled = u32::try_from(moving.len() - left).unwrap_or(u32::MAX);
            progress.keys_total = total.keys;
            progress.bytes_total = total.bytes;
        } else {
            progress.partitions_settled = progress.partitions_total;
        }
    });
}
