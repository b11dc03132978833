//! Having the engine take a memtable over, without its ever meeting a full disk.
//!
//! An engine that failed to write is of no more use, so it is given only what there is room for. It writes
//! whole leaves anew, and gives up the old ones afterwards. It gets the changes in pieces, in the order of
//! their keys, with a flush for each: what one piece has freed serves the next, so that a store whose every
//! leaf changes needs little more room than its data. Where the disk has room, pieces are as long as pays.
//! Where it is nearly full, what a piece needs is measured, and the disk's reserve is given up for it.
//! The log has all changes until the last piece is in, so that nothing depends on how far this came, and a
//! node that stops ends between two pieces.

mod leaves;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use kv_system::descriptors;
use kv_system::transient::file_bytes_max;

pub(crate) use self::leaves::placed;
use self::leaves::{LEAF_OVERHEAD_BYTES, Leaves};
use crate::changes::Changes;
use crate::disk::Disk;
use crate::engine::{self, Engine, LEAF_FANOUT};
use crate::limits::{DESCRIPTORS_PER_CHECKPOINT, INODES_PER_STEP, PIECE_BYTES, SMALL_FILES_BYTES};
use crate::needs::Needs;
use crate::sums::stored::BLOB_BYTES;
use crate::{StorageKey, StoreError, unfinished};

/// How many changes the engine gets at once. It locks their pages meanwhile, and readers wait.
const CHANGES_PER_BATCH: usize = 256;
/// How much the engine writes between two flushes where the disk has room, in bytes: a share of the data,
/// as far as a flush is worth its syncs and does not have a stop wait for it.
const FLUSH_BYTES_MIN: u64 = 16 << 20;
const FLUSH_BYTES_MAX: u64 = 64 << 20;
const FLUSHES: u64 = 32;
/// What a record takes beside its key and its value, in bytes, in a leaf that is in memory.
const RECORD_OVERHEAD_BYTES: u64 = 128;
/// How many records a leaf has, about: one that is full becomes two.
const LEAF_RECORDS: u64 = LEAF_FANOUT as u64 * 3 / 4;
/// A leaf that grows with every piece leaves a place of each length behind, so that pieces of new records
/// may take so many times what the records take.
const PIECES_FACTOR: u64 = 2;

/// Why the engine has not got everything.
#[derive(Debug)]
pub(crate) enum Untaken {
    /// It has none of the changes that are left, which can be tried again.
    Waits(StoreError),
    /// It could not read what it needs.
    Failed(StoreError),
    /// It has changes that it could not flush, or will not since it has met damage, and must neither be used
    /// nor dropped.
    Spoiled(StoreError),
}

/// The changes that the engine is to get, and where and how large the store is.
pub(crate) struct Taking<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) memtable: &'a dyn Changes,
    /// The last segment of the write-ahead log that has something of the memtable.
    pub(crate) segment: u64,
    pub(crate) disk: &'a Disk,
    /// Where the engine's files are.
    pub(crate) directory: &'a std::path::Path,
    /// The bytes of all keys and values that are stored, and their number.
    pub(crate) stored: (u64, u64),
    pub(crate) needs: &'a Needs,
    /// How much the engine may write between two flushes at most, in bytes: it has it in memory twice meanwhile.
    pub(crate) flush_bytes_max: u64,
    /// How much the engine may have written since it was opened, and how much it has, in bytes: it keeps that in
    /// memory.
    pub(crate) written_bytes_max: u64,
    pub(crate) written_bytes: &'a AtomicU64,
    /// The last change that the engine has already; `None` where it has none.
    pub(crate) after: Option<StorageKey>,
    /// Whether the store was closed.
    pub(crate) is_closed: &'a AtomicBool,
    /// Whether the engine has met damage: then nothing is read but what is changed.
    pub(crate) has_met_damage: bool,
}

/// What was measured before, or is now.
fn measured(
    known: &AtomicU64,
    measure: impl FnOnce() -> Result<u64, StoreError>,
) -> Result<u64, Untaken> {
    if known.load(Ordering::Relaxed) == 0 {
        known.store(measure().map_err(Untaken::Failed)?.max(1), Ordering::Relaxed);
    }
    Ok(known.load(Ordering::Relaxed))
}

impl Taking<'_> {
    /// Has the engine take everything over, durably, or as much as it can keep in memory. Returns the last change
    /// that it has then, where there are more.
    pub(crate) fn carry_out(&self) -> Result<Option<StorageKey>, Untaken> {
        descriptors::are_left(DESCRIPTORS_PER_CHECKPOINT).map_err(|error| {
            waits(format!("{DESCRIPTORS_PER_CHECKPOINT} file descriptors are needed ({error})"))
        })?;
        let metadata_bytes = unfinished::metadata_bytes(self.directory) + SMALL_FILES_BYTES;
        if !self.disk.is_writable() {
            return Err(waits("the disk is read-only".into()));
        }
        self.check_file_lengths()?;
        if self.disk.has(self.needed_at_most().saturating_add(metadata_bytes)) {
            return self.with_room();
        }
        let whole_bytes = measured(&self.needs.whole_bytes, || self.measure_whole())?;
        if self.disk.make_room(whole_bytes.saturating_add(metadata_bytes), 0) {
            return self.with_room();
        }
        self.in_pieces(metadata_bytes)?;
        Ok(None)
    }

    /// Sees to it that no file of the engine becomes longer than this process may make one.
    fn check_file_lengths(&self) -> Result<(), Untaken> {
        let left = file_bytes_max().saturating_sub(engine::longest_file(self.directory));
        let is_limited = left < self.needed_at_most()
            && left < measured(&self.needs.whole_bytes, || self.measure_whole())?;
        self.disk.set_limited(is_limited);
        match is_limited {
            true => Err(waits(format!(
                "a file of the engine would become longer than {} bytes, which this process may make one (ulimit -f)",
                file_bytes_max()
            ))),
            false => Ok(()),
        }
    }

    fn measure_whole(&self) -> Result<u64, StoreError> {
        let mut leaves = Leaves::default();
        self.for_each_change(|key, record| leaves.add(self.engine, key, record))?;
        let layout_bytes = self.memtable.layout().map_or(0, |it| it.len() as u64);
        Ok(leaves.bytes + placed(layout_bytes) + 2 * LEAF_OVERHEAD_BYTES + self.sums_bytes())
    }

    fn for_each_change(
        &self,
        mut visit: impl FnMut(&StorageKey, Option<&[u8]>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut start = Bound::Unbounded;
        loop {
            let changes = self.memtable.range(start.as_ref(), CHANGES_PER_BATCH);
            changes.iter().try_for_each(|(key, record)| visit(key, record.as_deref()))?;
            match changes.into_iter().next_back() {
                Some((last, _)) => start = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }

    /// What the engine may have to write for all changes, in bytes: all leaves, or one for each change,
    /// taken to be of ordinary length twice over.
    fn needed_at_most(&self) -> u64 {
        let (bytes, records) = self.stored;
        let leaf_records = LEAF_FANOUT as u64;
        let leaf_bytes = bytes / records.max(1) * leaf_records + LEAF_OVERHEAD_BYTES;
        let all = bytes.saturating_add(records.saturating_mul(LEAF_OVERHEAD_BYTES / leaf_records));
        let changed = (self.memtable.keys() as u64).saturating_mul(leaf_bytes).saturating_mul(2);
        placed(self.memtable.bytes().saturating_add(all.min(changed)))
            .saturating_add(self.sums_bytes())
    }

    /// How many changes are worth a flush at least. Where values are long, the leaves of few are as much as the
    /// engine may keep in memory.
    fn piece_changes_min(&self) -> u64 {
        (self.written_bytes_max / self.leaf_bytes()).clamp(1, CHANGES_PER_BATCH as u64)
    }

    /// How long a leaf is in memory, in bytes, about.
    fn leaf_bytes(&self) -> u64 {
        let (bytes, records) = self.stored;
        (bytes / records.max(1) + RECORD_OVERHEAD_BYTES) * LEAF_RECORDS
    }

    /// What the engine writes for all changes, in bytes, about: each leaf once for each flush.
    fn bytes_to_write(&self) -> u64 {
        let changed = self.memtable.keys() as u64;
        let leaves = changed.saturating_mul(self.leaf_bytes());
        let all = self.all_bytes() as f64 * self.share_left();
        leaves.min(all as u64).saturating_add(self.memtable.bytes())
    }

    /// What share of all keys comes after those that the engine has already.
    fn share_left(&self) -> f64 {
        self.after.as_ref().map_or(1.0, |after| 1.0 - after.hash() as f64 / u64::MAX as f64)
    }

    /// Takes note that the engine has written so much, of which it keeps no more than all its pages in memory.
    /// Returns whether that is more than it may.
    fn note_written(&self, bytes: u64) -> bool {
        let all = self.all_bytes().saturating_add(self.memtable.bytes());
        let written = self.written_bytes.load(Ordering::Relaxed).saturating_add(bytes).min(all);
        self.written_bytes.store(written, Ordering::Relaxed);
        written >= self.written_bytes_max
    }

    fn all_bytes(&self) -> u64 {
        let (bytes, records) = self.stored;
        bytes.saturating_add(records.saturating_mul(RECORD_OVERHEAD_BYTES))
    }

    fn with_room(&self) -> Result<Option<StorageKey>, Untaken> {
        let flushed_bytes = (self.stored.0 / FLUSHES).clamp(FLUSH_BYTES_MIN, FLUSH_BYTES_MAX);
        let flushed_bytes = flushed_bytes.min(self.flush_bytes_max);
        let (bytes_to_write, is_dense) = (self.bytes_to_write(), self.is_dense());
        let flushes = (bytes_to_write / flushed_bytes).max(1);
        let piece_changes = (self.memtable.keys() as u64 / flushes).max(self.piece_changes_min());
        let mut start = self.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            self.go_on()?;
            let piece = self.memtable.range(start.as_ref(), piece_changes as usize);
            let Some((last, _)) = piece.last() else { break };
            let last = last.clone();
            start = Bound::Excluded(last.clone());
            // Damage is met here, while the engine has nothing that is not flushed and can be started anew.
            self.read(&piece, is_dense).map_err(Untaken::Failed)?;
            self.go_on()?;
            let is_last = piece.len() < piece_changes as usize;
            self.change(&piece)?;
            let has_much = self.note_written(bytes_to_write / flushes);
            if !is_last {
                self.engine.flush().map_err(Untaken::Spoiled)?;
                self.memtable.forget_below(&last);
                if has_much {
                    return Ok(Some(last));
                }
            }
        }
        if let Some(layout) = self.memtable.layout() {
            self.engine.change_layout(&layout).map_err(Untaken::Spoiled)?;
        }
        self.complete()?;
        Ok(None)
    }

    fn complete(&self) -> Result<(), Untaken> {
        let (counters, sums) = (self.memtable.counters(), self.memtable.sums());
        self.engine.complete(counters, sums, self.segment).map_err(Untaken::Spoiled)
    }

    /// What the engine may have to write for the sums, in bytes: all leaves that have some which changed.
    fn sums_bytes(&self) -> u64 {
        let leaves = self.memtable.sums().map_or(0, |it| it.leaves(LEAF_RECORDS));
        leaves * (placed(LEAF_FANOUT as u64 * BLOB_BYTES) + LEAF_OVERHEAD_BYTES)
    }

    /// Ends this where the store was closed, as long as the engine has nothing that is not flushed.
    fn go_on(&self) -> Result<(), Untaken> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(waits("the store was closed".into())),
            false => Ok(()),
        }
    }

    /// Reads what will be changed, and all that lies between where that `is_dense`.
    fn read(
        &self,
        piece: &[(StorageKey, Option<Bytes>)],
        is_dense: bool,
    ) -> Result<(), StoreError> {
        self.engine.checkpointed()?;
        if self.memtable.layout().is_some() {
            self.engine.layout()?;
        }
        if let Some(sums) = self.memtable.sums() {
            self.engine.read_sums(sums)?;
        }
        let ends = piece.first().zip(piece.last()).filter(|_| is_dense);
        let Some(((first, _), (last, _))) = ends else {
            return piece.iter().try_for_each(|(key, _)| self.engine.get(key).map(drop));
        };
        // sled goes through all pages behind the end of a range as well.
        let (first, last) = (first.to_bytes(), last.to_bytes());
        for record in self.engine.data.range(first..) {
            let (key, _) = record.map_err(engine::classify)?;
            if *key >= *last {
                break;
            }
        }
        Ok(())
    }

    /// Whether going through all records costs less than looking for each that is changed.
    fn is_dense(&self) -> bool {
        let records = self.stored.1 as f64 * self.share_left();
        !self.has_met_damage && self.memtable.keys() as f64 > records / 4.0
    }

    fn change(&self, piece: &[(StorageKey, Option<Bytes>)]) -> Result<(), Untaken> {
        piece
            .chunks(CHANGES_PER_BATCH)
            .try_for_each(|changes| self.engine.change(changes).map_err(Untaken::Spoiled))
    }

    fn in_pieces(&self, metadata_bytes: u64) -> Result<(), Untaken> {
        self.check_growth(metadata_bytes)?;
        let mut start = Bound::Unbounded;
        let mut piece: Vec<(StorageKey, Option<Bytes>)> = Vec::new();
        let mut leaves = Leaves::default();
        loop {
            let changes = self.memtable.range(start.as_ref(), CHANGES_PER_BATCH);
            let Some((last, _)) = changes.last() else { break };
            start = Bound::Excluded(last.clone());
            for (key, record) in changes {
                leaves.add(self.engine, &key, record.as_deref()).map_err(Untaken::Failed)?;
                piece.push((key, record));
                if leaves.bytes >= PIECE_BYTES {
                    self.give(&mut piece, std::mem::take(&mut leaves), metadata_bytes)?;
                }
            }
        }
        if !piece.is_empty() {
            self.give(&mut piece, std::mem::take(&mut leaves), metadata_bytes)?;
        }
        let first = StorageKey::first_of_hash(0);
        leaves.add(self.engine, &first, None).map_err(Untaken::Failed)?;
        let layout = self.memtable.layout();
        let layout_bytes = layout.as_ref().map_or(0, |it| it.len() as u64 + LEAF_OVERHEAD_BYTES);
        let bytes = leaves.bytes + placed(layout_bytes) + self.sums_bytes();
        self.make_room(bytes + metadata_bytes)?;
        if let Some(layout) = layout {
            self.engine.change_layout(&layout).map_err(Untaken::Spoiled)?;
        }
        self.complete()
    }

    /// Has the engine take one piece over, which changes these leaves, durably.
    fn give(
        &self,
        piece: &mut Vec<(StorageKey, Option<Bytes>)>,
        leaves: Leaves,
        metadata_bytes: u64,
    ) -> Result<(), Untaken> {
        self.go_on()?;
        self.make_room(leaves.bytes + metadata_bytes)?;
        self.change(piece)?;
        self.engine.flush().map_err(Untaken::Spoiled)?;
        if let Some((last, _)) = piece.last() {
            self.memtable.forget_below(last);
        }
        piece.clear();
        self.needs.forget();
        self.disk.tend();
        Ok(())
    }

    /// Sees to it that nothing is begun that there is no room for in the end: the reserve would be used up
    /// for nothing.
    fn check_growth(&self, metadata_bytes: u64) -> Result<(), Untaken> {
        let growth_bytes = measured(&self.needs.growth_bytes, || self.measure_growth())?;
        let bytes = growth_bytes.saturating_mul(PIECES_FACTOR).saturating_add(metadata_bytes);
        if self.disk.could_have(bytes) { Ok(()) } else { Err(self.no_room_for(bytes)) }
    }

    fn measure_growth(&self) -> Result<u64, StoreError> {
        let (mut added, mut freed) = (0, 0);
        self.for_each_change(|key, record| {
            added += record.map_or(0, |it| placed(it.len() as u64));
            freed += self.engine.get(key)?.map_or(0, |it| it.len() as u64);
            Ok(())
        })?;
        Ok(added.saturating_sub(freed))
    }

    fn make_room(&self, bytes: u64) -> Result<(), Untaken> {
        if self.disk.make_room(bytes, 0) { Ok(()) } else { Err(self.no_room_for(bytes)) }
    }

    fn no_room_for(&self, bytes: u64) -> Untaken {
        waits(format!(
            "{bytes} bytes are needed on the disk, and {INODES_PER_STEP} inodes; it has {}",
            self.disk.describe()
        ))
    }
}

fn waits(why: String) -> Untaken {
    Untaken::Waits(StoreError::Waits(why))
}
