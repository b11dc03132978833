//! How much room there is.

use std::io;
use std::sync::TryLockError;
use std::sync::atomic::Ordering;

use kv_system::transient::file_bytes_max;

use super::{Disk, Space};
use crate::limits::INODES_PER_STEP;
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

impl Disk {
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
        let of_bytes = self.bytes_beside(&space, &reserve, wanted_bytes);
        let Some(shortage) = self.shortage(&space, &reserve, of_bytes) else { return Room::Free };
        // A removal is appended to the log, and needs no inode.
        match self.make_bytes(&mut reserve, removal_bytes, self.0.reserve_bytes / 2) {
            true => Room::Removals(shortage),
            false => Room::Nothing(Shortage { needed: removal_bytes, ..of_bytes }),
        }
    }

    /// Whether it shows room for so many bytes beside the reserve, as far as that is to be known without waiting
    /// for a thread that changes the reserve.
    #[must_use]
    pub fn shows_room(&self, wanted_bytes: u64) -> bool {
        let reserve = match self.0.reserve.try_lock() {
            Ok(reserve) => reserve,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Ok(space) = self.space(&reserve) else { return false };
        let of_bytes = self.bytes_beside(&space, &reserve, wanted_bytes);
        !self.is_lost()
            && !space.is_read_only
            && self.shortage(&space, &reserve, of_bytes).is_none()
    }

    /// The bytes that there are beside those that are needed.
    fn bytes_beside(&self, space: &Space, reserve: &Reserve, wanted_bytes: u64) -> Shortage {
        let missing = self.missing_bytes(reserve);
        Shortage {
            of: Resource::Bytes,
            free: space.bytes,
            needed: wanted_bytes.saturating_add(missing),
            reserve: self.0.reserve_bytes,
            missing,
        }
    }

    /// What is lacking first: bytes, bytes in one file, or inodes.
    fn shortage(&self, space: &Space, reserve: &Reserve, of_bytes: Shortage) -> Option<Shortage> {
        if of_bytes.free < of_bytes.needed || self.is_exhausted() {
            Some(of_bytes)
        } else if self.0.is_limited.load(Ordering::Acquire) {
            Some(Shortage { of: Resource::FileBytes, free: file_bytes_max(), ..of_bytes })
        } else {
            self.shortage_of_inodes(space, reserve)
        }
    }

    /// Whether so many bytes are free, and inodes for the files that take them, without giving up anything.
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

    pub(super) fn missing_bytes(&self, reserve: &Reserve) -> u64 {
        self.0.reserve_bytes.saturating_sub(reserve.bytes())
    }

    pub(super) fn shortage_of_inodes(&self, space: &Space, reserve: &Reserve) -> Option<Shortage> {
        let free = space.inodes?;
        let wanted = self.reserve_inodes(space);
        let missing = wanted.saturating_sub(reserve.inodes());
        let needed = INODES_PER_STEP + missing;
        let shortage = Shortage { of: Resource::Inodes, free, needed, reserve: wanted, missing };
        (free < needed).then_some(shortage)
    }

    /// The inodes that are free; `None` where the file system has no end of them, or does not say.
    pub(super) fn free_inodes(&self, reserve: &Reserve) -> Option<u64> {
        self.space(reserve).ok()?.inodes
    }

    pub(super) fn has_beside(&self, reserve: &Reserve, bytes: u64) -> bool {
        // A file system that cannot be asked is taken to have room.
        if self.space(reserve).is_ok_and(|it| it.bytes < bytes || it.is_read_only) {
            return false;
        }
        // Where what the file system shows was not to be had, what can be allocated is.
        !self.is_exhausted() || reserve.can_grow(bytes)
    }
}
