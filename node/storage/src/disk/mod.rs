//! The disk that the node's data is on: how much room it has, and the reserve that is held there.
//!
//! Removing records, giving the engine the changes in the log, starting and stopping need a little room on a
//! disk that is full: bytes, and inodes for new files. Both are held in a [reserve](crate::reserve), which is
//! given up in steps, and filled up again when there is room. Nothing else is stored before it is full again,
//! so that one reserve lasts for as long as the disk is full.
//!
//! On a file system that cannot allocate blocks for a file (ZFS, some network file systems), as much is
//! only left free, and what others take of it is gone. One that copies on every write or compresses may
//! need more than the file gave back; then removals are refused as well, and wait for room.
//!
//! - here: the disk as it was seen, and what befell writes there; `room`: how much room there is;
//! - `upkeep`: the reserve, given up and filled up again.

mod room;
#[cfg(test)]
mod tests;
mod upkeep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use kv_system::failpoints;
use kv_system::lock::lock;
use kv_system::transient::{is_full, is_read_only};
use rustix::fs::{StatVfsMountFlags, statvfs};
use tracing::{info, warn};

pub use self::room::{Resource, Room, Shortage};
use crate::belongings::Belongings;
use crate::reserve::Reserve;

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
    /// The inodes that are free; `None` where it makes as many as it is asked for, or does not say.
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
    /// another is there. A write to it may be lost with the process.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }

    /// Looks whether everything is in its place. Returns a path that is not, where something is missing. Where
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
            // Other processes have taken all that is not in the reserve.
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

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        lock(&self.0.reserve)
    }
}
