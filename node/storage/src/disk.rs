//! The disk that the node's data is on: how much room it has, and what is held in reserve.
//!
//! Removing records, giving the engine what is in the log, starting and stopping need a little room on a
//! disk that is full: bytes, and inodes for new files. Both are held in a [reserve](crate::reserve), which is given up in
//! steps, and filled up again when there is room. Nothing else is stored before it is full again, so that
//! one reserve lasts for as long as the disk is full.
//!
//! On a file system that cannot allocate blocks for a file (ZFS, some network file systems), as much is
//! only left free, and what others take of it is gone. One that copies on every write or compresses may
//! need more than the file gave back; then removals are refused as well, and wait for room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use kv_system::failpoints;
use kv_system::lock::lock;
use kv_system::transient::{file_bytes_max, is_full, is_read_only};
use rustix::fs::{StatVfsMountFlags, statvfs};
use tracing::{info, warn};

use crate::belongings::Belongings;
use crate::limits::{INODES_PER_STEP, RESERVE_INODES, RESERVE_MARGIN_BYTES, RESERVE_STEP_BYTES};
use crate::reserve::Reserve;

/// Whether the disk has room for more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has.
    Free,
    /// For removals alone, which make room.
    Removals(Shortage),
    /// Not even for removals: what they need is not to be had, or is kept for the engine.
    Nothing(Shortage),
    /// The disk cannot be written to.
    ReadOnly,
    /// What would be written has no place any more: see [`Disk::is_lost`].
    Lost,
}

/// What a disk may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Bytes.
    Bytes,
    /// Inodes: each file takes one.
    Inodes,
    /// Bytes in one file, of which this process may make none that is longer (`ulimit -f`).
    FileBytes,
}

/// How much is lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Of what.
    pub of: Resource,
    /// How many are free for this process, beside the reserve.
    pub free: u64,
    /// How many are needed.
    pub needed: u64,
    /// How many the reserve is to hold.
    pub reserve: u64,
    /// How many of them are missing, and have to be free as well before anything is stored.
    pub missing: u64,
}

/// Watches the file system that a directory is on, and holds a reserve there.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    reserve_bytes: u64,
    reserve: Mutex<Reserve>,
    /// Whether the reserve's bytes are not held as a file, or not any more.
    cannot_be_held: AtomicBool,
    /// Whether a write has found no room that the file system had shown: a quota, perhaps.
    is_exhausted: AtomicBool,
    /// Whether a write was refused since the disk is read-only, which not every file system shows.
    is_read_only: AtomicBool,
    /// Whether a file of the engine may not become as long as it would have to.
    is_limited: AtomicBool,
    /// What must be in its place there.
    belongings: Belongings,
    is_lost: AtomicBool,
}

/// What a file system shows.
struct Space {
    total_bytes: u64,
    /// The bytes that are free for this process.
    bytes: u64,
    /// The inodes that are free; none where it makes as many as it is asked for, or does not say.
    inodes: Option<u64>,
    total_inodes: u64,
    is_read_only: bool,
}

impl Disk {
    /// Watches the file system of `directory`, of which `reserve_bytes` are kept for what must be
    /// possible when it is full, and some inodes where that is not 0. Nothing is written before
    /// [`Disk::tend`].
    #[must_use]
    pub fn new(directory: &Path, reserve_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            directory: directory.to_owned(),
            reserve_bytes,
            reserve: Mutex::new(Reserve::take_up(directory)),
            cannot_be_held: AtomicBool::new(false),
            is_exhausted: AtomicBool::new(false),
            is_read_only: AtomicBool::new(false),
            is_limited: AtomicBool::new(false),
            belongings: Belongings::default(),
            is_lost: AtomicBool::new(false),
        }))
    }

    /// The bytes that are free for this process, beside the reserve.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.space(&self.reserve())?.bytes)
    }

    /// The bytes that can be stored: those that are free, without what the reserve lacks.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn room_bytes(&self) -> io::Result<u64> {
        let reserve = self.reserve();
        let space = self.space(&reserve)?;
        let is_refused = self.is_exhausted()
            || self.is_lost()
            || space.is_read_only
            || self.0.is_limited.load(Ordering::Acquire);
        if is_refused || self.shortage_of_inodes(&space, &reserve).is_some() {
            return Ok(0);
        }
        Ok(space.bytes.saturating_sub(self.missing_bytes(&reserve)))
    }

    /// What there is room for: `wanted_bytes` beside the reserve, or at least `removal_bytes`, for which
    /// up to half of the reserve is given up; the rest is for the engine. A file system that cannot be
    /// asked is taken to have room: the write itself will tell.
    #[must_use]
    pub fn room(&self, wanted_bytes: u64, removal_bytes: u64) -> Room {
        if self.is_lost() {
            return Room::Lost;
        }
        let mut reserve = self.reserve();
        let Ok(space) = self.space(&reserve) else { return Room::Free };
        if space.is_read_only {
            return Room::ReadOnly;
        }
        let missing = self.missing_bytes(&reserve);
        let of_bytes = Shortage {
            of: Resource::Bytes,
            free: space.bytes,
            needed: wanted_bytes.saturating_add(missing),
            reserve: self.0.reserve_bytes,
            missing,
        };
        let shortage = if of_bytes.free < of_bytes.needed || self.is_exhausted() {
            of_bytes
        } else if self.0.is_limited.load(Ordering::Acquire) {
            Shortage { of: Resource::FileBytes, free: file_bytes_max(), ..of_bytes }
        } else {
            let Some(of_inodes) = self.shortage_of_inodes(&space, &reserve) else {
                return Room::Free;
            };
            of_inodes
        };
        // A removal is appended to the log, and needs no inode.
        match self.make_bytes(&mut reserve, removal_bytes, self.0.reserve_bytes / 2) {
            true => Room::Removals(shortage),
            false => Room::Nothing(Shortage { needed: removal_bytes, ..of_bytes }),
        }
    }

    /// Whether so many bytes are free, and inodes for what is written with them, without giving up anything.
    #[must_use]
    pub fn has(&self, bytes: u64) -> bool {
        let reserve = self.reserve();
        self.free_inodes(&reserve).is_none_or(|free| free >= INODES_PER_STEP)
            && self.has_beside(&reserve, bytes)
    }

    /// Whether so many bytes are free, or would be without the reserve, and inodes as well.
    #[must_use]
    pub fn could_have(&self, bytes: u64) -> bool {
        let reserve = self.reserve();
        self.free_inodes(&reserve).is_none_or(|free| free + reserve.inodes() >= INODES_PER_STEP)
            && self.has_beside(&reserve, bytes.saturating_sub(reserve.bytes()))
    }

    /// What there is, for a person.
    #[must_use]
    pub fn describe(&self) -> String {
        let reserve = self.reserve();
        let (bytes, inodes) = self.space(&reserve).map_or((0, None), |it| (it.bytes, it.inodes));
        let (held_bytes, held_inodes) = (reserve.bytes(), reserve.inodes());
        match inodes {
            Some(inodes) => format!(
                "{bytes} bytes and {inodes} inodes left, and {held_bytes} bytes and {held_inodes} inodes in reserve"
            ),
            None => format!("{bytes} bytes left and {held_bytes} in reserve"),
        }
    }

    /// Has so many bytes free, and inodes for what is written with them, giving up what that takes of the
    /// reserve, but not below `floor_bytes`. Returns whether they are free now.
    #[must_use]
    pub fn make_room(&self, bytes: u64, floor_bytes: u64) -> bool {
        self.make_inodes(INODES_PER_STEP, 0)
            && self.make_bytes(&mut self.reserve(), bytes, floor_bytes)
    }

    /// Has so many inodes free, giving up what that takes of the reserve, but leaving `floor` there. Returns
    /// whether they are free now.
    #[must_use]
    pub fn make_inodes(&self, count: u64, floor: u64) -> bool {
        let mut reserve = self.reserve();
        let Some(free) = self.free_inodes(&reserve) else { return true };
        let lacking = count.saturating_sub(free);
        if lacking == 0 {
            return true;
        }
        if reserve.inodes() < lacking + floor {
            return false;
        }
        let given = reserve.give_inodes(lacking);
        info!(
            "the disk has no inodes left: gave up {given} of the reserve, {} are left",
            reserve.inodes()
        );
        given == lacking
    }

    /// Gives one inode of the reserve up, whatever the file system shows. Returns whether there was one.
    #[must_use]
    pub fn give_inode(&self) -> bool {
        self.reserve().give_inodes(1) == 1
    }

    fn make_bytes(&self, reserve: &mut Reserve, bytes: u64, floor_bytes: u64) -> bool {
        if self.has_beside(reserve, bytes) {
            return true;
        }
        let free_bytes = match self.space(reserve) {
            Ok(space) if !self.is_exhausted() => space.bytes,
            _ => 0,
        };
        let step = bytes.saturating_sub(free_bytes).next_multiple_of(RESERVE_STEP_BYTES);
        let floor_bytes = floor_bytes.min(self.0.reserve_bytes);
        let left = reserve.bytes().saturating_sub(step);
        if reserve.bytes() < step || left < floor_bytes {
            return false;
        }
        if let Err(error) = reserve.shrink(left) {
            warn!("the reserve on the disk could not be given up: {error}");
            return false;
        }
        info!("the disk is full: gave up {step} bytes of the reserve, {left} are left");
        self.has_beside(reserve, bytes)
    }

    /// Takes note of why a write failed, whatever the file system shows: it found no room, or the disk was
    /// read-only.
    pub fn note(&self, error: &io::Error) {
        if is_full(error) {
            self.0.is_exhausted.store(true, Ordering::Release);
        } else if is_read_only(error) {
            self.0.is_read_only.store(true, Ordering::Release);
        }
    }

    /// Whether it can be written to, which is tried.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.try_to_write(&self.reserve())
    }

    fn try_to_write(&self, reserve: &Reserve) -> bool {
        let is_writable = !reserve.touch().is_err_and(|error| is_read_only(&error));
        if self.0.is_read_only.swap(!is_writable, Ordering::AcqRel) == is_writable {
            match is_writable {
                true => info!("the disk can be written to again"),
                false => warn!("the disk is read-only: writes are refused, and reads go on"),
            }
        }
        is_writable
    }

    /// Takes note of whether a file of the engine may not become as long as it would have to.
    pub fn set_limited(&self, is_limited: bool) {
        self.0.is_limited.store(is_limited, Ordering::Release);
    }

    /// Fills the reserve up where there is room, and finds out whether there is room again where there was
    /// none. It is to be called now and then.
    pub fn tend(&self) {
        let mut reserve = self.reserve();
        if self.is_lost()
            || self.0.is_read_only.load(Ordering::Acquire) && !self.try_to_write(&reserve)
        {
            return;
        }
        let Ok(space) = self.space(&reserve) else { return };
        if space.is_read_only {
            return;
        }
        if self.is_exhausted() && self.has_beside(&reserve, RESERVE_STEP_BYTES) {
            self.0.is_exhausted.store(false, Ordering::Release);
            info!("there is room on the disk again");
        }
        if let Err(error) = self.fill_up(&mut reserve, &space)
            && !is_full(&error)
        {
            self.0.cannot_be_held.store(true, Ordering::Release);
            info!(
                "the reserve cannot be held as a file in {} ({error}): {} bytes are left free instead",
                self.0.directory.display(),
                self.0.reserve_bytes
            );
        }
        // What cannot be had now is tried again.
        let _ = self.fill_up_inodes(&mut reserve, &space);
    }

    /// Gives the whole reserve up, for good: nothing is stored here any more.
    pub fn give_up(&self) {
        self.0.cannot_be_held.store(true, Ordering::Release);
        self.reserve().dissolve(!self.has_lost());
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

    fn space(&self, reserve: &Reserve) -> io::Result<Space> {
        let stat = statvfs(&self.0.directory)?;
        let mut bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        if failpoints::is_on("node::disk::full") {
            // Somebody else has taken all that is not in the reserve.
            bytes = self.0.reserve_bytes.saturating_sub(reserve.bytes());
        }
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            bytes,
            inodes: (stat.f_files > 0).then_some(stat.f_favail),
            total_inodes: stat.f_files,
            is_read_only: self.0.is_read_only.load(Ordering::Acquire)
                || stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    fn fill_up(&self, reserve: &mut Reserve, space: &Space) -> io::Result<()> {
        let is_wanted = self.0.reserve_bytes > 0 || reserve.is_begun();
        if !is_wanted || self.0.cannot_be_held.load(Ordering::Acquire) {
            return Ok(());
        }
        let target = self.held_bytes_max(space);
        if reserve.bytes() > target {
            return reserve.shrink(target);
        }
        let missing = target - reserve.bytes();
        // It comes back by and by, so that others have time to see what becomes of their disk.
        let room = space.bytes.saturating_sub(RESERVE_MARGIN_BYTES) / 2;
        let step = missing.min(room);
        if step < missing.min(RESERVE_STEP_BYTES) || missing == 0 {
            return Ok(());
        }
        reserve.grow(&self.0.directory, step)
    }

    fn fill_up_inodes(&self, reserve: &mut Reserve, space: &Space) -> io::Result<()> {
        let wanted = self.reserve_inodes(space);
        reserve.give_inodes(reserve.inodes().saturating_sub(wanted));
        // As the bytes, they come back by and by; but where there are few, each of them counts.
        let room = space.inodes.unwrap_or_default().div_ceil(2);
        reserve.take_inodes(wanted.saturating_sub(reserve.inodes()).min(room))
    }

    /// How much of the reserve is to be held as a file. More than the disk has is not meant to be.
    fn held_bytes_max(&self, space: &Space) -> u64 {
        let wanted = self.0.reserve_bytes;
        let is_meant = wanted <= space.total_bytes;
        if is_meant { wanted.min(space.total_bytes / 2).min(file_bytes_max()) } else { 0 }
    }

    fn missing_bytes(&self, reserve: &Reserve) -> u64 {
        self.0.reserve_bytes.saturating_sub(reserve.bytes())
    }

    /// How many inodes are to be held in reserve: none where there is no end of them.
    fn reserve_inodes(&self, space: &Space) -> u64 {
        if self.0.reserve_bytes == 0 { 0 } else { RESERVE_INODES.min(space.total_inodes / 8) }
    }

    fn shortage_of_inodes(&self, space: &Space, reserve: &Reserve) -> Option<Shortage> {
        let free = space.inodes?;
        let wanted = self.reserve_inodes(space);
        let missing = wanted.saturating_sub(reserve.inodes());
        let needed = INODES_PER_STEP + missing;
        let shortage = Shortage { of: Resource::Inodes, free, needed, reserve: wanted, missing };
        (free < needed).then_some(shortage)
    }

    /// The inodes that are free; none where there is no end of them, or nobody says.
    fn free_inodes(&self, reserve: &Reserve) -> Option<u64> {
        self.space(reserve).ok()?.inodes
    }

    fn has_beside(&self, reserve: &Reserve, bytes: u64) -> bool {
        // A file system that cannot be asked is taken to have room.
        if self.space(reserve).is_ok_and(|it| it.bytes < bytes || it.is_read_only) {
            return false;
        }
        // Where what the file system shows was not to be had, what can be allocated is.
        !self.is_exhausted() || reserve.can_grow(bytes)
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        lock(&self.0.reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reserve::RESERVE_FILE;

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
        disk.note(&io::ErrorKind::StorageFull.into());
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
        assert_eq!(shortage.missing, 1 << 62);
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

    #[test]
    fn inodes_are_kept_for_what_must_be_possible() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path(), RESERVE_BYTES);
        let shortage = |free: u64, held: u64| {
            let mut reserve = disk.reserve();
            reserve.give_inodes(u64::MAX);
            reserve.take_inodes(held).unwrap();
            let space = Space {
                total_bytes: 0,
                bytes: 0,
                inodes: Some(free),
                total_inodes: 1 << 20,
                is_read_only: false,
            };
            disk.shortage_of_inodes(&space, &reserve)
        };
        assert_eq!(shortage(INODES_PER_STEP, RESERVE_INODES), None);
        let lacking = shortage(INODES_PER_STEP - 1, RESERVE_INODES).unwrap();
        assert_eq!((lacking.of, lacking.missing), (Resource::Inodes, 0));
        let lacking = shortage(INODES_PER_STEP, RESERVE_INODES - 1).unwrap();
        assert_eq!((lacking.needed, lacking.missing), (INODES_PER_STEP + 1, 1));
        // More than any disk has.
        assert!(!disk.make_inodes(u64::MAX, 0));
        assert!(disk.make_inodes(1, 0));
    }
}
