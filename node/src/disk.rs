//! How much room the node's disk has left.

use std::io;
use std::path::{Path, PathBuf};

use crate::staging::Room;

/// Watches the file system that a directory is on.
#[derive(Clone, Debug)]
pub struct Disk {
    directory: PathBuf,
    reserve_bytes: u64,
}

impl Disk {
    /// Watches the file system of `directory`, of which `reserve_bytes` are to stay free: the
    /// engine needs room to work in, and cannot undo a write that met a full disk half way.
    #[must_use]
    pub fn new(directory: &Path, reserve_bytes: u64) -> Self {
        Self { directory: directory.to_owned(), reserve_bytes }
    }

    /// The bytes that are free for this process.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The bytes that are free above the reserve.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn room_bytes(&self) -> io::Result<u64> {
        Ok(self.free_bytes()?.saturating_sub(self.reserve_bytes))
    }

    /// Whether there is room for `wanted_bytes` more above the reserve. A file system that cannot
    /// be asked is taken to have room: the write itself will tell.
    #[must_use]
    pub fn room(&self, wanted_bytes: u64) -> Room {
        match self.free_bytes() {
            Ok(free_bytes) if free_bytes < self.reserve_bytes.saturating_add(wanted_bytes) => {
                Room::Full { free_bytes, reserve_bytes: self.reserve_bytes }
            }
            _ => Room::Free,
        }
    }
}
