//! What a node says of itself.

use std::sync::atomic::Ordering;

use kv_core::guard::{Guard, Installed};
use kv_core::installed::InstalledLayout;
use kv_core::layout::LAYOUT_FORMAT;
use kv_protocol::reply::NodeStatus;

use super::{Handler, Resources};
use crate::confirmation;

impl<P> Handler<P> {
    pub(super) fn status(&self, guard: &Guard) -> NodeStatus {
        let Resources {
            identity,
            published,
            disk,
            store,
            tenure,
            value_bytes_max,
            in_vain,
            not_followed,
            ..
        } = &self.resources;
        // Before that, others must not go by the layout that is installed.
        let epoch = published.acknowledged.get();
        let shown = |installed: &Installed| {
            let summary = installed.summary();
            InstalledLayout { epoch: epoch.min(summary.epoch), ..summary }
        };
        NodeStatus {
            node: identity.id.clone(),
            uuid: identity.uuid,
            incarnation: Some(tenure.incarnation()),
            cluster_name: identity.cluster.clone(),
            layout: guard.installed().map(shown),
            keys: published.statistics.keys.load(Ordering::Relaxed),
            bytes: published.statistics.bytes.load(Ordering::Relaxed),
            value_bytes_max: *value_bytes_max as u64,
            disk_free_bytes: disk.free_bytes().unwrap_or_default(),
            // Records in the log take room in the engine as well.
            disk_room_bytes: disk.room_bytes().unwrap_or_default().saturating_sub(
                store.headroom_bytes(published.statistics.bytes.load(Ordering::Relaxed)),
            ),
            uptime_s: self.started_at.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layout_format: LAYOUT_FORMAT,
            partitions_to_clear: published.statistics.partitions_to_clear.load(Ordering::Relaxed),
            kept: confirmation::kept(published, in_vain),
            not_followed: not_followed.load().as_deref().cloned(),
        }
    }
}
