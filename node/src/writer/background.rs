//! What the writer does when no request waits for it, or else now and then: removing records that the
//! node may not have any more, and tombstones that no node needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kv_core::installed::Installed;
use kv_core::ownership::Role;
use kv_core::partition::{Partition, PartitionCount};
use kv_storage::gc::{self, Removal, Stuck};
use kv_storage::{Counters, Store, StoreError};
use kv_system::failpoints;
use tracing::{error, info, warn};

use super::{Questions, Writer};

/// After a failure, the next try comes this much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A partition that could not be cleared this often is left for the next start.
const STRIKES_MAX: u8 = 2;

/// The partitions that are left to be removed, and those that are kept.
#[derive(Default)]
pub(super) struct Background {
    /// Partitions that are to come here, whose places are not clear. Until they are, no peer is told
    /// that the layout is installed.
    wipe: BTreeSet<Partition>,
    /// Partitions of which the node may have no records any more, and others have them.
    clear: BTreeSet<Partition>,
    /// Partitions of both kinds of which it is not known yet that another node holds them, with the
    /// epoch since which that is asked. Nothing of them is removed.
    unconfirmed: BTreeMap<Partition, u64>,
    /// Partitions of both kinds that this node never handed over ([`Installed::kept`]): no node can
    /// confirm that.
    kept: BTreeSet<Partition>,
    /// Whether a place that is to be clear is one of the last two kinds.
    is_held_up: bool,
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
        let left = self.left_behind(store, previous, installed);
        let mut confirmed = std::mem::take(&mut self.clear);
        confirmed.append(&mut self.wipe);
        let asked = std::mem::take(&mut self.unconfirmed);
        let epoch = installed.layout.epoch;
        self.kept = left.iter().copied().filter(|it| installed.kept().contains_key(it)).collect();
        let handed_over: Vec<Partition> = left.difference(&self.kept).copied().collect();
        for partition in handed_over {
            if confirmed.contains(&partition) {
                self.let_go(partition, installed);
            } else {
                let since = asked.get(&partition).copied().unwrap_or(epoch);
                self.unconfirmed.insert(partition, since);
            }
        }
        self.look_what_is_held_up(installed);
        let was_owned = |it| previous.is_some_and(|before| before.role(it) == Some(Role::Owner));
        for (partition, role) in installed.roles() {
            if role == Role::Owner && counters.tombstones > 0 && !was_owned(partition) {
                self.purge.insert(partition);
                // It may lie before the place where the purge is.
                self.purged_to = None;
            }
        }
        self.purge.retain(|it| installed.role(*it) == Some(Role::Owner));
        self.strikes.clear();
        self.resume_at = None;
    }

    /// The partitions that the node does not hold by `installed` and of which there are records, or may
    /// be: those that it held under `previous`, and leftovers from before.
    fn left_behind(
        &self,
        store: &Store,
        previous: Option<&Installed>,
        installed: &Installed,
    ) -> BTreeSet<Partition> {
        let is_left = |it: &Partition| installed.role(*it).is_some_and(|role| !role.may_hold());
        let known = self.clear.iter().chain(&self.wipe).chain(&self.kept);
        let known = known.chain(self.unconfirmed.keys()).copied().filter(is_left);
        let was_held = |it: &Partition| {
            previous.is_none_or(|before| before.role(*it).is_some_and(Role::may_hold))
        };
        let newly_left = installed.roles().map(|(partition, _)| partition);
        let newly_left = newly_left.filter(|it| is_left(it) && was_held(it));
        // To look costs time in which clients wait. What was handed over is removed in a moment.
        let (looked_at, not_looked_at): (BTreeSet<_>, BTreeSet<_>) =
            newly_left.partition(|it| previous.is_none() || installed.kept().contains_key(it));
        let count = installed.layout.partitions;
        let occupied = gc::occupied(store, count, &looked_at).unwrap_or_else(|error| {
            warn!("what is stored could not be looked through: {error}");
            looked_at
        });
        known.chain(occupied).chain(not_looked_at).collect()
    }

    /// Takes note that others hold these partitions, as was asked in `epoch`.
    pub(super) fn confirm(&mut self, epoch: u64, partitions: &[Partition], installed: &Installed) {
        for partition in partitions {
            // The node may have held the partition itself meanwhile, and then it is asked anew.
            if self.unconfirmed.get(partition).is_some_and(|since| *since <= epoch) {
                self.unconfirmed.remove(partition);
                self.let_go(*partition, installed);
            }
        }
        self.look_what_is_held_up(installed);
    }

    /// Lets everything go that is kept or not confirmed, since an operator says so.
    pub(super) fn let_all_go(&mut self, installed: &Installed) {
        let unconfirmed = std::mem::take(&mut self.unconfirmed).into_keys();
        for partition in std::mem::take(&mut self.kept).into_iter().chain(unconfirmed) {
            self.let_go(partition, installed);
        }
        self.look_what_is_held_up(installed);
    }

    fn let_go(&mut self, partition: Partition, installed: &Installed) {
        match installed.role(partition) {
            Some(Role::FrozenDestination) => self.wipe.insert(partition),
            _ => self.clear.insert(partition),
        };
    }

    fn look_what_is_held_up(&mut self, installed: &Installed) {
        let mut waiting = self.unconfirmed.keys().chain(&self.kept);
        self.is_held_up = waiting.any(|it| installed.role(*it) == Some(Role::FrozenDestination));
    }

    /// A partition whose place is not clear and in which the node would be serving by `installed` all
    /// the same, although not as what it has kept.
    pub(super) fn unclear(&self, previous: &Installed, installed: &Installed) -> Option<Partition> {
        let waiting = self.unconfirmed.keys().chain(&self.kept).chain(&self.wipe).copied();
        let mut would_serve = waiting.filter(|it| {
            let kept = previous.kept().get(it).copied().unwrap_or(Role::Stranger);
            installed.role(*it).is_some_and(|role| role.may_hold() && !role.can_follow(Some(kept)))
        });
        would_serve.next()
    }

    /// The partitions whose new holders are to be asked.
    pub(super) fn questions(&self, epoch: u64) -> Questions {
        Questions { epoch, partitions: self.unconfirmed.keys().copied().collect() }
    }

    /// The partitions that were never handed over.
    pub(super) fn kept(&self) -> &BTreeSet<Partition> {
        &self.kept
    }

    /// How many partitions have data that the node may not have, and that is to be removed.
    pub(super) fn partitions_to_clear(&self) -> u32 {
        let count = self.clear.len() + self.wipe.len() + self.unconfirmed.len();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// When there is something to do; `None` while there is nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        let has_work = !(self.wipe.is_empty() && self.clear.is_empty() && self.purge.is_empty());
        has_work.then(|| self.resume_at.unwrap_or_else(Instant::now))
    }

    /// Takes note of a failure at `partition`. Returns whether it has failed too often.
    fn strike(&mut self, stuck: &Stuck) -> bool {
        self.resume_at = Some(Instant::now() + RETRY_AFTER);
        if matches!(stuck.error, StoreError::Broken) {
            // That is the engine's fault and not the partition's.
            return false;
        }
        let strikes = self.strikes.entry(stuck.partition).or_default();
        *strikes = strikes.saturating_add(1);
        *strikes >= STRIKES_MAX
    }
}

impl Writer {
    /// Does one piece of the work, so that requests need not wait for all of it.
    pub(super) fn work_in_background(&mut self) {
        self.background.resume_at = None;
        let guard = self.guard.load_full();
        let Some(installed) = guard.installed() else { return };
        let partitions = installed.layout.partitions;
        if !self.background.wipe.is_empty() {
            self.resume();
        } else if !self.background.clear.is_empty() {
            self.clear_next(partitions);
        } else if !self.background.purge.is_empty() {
            self.purge_next(partitions);
        }
        self.publish_counters();
    }

    /// Clears the places of partitions that are to come, as far as others have what lies there. Returns
    /// whether all of them are clear.
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
        !self.has_failed && !self.background.is_held_up
    }

    fn clear_next(&mut self, partitions: PartitionCount) {
        match self.clear_chunk(partitions, |it| &mut it.clear) {
            Ok(()) if self.background.partitions_to_clear() == 0 => {
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
        let collected = gc::purge(&self.store, partitions, owned, purged_to, &mut removal);
        failpoints::pass("node::purge::chunk");
        if self.remove(removal).is_err() {
            return;
        }
        match collected {
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
        let collected = gc::clear(&self.store, partitions, unwanted, &mut removal);
        failpoints::pass("node::clear::chunk");
        self.remove(removal).map_err(|error| Stuck { partition: first, error })?;
        let unwanted = set(&mut self.background);
        *unwanted = collected?.map_or_else(BTreeSet::new, |rest| unwanted.split_off(&rest));
        Ok(())
    }

    /// Removes records durably. A read of the collection that found them may have stopped the engine.
    fn remove(&mut self, removal: Removal) -> Result<(), StoreError> {
        self.repair();
        if removal.records == 0 {
            return Ok(());
        }
        if self.store.has_stopped() {
            self.background.resume_at = Some(Instant::now() + RETRY_AFTER);
            return Err(StoreError::Broken);
        }
        self.commit_by(Store::commit_removals, removal.batch, removal.counters)
    }
}
