//! A node's data directory: held by one process at a time, and checked to be what it was.
//!
//! - here: what it holds, and is written there; `lock`: which process holds it; `check`: whether its store is the
//!   one that it had.

mod check;
mod lock;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kv_core::incarnation::Incarnation;
use kv_core::name::Name;
use kv_storage::Counters;
use kv_storage::disk::Disk;
use kv_storage::limits::SMALL_FILES_BYTES;
use kv_storage::reserve::RESERVE_FILE;
use kv_system::private;
use kv_system::transient::is_full;

pub use self::lock::is_held;
use self::lock::{LOCK_FILE, lock};
use crate::identity::{
    DataDirectoryError, IDENTITY_FILE, Identity, InstalledEpoch, Place, write_durably,
};

/// The kernel's name for the time since the machine was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const STORE_DIRECTORY: &str = "store";

/// A data directory that this process holds. It is free again when this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    lock: File,
    /// Gives up some of its reserve where the identity finds no room.
    disk: Option<Disk>,
}

impl DataDirectory {
    /// Takes the data directory `path` for node `id` of `cluster`, and makes it if need be.
    ///
    /// # Errors
    /// [`DataDirectoryError`] where it is held, unusable, damaged or another node's.
    pub fn take(path: &Path, id: &Name, cluster: &Name) -> Result<Self, DataDirectoryError> {
        let unusable = |source| DataDirectoryError::Unusable { path: path.to_owned(), source };
        private::make(path).map_err(unusable)?;
        let lock = lock(path)?;
        private::tighten(path);
        let (identity, is_new) = match Identity::read(path)? {
            Some(identity) => (identity, false),
            None if path.join(STORE_DIRECTORY).exists() => {
                let reason = "it is missing, but there is data".to_owned();
                return Err(DataDirectoryError::Damaged { path: path.join(IDENTITY_FILE), reason });
            }
            None => (Identity::draw(id, cluster), true),
        };
        if identity.id != *id || identity.cluster != *cluster {
            return Err(DataDirectoryError::Foreign {
                path: path.to_owned(),
                found: identity.id,
                cluster: identity.cluster,
                wanted: format!("node {id} of cluster {cluster}"),
            });
        }
        Ok(Self { path: path.to_owned(), identity, is_new, lock, disk: None })
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the directory holds no identity yet: nothing was ever stored here.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Takes note of the disk that it is on, which has a reserve for what must be written, and which is to
    /// tell whether the directory is where it was: its path leads to the lock file that this process holds.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where the lock file cannot be looked at.
    pub fn set_disk(&mut self, disk: &Disk) -> Result<(), DataDirectoryError> {
        let kept = disk.belongings().keep_open(&self.path.join(LOCK_FILE), &self.lock);
        kept.map_err(|source| DataDirectoryError::Unusable { path: self.path.clone(), source })?;
        self.disk = Some(disk.clone());
        Ok(())
    }

    /// Where the store lies.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE_DIRECTORY)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the identity of a node that starts, with the port that it listens on, durably.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where it cannot be written.
    pub fn keep(&mut self, port: u16) -> Result<(), DataDirectoryError> {
        let started = Identity { port: Some(port), removed: false, ..self.identity.clone() };
        if self.is_new || self.identity != started { self.write(started) } else { Ok(()) }
    }

    /// Keeps durably that the node has left the cluster.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where it cannot be written.
    pub fn remember_removal(&mut self) -> Result<(), DataDirectoryError> {
        self.write(Identity { removed: true, ..self.identity.clone() })?;
        if let Some(disk) = &self.disk {
            disk.give_up();
        }
        Ok(())
    }

    /// Keeps durably which layout the store has.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where it cannot be written.
    pub fn remember_layout(&mut self, layout: InstalledEpoch) -> Result<(), DataDirectoryError> {
        if self.identity.layout != Some(layout) {
            self.write(Identity { layout: Some(layout), ..self.identity.clone() })?;
        }
        Ok(())
    }

    /// Keeps durably that the node stops cleanly, with these counters in its store.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where it cannot be written.
    pub fn remember_stop(&mut self, counters: Counters) -> Result<(), DataDirectoryError> {
        self.write(Identity { stopped_with: Some(counters), ..self.identity.clone() })
    }

    /// Keeps durably that the node is about to claim its id as `incarnation` and, once it has, changes
    /// the store.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where it cannot be written.
    pub fn begin(&mut self, incarnation: Incarnation) -> Result<(), DataDirectoryError> {
        self.write(Identity {
            incarnations: self.identity.incarnations.with(incarnation),
            place: self.place(),
            stopped_with: None,
            ..self.identity.clone()
        })
    }

    /// The run of the node whose process has certainly ended: it held the lock that this one holds now.
    /// `None` where the directory is a copy, or the machine has been started anew since.
    #[must_use]
    pub fn ended(&self) -> Option<Incarnation> {
        let is_here = self.identity.place.is_some() && self.identity.place == self.place();
        self.identity.incarnations.last().filter(|_| is_here)
    }

    /// Where the directory is now, where the system says.
    fn place(&self) -> Option<Place> {
        let lock = self.lock.metadata().ok()?;
        let boot = fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
        Some(Place { boot, device: lock.dev(), inode: lock.ino() })
    }

    /// Writes the identity anew where its file was removed: the node knows it, and the next start
    /// needs it. Returns whether that was so.
    ///
    /// # Errors
    /// [`DataDirectoryError::Unusable`] where it cannot be written.
    pub fn mend(&mut self) -> Result<bool, DataDirectoryError> {
        let is_missing = matches!(fs::exists(self.path.join(IDENTITY_FILE)), Ok(false));
        if !is_missing || self.disk.as_ref().is_some_and(Disk::has_lost) {
            return Ok(false);
        }
        self.write(self.identity.clone())?;
        Ok(true)
    }

    /// Writes the identity, unless something of the directory is lost: another may be in its place, and is
    /// not this node's.
    fn write(&mut self, identity: Identity) -> Result<(), DataDirectoryError> {
        if self.disk.as_ref().is_some_and(Disk::has_lost) {
            self.identity = identity;
            return Ok(());
        }
        let has_room = || self.disk.as_ref().is_some_and(|it| it.make_room(SMALL_FILES_BYTES, 0));
        let written = match write_durably(&self.path, &identity) {
            Err(error) if is_full(&error) && has_room() => write_durably(&self.path, &identity),
            written => written,
        };
        written
            .map_err(|source| DataDirectoryError::Unusable { path: self.path.clone(), source })?;
        self.identity = identity;
        self.is_new = false;
        Ok(())
    }

    /// Gives a directory up that was made for nothing: it holds no identity and no data.
    pub fn abandon(self) {
        if self.is_new {
            // A file that cannot be removed does no harm: the next node that comes by takes it.
            let _ = fs::remove_file(self.path.join(RESERVE_FILE));
            let _ = fs::remove_file(self.path.join(LOCK_FILE));
            let _ = fs::remove_dir(&self.path);
        }
    }
}
