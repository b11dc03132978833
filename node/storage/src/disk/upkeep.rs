//! Giving the reserve up in steps, and filling it up again.

use std::io;
use std::sync::atomic::Ordering;

use kv_system::transient::{file_bytes_max, is_full};
use tracing::{info, warn};

use super::{Disk, Space};
use crate::limits::{INODES_PER_STEP, RESERVE_INODES, RESERVE_MARGIN_BYTES, RESERVE_STEP_BYTES};
use crate::reserve::Reserve;

impl Disk {
    /// Has so many bytes free, and inodes for the files that take them, giving up as much as needed of the
    /// reserve, but not below `floor_bytes`. Returns whether they are free now.
    #[must_use]
    pub fn make_room(&self, bytes: u64, floor_bytes: u64) -> bool {
        self.make_inodes(INODES_PER_STEP, 0)
            && self.make_bytes(&mut self.reserve(), bytes, floor_bytes)
    }

    /// Has so many inodes free, giving up as many as needed of the reserve, but leaving `floor` there. Returns
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

    pub(super) fn make_bytes(&self, reserve: &mut Reserve, bytes: u64, floor_bytes: u64) -> bool {
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

    /// How many inodes are to be held in reserve: 0 where the file system has no end of them.
    pub(super) fn reserve_inodes(&self, space: &Space) -> u64 {
        if self.0.reserve_bytes == 0 { 0 } else { RESERVE_INODES.min(space.total_inodes / 8) }
    }
}
