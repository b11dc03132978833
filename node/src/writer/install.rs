//! Installing a layout, in the order on which everything else rests:
//!
//! 1. the layout is durable;
//! 2. requests are judged by it: what this node hands over is frozen from here on;
//! 3. the places of partitions that it is about to get are cleared, durably;
//! 4. the node's status shows the layout's epoch, by which others know that all this is done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{error, info};

use super::Writer;
use crate::failpoints;
use crate::guard::{Guard, Installed};
use crate::installed_record;
use crate::limits::SMALL_FILES_BYTES;
use crate::store::StoreError;

impl Writer {
    pub(super) fn install(&mut self, installed: Installed) -> Result<(), StoreError> {
        let epoch = installed.layout.epoch;
        failpoints::pass("node::install::before-record");
        self.repair();
        let record = installed_record::encode(&installed);
        // A node on a full disk can still be relieved of what it has.
        let _ = self.disk.make_room(record.len() as u64 + SMALL_FILES_BYTES, 0);
        if let Err(error) = self.store.put_layout(&record) {
            if error.is_undone() {
                // The node goes on under the layout that it has, and whoever brought this one tries again.
                return Err(error);
            }
            error!("the layout of epoch {epoch} could not be stored: {error}; the node ends");
            self.has_failed = true;
            return Err(error);
        }
        failpoints::pass("node::install::after-record");
        let previous = self.guard.load_full();
        self.background.plan(&self.store, self.counters, previous.installed(), &installed);
        // Whoever sees that the node does not own something any more sees what is left of it, too.
        self.publish_counters();
        let owned = installed.summary().partitions_owned;
        self.guard.store(Arc::new(Guard::new(self.uuid, Some(installed))));
        info!("installed the layout of epoch {epoch}: this node owns {owned} partitions");
        failpoints::pass("node::install::after-swap");
        self.settle_in();
        Ok(())
    }

    /// Clears the places of partitions that are to come and, where that is done, shows the epoch.
    pub(super) fn settle_in(&mut self) {
        let guard = self.guard.load_full();
        let Some(installed) = guard.installed() else { return };
        if self.wipe(installed.layout.partitions) {
            failpoints::pass("node::install::after-wipe");
            self.gauges.epoch.store(installed.layout.epoch, Ordering::Release);
        }
        self.publish_counters();
    }
}
