//! What the writer does when nobody waits for it, or else now and then: removing records that the
//! node may not have any more, and tombstones that nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kv_protocol::partition::{Partition, PartitionCount};
use tracing::{error, info, warn};

use super::Writer;
use crate::failpoints;
use crate::installed::Installed;
use crate::rights::Role;
use crate::store::{Counters, Store, StoreError};
use crate::sweep::{self, Removal, Stuck};

/// After a failure, the next try comes this much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A partition that could not be cleared this often is left for the next start.
const STRIKES_MAX: u8 = 2;

/// What is left to be removed.
#[derive(Default)]
pub(super) struct Background {
    /// Partitions that are to come here, whose places are not clear. Until they are, nobody is told
    /// that the layout is installed.
    wipe: BTreeSet<Partition>,
    /// Partitions of which the node may have no records any more.
    clear: BTreeSet<Partition>,
    /// Partitions that the node owns, in which there may be tombstones.
    purge: BTreeSet<Partition>,
    /// How far the purge is.
    purged_to: Option<String>,
    strikes: BTreeMap<Partition, u8>,
    resume_at: Option<Instant>,
}

impl Background {
    /// Finds out what has to be removed under `installed`, which comes after `previous`.
    pub(super) fn plan(
        &mut self,
        store: &Store,
        counters: Counters,
        previous: Option<&Installed>,
        installed: &Installed,
    ) {
        self.clear.append(&mut self.wipe);
        match previous {
            Some(previous) => {
                let held = previous.roles().filter(|(_, role)| role.may_hold());
                self.clear.extend(held.map(|(partition, _)| partition));
            }
            None => match sweep::strays(store, installed) {
                Ok(strays) => self.clear.extend(strays),
                Err(error) => {
                    warn!("what is stored could not be looked through: {error}");
                    self.clear.extend(installed.roles().map(|(partition, _)| partition));
                }
            },
        }
        self.clear.retain(|it| installed.role(*it) == Some(Role::Stranger));
        let was_owned = |it| previous.is_some_and(|before| before.role(it) == Some(Role::Owner));
        for (partition, role) in installed.roles() {
            match role {
                Role::FrozenDestination => {
                    self.wipe.insert(partition);
                }
                Role::Owner if counters.tombstones > 0 && !was_owned(partition) => {
                    self.purge.insert(partition);
                    // It may lie before the place where the purge is.
                    self.purged_to = None;
                }
                _ => {}
            }
        }
        self.purge.retain(|it| installed.role(*it) == Some(Role::Owner));
        self.strikes.clear();
        self.resume_at = None;
    }

    /// How many partitions have data that the node may not have.
    pub(super) fn partitions_to_clear(&self) -> u32 {
        u32::try_from(self.clear.len() + self.wipe.len()).unwrap_or(u32::MAX)
    }

    /// When there is something to do; none where there is nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        let has_work = !(self.wipe.is_empty() && self.clear.is_empty() && self.purge.is_empty());
        has_work.then(|| self.resume_at.unwrap_or_else(Instant::now))
    }

    /// Takes note of a failure at `partition`. Returns whether it has failed too often.
    fn strike(&mut self, stuck: &Stuck) -> bool {
        self.resume_at = Some(Instant::now() + RETRY_AFTER);
        if matches!(stuck.error, StoreError::OutOfOrder) {
            // That is the engine's fault and not the partition's.
            return false;
        }
        let strikes = self.strikes.entry(stuck.partition).or_default();
        *strikes = strikes.saturating_add(1);
        *strikes >= STRIKES_MAX
    }
}

impl Writer {
    /// Does one piece of what is to be done in the background.
    pub(super) fn work_in_background(&mut self) {
        self.background.resume_at = None;
        let guard = self.guard.load_full();
        let Some(installed) = guard.installed() else { return };
        let partitions = installed.layout.partitions;
        if !self.background.wipe.is_empty() {
            self.settle_in();
        } else if !self.background.clear.is_empty() {
            self.clear_next(partitions);
        } else if !self.background.purge.is_empty() {
            self.purge_next(partitions);
        }
        self.publish_counters();
    }

    /// Clears the places of partitions that are to come. Returns whether all of them are clear.
    pub(super) fn wipe(&mut self, partitions: PartitionCount) -> bool {
        while !self.background.wipe.is_empty() && !self.has_failed {
            if let Err(stuck) = self.clear_chunk(partitions, |it| &mut it.wipe) {
                self.background.strike(&stuck);
                error!(
                    "partition {} is to be moved here, but what is stored of it cannot be removed: {}; trying on",
                    stuck.partition, stuck.error
                );
                return false;
            }
        }
        !self.has_failed
    }

    fn clear_next(&mut self, partitions: PartitionCount) {
        match self.clear_chunk(partitions, |it| &mut it.clear) {
            Ok(()) if self.background.clear.is_empty() => {
                info!("removed all that this node does not own any more");
            }
            Ok(()) => {}
            Err(stuck) => {
                if self.background.strike(&stuck) {
                    self.background.clear.remove(&stuck.partition);
                    warn!(
                        "what is left of partition {} cannot be removed: {}; the next start tries again",
                        stuck.partition, stuck.error
                    );
                }
            }
        }
    }

    fn purge_next(&mut self, partitions: PartitionCount) {
        let mut removal = Removal::new(self.counters);
        let owned = &self.background.purge;
        let purged_to = self.background.purged_to.as_deref();
        let swept = sweep::purge(&self.store, partitions, owned, purged_to, &mut removal);
        failpoints::pass("node::purge::chunk");
        if self.remove(removal).is_err() {
            return;
        }
        match swept {
            Ok(Some(key)) => self.background.purged_to = Some(key),
            Ok(None) => {
                self.background.purge.clear();
                self.background.purged_to = None;
            }
            Err(stuck) => {
                if self.background.strike(&stuck) {
                    self.background.purge.remove(&stuck.partition);
                    self.background.purged_to = None;
                }
            }
        }
    }

    /// Removes some records of the partitions in a set, and those from the set that are clear then.
    fn clear_chunk(
        &mut self,
        partitions: PartitionCount,
        set: fn(&mut Background) -> &mut BTreeSet<Partition>,
    ) -> Result<(), Stuck> {
        let mut removal = Removal::new(self.counters);
        let unwanted = set(&mut self.background);
        let first = unwanted.first().copied().unwrap_or(Partition(0));
        let swept = sweep::clear(&self.store, partitions, unwanted, &mut removal);
        failpoints::pass("node::clear::chunk");
        self.remove(removal).map_err(|error| Stuck { partition: first, error })?;
        let unwanted = set(&mut self.background);
        *unwanted = swept?.map_or_else(BTreeSet::new, |rest| unwanted.split_off(&rest));
        Ok(())
    }

    /// Removes records durably. A read of the sweep that found them may have stopped the engine.
    fn remove(&mut self, removal: Removal) -> Result<(), StoreError> {
        self.repair();
        if removal.records == 0 {
            return Ok(());
        }
        if self.store.has_stopped() {
            self.background.resume_at = Some(Instant::now() + RETRY_AFTER);
            return Err(StoreError::OutOfOrder);
        }
        self.commit(removal.batch, removal.counters)
    }
}
