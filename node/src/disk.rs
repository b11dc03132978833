//! The disk that the node's data is on: how much room it has, and what is held in reserve.
//!
//! The reserve is a file whose blocks are allocated, so that nobody else can take them: removing records,
//! giving the engine what is in the log, starting and stopping need a little room on a disk that is full.
//! It is given up in steps, and filled up again when there is room. Nothing else is stored before it is
//! full again, so that one reserve lasts for as long as the disk is full.
//!
//! On a file system that cannot allocate blocks for a file (ZFS, some network file systems), as much is
//! only left free, and what others take of it is gone. One that copies on every write or compresses may
//! need more than the file gave back; then removals are refused as well, and wait for room.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{info, warn};

use crate::belongings::Belongings;
use crate::limits::{RESERVE_MARGIN_BYTES, RESERVE_STEP_BYTES};
use crate::transient::is_full;

/// The file of a data directory that holds the reserve.
pub const RESERVE_FILE: &str = "reserve";
/// What `stat` counts allocated blocks in.
const STAT_BLOCK_BYTES: u64 = 512;

/// Whether the disk has room for more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has.
    Free,
    /// For removals alone, which make room.
    Removals(Shortage),
    /// Not even for removals: what they need is not to be had, or is kept for the engine.
    Nothing(Shortage),
    /// What would be written has no place any more: see [`Disk::is_lost`].
    Lost,
}

/// How much is lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The bytes that are free for this process, beside the reserve.
    pub free_bytes: u64,
    /// The bytes that are needed.
    pub needed_bytes: u64,
    /// The bytes of the reserve.
    pub reserve_bytes: u64,
    /// How many of them are missing, and have to be free as well before anything is stored.
    pub missing_bytes: u64,
}

/// Watches the file system that a directory is on, and holds a reserve there.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    reserve_bytes: u64,
    reserve: Mutex<Reserve>,
    /// Whether a write has found no room that the file system had shown: a quota, perhaps.
    is_exhausted: AtomicBool,
    /// What must be in its place there.
    belongings: Belongings,
    is_lost: AtomicBool,
}

#[derive(Debug, Default)]
struct Reserve {
    /// None where it is not to be held as a file, or could not be made yet. It stays open: by its path,
    /// another directory's could be reached.
    file: Option<File>,
    held_bytes: u64,
    cannot_be_held: bool,
}

impl Disk {
    /// Watches the file system of `directory`, of which `reserve_bytes` are kept for what must be
    /// possible when it is full. Nothing is written before [`Disk::tend`].
    #[must_use]
    pub fn new(directory: &Path, reserve_bytes: u64) -> Self {
        let disk = Self(Arc::new(Shared {
            directory: directory.to_owned(),
            reserve_bytes,
            reserve: Mutex::default(),
            is_exhausted: AtomicBool::new(false),
            belongings: Belongings::default(),
            is_lost: AtomicBool::new(false),
        }));
        disk.take_up();
        disk
    }

    /// The bytes that are free for this process, beside the reserve.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = statvfs(&self.0.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The bytes that can be stored: those that are free, without what the reserve lacks.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn room_bytes(&self) -> io::Result<u64> {
        let free_bytes = self.free_bytes()?;
        let missing_bytes = self.missing_bytes(&self.reserve());
        if self.is_exhausted() || self.is_lost() {
            return Ok(0);
        }
        Ok(free_bytes.saturating_sub(missing_bytes))
    }

    /// What there is room for: `wanted_bytes` beside the reserve, or at least `removal_bytes`, for which
    /// up to half of the reserve is given up; the rest is for the engine. A file system that cannot be
    /// asked is taken to have room: the write itself will tell.
    #[must_use]
    pub fn room(&self, wanted_bytes: u64, removal_bytes: u64) -> Room {
        if self.is_lost() {
            return Room::Lost;
        }
        let Ok(free_bytes) = self.free_bytes() else { return Room::Free };
        let missing_bytes = self.missing_bytes(&self.reserve());
        let needed_bytes = wanted_bytes.saturating_add(missing_bytes);
        if free_bytes >= needed_bytes && !self.is_exhausted() {
            return Room::Free;
        }
        let reserve_bytes = self.0.reserve_bytes;
        let shortage =
            |needed_bytes| Shortage { free_bytes, needed_bytes, reserve_bytes, missing_bytes };
        match self.make_room(removal_bytes, reserve_bytes / 2) {
            true => Room::Removals(shortage(needed_bytes)),
            false => Room::Nothing(shortage(removal_bytes)),
        }
    }

    /// Whether so many bytes are free, without giving up anything.
    #[must_use]
    pub fn has(&self, bytes: u64) -> bool {
        self.has_beside(&self.reserve(), bytes)
    }

    /// Whether so many bytes are free, or would be without the reserve.
    #[must_use]
    pub fn could_have(&self, bytes: u64) -> bool {
        let reserve = self.reserve();
        self.has_beside(&reserve, bytes.saturating_sub(reserve.held_bytes))
    }

    /// The bytes that the reserve holds.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.reserve().held_bytes
    }

    /// Has so many bytes free, giving up what that takes of the reserve, but not below `floor_bytes`.
    /// Returns whether they are free now.
    #[must_use]
    pub fn make_room(&self, bytes: u64, floor_bytes: u64) -> bool {
        let mut reserve = self.reserve();
        if self.has_beside(&reserve, bytes) {
            return true;
        }
        let free_bytes = if self.is_exhausted() { 0 } else { self.free_bytes().unwrap_or(0) };
        let step = bytes.saturating_sub(free_bytes).next_multiple_of(RESERVE_STEP_BYTES);
        let floor_bytes = floor_bytes.min(self.0.reserve_bytes);
        let left = reserve.held_bytes.saturating_sub(step);
        if reserve.held_bytes < step || left < floor_bytes {
            return false;
        }
        if let Some(Err(error)) = reserve.file.as_ref().map(|file| file.set_len(left)) {
            warn!("the reserve on the disk could not be given up: {error}");
            return false;
        }
        reserve.held_bytes = left;
        info!("the disk is full: gave up {step} bytes of the reserve, {left} are left");
        self.has_beside(&reserve, bytes)
    }

    /// Takes note that a write found no room, whatever the file system shows.
    pub fn was_full(&self) {
        self.0.is_exhausted.store(true, Ordering::Release);
    }

    /// Fills the reserve up where there is room, and finds out whether there is room again where there was
    /// none. It is to be called now and then.
    pub fn tend(&self) {
        if self.is_lost() {
            return;
        }
        let mut reserve = self.reserve();
        if self.is_exhausted() && self.has_beside(&reserve, RESERVE_STEP_BYTES) {
            self.0.is_exhausted.store(false, Ordering::Release);
            info!("there is room on the disk again");
        }
        if let Err(error) = self.fill_up(&mut reserve)
            && !is_full(&error)
        {
            reserve.cannot_be_held = true;
            info!(
                "the reserve cannot be held as a file in {} ({error}): {} bytes are left free instead",
                self.0.directory.display(),
                self.0.reserve_bytes
            );
        }
    }

    /// Gives the whole reserve up, for good: nothing is stored here any more.
    pub fn give_up(&self) {
        let mut reserve = self.reserve();
        reserve.cannot_be_held = true;
        if reserve.file.take().is_some() && !self.is_lost() {
            // What cannot be removed is in nobody's way but the disk's.
            let _ = std::fs::remove_file(self.0.directory.join(RESERVE_FILE));
        }
        reserve.held_bytes = 0;
    }

    /// What must be in its place on the disk, as long as anything is to be written there.
    #[must_use]
    pub fn belongings(&self) -> &Belongings {
        &self.0.belongings
    }

    /// Whether something was not in its place when that was last looked at: it was removed or moved, or
    /// another is there. What is written then may be lost with the process.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }

    /// Looks whether everything is in its place. Returns what is not, where something is missing. Where
    /// that cannot be found out, nothing changes.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn look(&self) -> io::Result<Option<PathBuf>> {
        let missing = self.0.belongings.missing()?;
        self.0.is_lost.store(missing.is_some(), Ordering::Release);
        Ok(missing)
    }

    /// Whether something is missing now, or was when that could last be found out.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.look().map_or_else(|_| self.is_lost(), |missing| missing.is_some())
    }

    fn is_exhausted(&self) -> bool {
        self.0.is_exhausted.load(Ordering::Acquire)
    }

    /// Finds the reserve that an earlier run has left.
    fn take_up(&self) {
        let mut reserve = self.reserve();
        let opened = OpenOptions::new().write(true).open(self.0.directory.join(RESERVE_FILE));
        let Ok(file) = opened else { return };
        if let Ok(metadata) = file.metadata() {
            // A copy of the directory may have it with holes.
            reserve.held_bytes = metadata.len().min(metadata.blocks() * STAT_BLOCK_BYTES);
            reserve.file = Some(file);
        }
    }

    fn fill_up(&self, reserve: &mut Reserve) -> io::Result<()> {
        if self.0.reserve_bytes == 0 && reserve.file.is_none() || reserve.cannot_be_held {
            return Ok(());
        }
        let target = self.held_bytes_max()?;
        if reserve.held_bytes > target {
            if let Some(file) = &reserve.file {
                file.set_len(target)?;
                reserve.held_bytes = target;
            }
            return Ok(());
        }
        let missing = target - reserve.held_bytes;
        // It comes back by and by, so that others have time to see what becomes of their disk.
        let room = self.free_bytes()?.saturating_sub(RESERVE_MARGIN_BYTES) / 2;
        let step = missing.min(room);
        if step < missing.min(RESERVE_STEP_BYTES) || missing == 0 {
            return Ok(());
        }
        if reserve.file.is_none() {
            let path = self.0.directory.join(RESERVE_FILE);
            reserve.file = Some(
                OpenOptions::new()
                    .create(true)
                    .write(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(path)?,
            );
        }
        let Some(file) = &reserve.file else { return Ok(()) };
        // From the start, since there may be holes.
        if let Err(error) = fallocate(file, FallocateFlags::empty(), 0, reserve.held_bytes + step) {
            // Some of it may have been allocated.
            file.set_len(reserve.held_bytes)?;
            return Err(error.into());
        }
        reserve.held_bytes += step;
        Ok(())
    }

    /// How much of the reserve is to be held as a file. More than the disk has is not meant to be.
    fn held_bytes_max(&self) -> io::Result<u64> {
        let stat = statvfs(&self.0.directory)?;
        let disk_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        let is_meant = self.0.reserve_bytes <= disk_bytes;
        Ok(if is_meant { self.0.reserve_bytes.min(disk_bytes / 2) } else { 0 })
    }

    fn missing_bytes(&self, reserve: &Reserve) -> u64 {
        self.0.reserve_bytes.saturating_sub(reserve.held_bytes)
    }

    fn has_beside(&self, reserve: &Reserve, bytes: u64) -> bool {
        // A file system that cannot be asked is taken to have room.
        if self.free_bytes().is_ok_and(|free_bytes| free_bytes < bytes) {
            return false;
        }
        if !self.is_exhausted() {
            return true;
        }
        // What the file system shows was not to be had. What can be allocated is.
        let Some(file) = &reserve.file else { return true };
        match fallocate(file, FallocateFlags::empty(), reserve.held_bytes, bytes.max(1)) {
            Ok(()) => file.set_len(reserve.held_bytes).is_ok(),
            Err(error) => !is_full(&error.into()),
        }
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.0.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE_BYTES: u64 = 4 << 20;

    fn held(directory: &Path) -> u64 {
        std::fs::metadata(directory.join(RESERVE_FILE)).map_or(0, |it| it.len())
    }

    #[test]
    fn a_reserve_is_held_given_up_in_steps_and_filled_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), RESERVE_BYTES);
        assert_eq!(held(directory.path()), 0);
        disk.tend();
        assert_eq!(held(directory.path()), RESERVE_BYTES);
        // As under a quota: the file system shows room that cannot be had.
        disk.was_full();
        assert_eq!(disk.room_bytes().unwrap(), 0);
        // Here it can be had again.
        disk.tend();
        assert!(disk.room_bytes().unwrap() > 0);
        assert_eq!(disk.room(1, 1), Room::Free);
    }

    #[test]
    fn what_is_kept_for_the_engine_is_not_given_to_removals() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), RESERVE_BYTES);
        disk.tend();
        // More than any disk has, with its reserve.
        assert!(!disk.make_room(1 << 62, 0));
        assert_eq!(held(directory.path()), RESERVE_BYTES);
        assert!(matches!(disk.room(u64::MAX, 1 << 62), Room::Nothing(_)));
        assert_eq!(held(directory.path()), RESERVE_BYTES);
        assert!(matches!(disk.room(u64::MAX, 1), Room::Removals(_)));
    }

    #[test]
    fn a_reserve_that_no_disk_has_takes_nothing_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), 1 << 62);
        disk.tend();
        assert_eq!(held(directory.path()), 0);
        let Room::Removals(shortage) = disk.room(1, 1) else { panic!("it has room") };
        assert_eq!(shortage.missing_bytes, 1 << 62);
        assert_eq!(disk.room_bytes().unwrap(), 0);
    }

    #[test]
    fn an_earlier_runs_reserve_is_taken_up_and_made_shorter() {
        let directory = tempfile::tempdir().unwrap();
        Disk::new(directory.path(), RESERVE_BYTES).tend();
        let disk = Disk::new(directory.path(), RESERVE_BYTES / 2);
        disk.tend();
        assert_eq!(held(directory.path()), RESERVE_BYTES / 2);
        Disk::new(directory.path(), 0).tend();
        assert_eq!(held(directory.path()), 0);
    }
}
