//! Installing a layout, in the order on which everything else rests:
//!
//! 1. the layout is durable;
//! 2. requests are judged by it: what this node hands over is frozen from here on;
//! 3. the places of partitions that it is about to get are cleared, durably, once others have what
//!    lies there;
//! 4. the node's status shows the layout's epoch, by which others know that all this is done.

use std::sync::Arc;

use kv_core::guard::{Guard, Installed};
use kv_core::partition::Partition;
use kv_storage::limits::SMALL_FILES_BYTES;
use kv_system::failpoints;
use tracing::{error, info, warn};

use super::{NotInstalled, Writer};
use crate::installed_record;

impl Writer {
    pub(super) fn install(&mut self, installed: Installed) -> Result<(), NotInstalled> {
        let epoch = installed.layout.epoch;
        let previous = self.guard.load_full();
        if let Some(before) = previous.installed()
            && let Some(partition) = self.background.unclear(before, &installed)
        {
            return Err(NotInstalled::Unclear { epoch, partition });
        }
        failpoints::pass("node::install::before-record");
        self.repair();
        let record = installed_record::encode(&installed);
        // A node on a full disk can still be relieved of what it has.
        let _ = self.disk.make_room(record.len() as u64 + SMALL_FILES_BYTES, 0);
        if let Err(error) = self.store.put_layout(&record) {
            if error.is_undone() {
                // The node goes on under the layout that it has, and the task that brought this one tries again.
                return Err(error.into());
            }
            error!("the layout of epoch {epoch} could not be stored: {error}; the node ends");
            self.has_failed = true;
            return Err(error.into());
        }
        failpoints::pass("node::install::after-record");
        self.keep_sums(&installed);
        self.background.plan(&self.store, self.counters, previous.installed(), &installed);
        // A peer that sees that the node does not own a partition any more sees its leftovers, too.
        self.publish_counters();
        let owned = installed.summary().partitions_owned;
        self.guard.store(Arc::new(Guard::new(self.uuid, Some(installed))));
        info!("installed the layout of epoch {epoch}: this node owns {owned} partitions");
        failpoints::pass("node::install::after-swap");
        self.resume();
        self.publish_what_is_kept();
        Ok(())
    }

    /// Takes note that others hold these partitions, as was asked in `epoch`, so that what lies here
    /// of them can be removed.
    pub(super) fn confirm(&mut self, epoch: u64, partitions: &[Partition]) {
        let guard = self.guard.load_full();
        let Some(installed) = guard.installed() else { return };
        self.background.confirm(epoch, partitions, installed);
        self.resume();
        self.publish_what_is_kept();
    }

    /// Has other nodes asked for the partitions that are not confirmed, and says which are kept.
    pub(super) fn publish_what_is_kept(&self) {
        let guard = self.guard.load();
        let Some(installed) = guard.installed() else { return };
        let epoch = installed.layout.epoch;
        self.published.questions.send_replace(self.background.questions(epoch).into());
        let kept = self.background.kept();
        let before = self.published.kept.swap(Arc::new(kept.clone()));
        if !kept.is_empty() && before.len() != kept.len() {
            warn!(
                "the layout of epoch {epoch} gives {} partitions, of which there are records here, to others to whom this node has not handed them over: the records are kept and not served",
                kept.len()
            );
        }
    }

    /// Clears the places of partitions that are to come and, where that is done, shows the epoch.
    pub(super) fn resume(&mut self) {
        let guard = self.guard.load_full();
        let Some(installed) = guard.installed() else { return };
        if self.wipe(installed.layout.partitions) {
            failpoints::pass("node::install::after-wipe");
            self.published.acknowledged.acknowledge(installed.layout.epoch);
        }
        self.publish_counters();
    }
}
