//! A node's data directory: held by one process at a time, and checked to be what it was.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kv_core::incarnation::Incarnation;
use kv_core::name::Name;
use kv_storage::Counters;
use kv_storage::disk::Disk;
use kv_storage::limits::SMALL_FILES_BYTES;
use kv_storage::reserve::RESERVE_FILE;
use kv_system::private;
use kv_system::transient::is_full;
use tracing::warn;

use crate::identity::{
    DataDirectoryError, IDENTITY_FILE, Identity, InstalledEpoch, Place, write_durably,
};

/// The file of a data directory that its holder has locked. It names the holder's process.
const LOCK_FILE: &str = "lock";
/// The kernel's name for the time since the machine was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The locks of all processes, as the kernel lists them.
const SYSTEM_LOCKS: &str = "/proc/locks";
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
    /// Takes the data directory `path` for node `id` of `cluster`, making it where there is none.
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

    /// Checks that the store, which has the layout `stored` and these counters, is the one that the
    /// node had, before the node changes it. With `older_too` an older one of the node's will do.
    ///
    /// # Errors
    /// [`DataDirectoryError::StoreReplaced`] where it is another, an older one or an empty one.
    pub fn check_store(
        &self,
        stored: Option<InstalledEpoch>,
        counters: Counters,
        older_too: bool,
    ) -> Result<(), DataDirectoryError> {
        self.check_layout(stored, older_too)?;
        match self.identity.stopped_with {
            Some(known) if known != counters => {
                let reason = format!(
                    "it has {} keys after {} writes, and the node stopped with {} keys after {}",
                    counters.keys, counters.sequence, known.keys, known.sequence
                );
                if older_too {
                    warn!(
                        "serving another store than before, as --serve-older-copy says: {reason}"
                    );
                    return Ok(());
                }
                Err(DataDirectoryError::StoreReplaced { path: self.path.clone(), reason })
            }
            _ => Ok(()),
        }
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
    /// None where the directory is a copy, or the machine has been started anew since.
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

    fn check_layout(
        &self,
        stored: Option<InstalledEpoch>,
        older_too: bool,
    ) -> Result<(), DataDirectoryError> {
        let Some(known) = self.identity.layout else { return Ok(()) };
        let reason = match stored {
            Some(stored)
                if stored.cluster == known.cluster
                    && (older_too || stored.epoch >= known.epoch) =>
            {
                return Ok(());
            }
            Some(stored) if stored.cluster == known.cluster => {
                format!(
                    "it has the layout of epoch {}, expected {} or later",
                    stored.epoch, known.epoch
                )
            }
            Some(stored) => format!(
                "it belongs to cluster {}, expected cluster {}",
                stored.cluster, known.cluster
            ),
            None => format!("it has no layout, expected epoch {} or later", known.epoch),
        };
        Err(DataDirectoryError::StoreReplaced { path: self.path.clone(), reason })
    }

    /// Writes the identity anew where somebody has removed its file: the node knows it, and the next start
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
            // What cannot be removed is in nobody's way: the next node that comes by takes it.
            let _ = fs::remove_file(self.path.join(RESERVE_FILE));
            let _ = fs::remove_file(self.path.join(LOCK_FILE));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Whether a process of this machine holds the data directory `path`. Unlike an attempt to take it,
/// looking is in nobody's way.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    let file = path.join(LOCK_FILE);
    let Ok(text) = fs::read_to_string(&file) else { return false };
    let (Ok(metadata), Ok(locks)) = (fs::metadata(&file), fs::read_to_string(SYSTEM_LOCKS)) else {
        return false;
    };
    let inode = metadata.ino().to_string();
    // `1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF`. The device is left out: where
    // file systems lie over each other, it is another than the one that the file shows.
    locks.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some("FLOCK")
            && fields.nth(2) == Some(text.trim())
            && fields.next().and_then(|file| file.rsplit(':').next()) == Some(inode.as_str())
    })
}

/// Locks the data directory `path`, and writes down by which process.
fn lock(path: &Path) -> Result<File, DataDirectoryError> {
    let unusable = |source| DataDirectoryError::Unusable { path: path.to_owned(), source };
    // It must not be emptied before it is locked: it names the process that holds it.
    let mut options = OpenOptions::new();
    let options = options.create(true).write(true).truncate(false).mode(private::FILE_MODE);
    let mut lock = options.open(path.join(LOCK_FILE)).map_err(unusable)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => DataDirectoryError::Held { path: path.to_owned() },
        TryLockError::Error(source) => unusable(source),
    })?;
    // A disk that is full is no reason not to serve what is on it. Over what stood there before, it
    // takes no room.
    let holder = format!("{}\n", std::process::id());
    let _ = lock.write_all(holder.as_bytes()).and_then(|()| lock.set_len(holder.len() as u64));
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IDENTITY_BYTES, OTHER_IDENTITY_FILE};

    #[test]
    fn a_directory_names_its_holder_and_shows_that_it_is_held() {
        let root = tempfile::tempdir().unwrap();
        let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
        let path = root.path().join("node-0");
        assert!(!is_held(&path));
        let directory = DataDirectory::take(&path, &id, &cluster).unwrap();
        let pid = fs::read_to_string(path.join(LOCK_FILE)).unwrap();
        assert_eq!(pid, format!("{}\n", std::process::id()));
        assert!(is_held(&path));
        let refused = DataDirectory::take(&path, &id, &cluster);
        assert!(matches!(refused, Err(DataDirectoryError::Held { .. })));
        assert_eq!(fs::read_to_string(path.join(LOCK_FILE)).unwrap(), pid);
        drop(directory);
        assert!(!is_held(&path));
    }

    #[test]
    fn a_removal_is_kept_until_the_node_starts_again() {
        let root = tempfile::tempdir().unwrap();
        let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
        assert!(Identity::read(root.path()).unwrap().is_none());
        let mut directory = DataDirectory::take(root.path(), &id, &cluster).unwrap();
        directory.keep(2000).unwrap();
        directory.remember_removal().unwrap();
        assert!(Identity::read(root.path()).unwrap().unwrap().removed);
        directory.keep(2000).unwrap();
        assert!(!Identity::read(root.path()).unwrap().unwrap().removed);
    }

    #[test]
    fn a_run_has_ended_where_its_lock_is_held_and_is_unknown_to_a_copy() {
        let root = tempfile::tempdir().unwrap();
        let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
        let (path, copy) = (root.path().join("node-0"), root.path().join("copy"));
        let mut directory = DataDirectory::take(&path, &id, &cluster).unwrap();
        assert_eq!(directory.ended(), None);
        let first = directory.identity().incarnations.next(None);
        directory.begin(first).unwrap();
        drop(directory);

        fs::create_dir(&copy).unwrap();
        for file in [IDENTITY_FILE, LOCK_FILE] {
            fs::copy(path.join(file), copy.join(file)).unwrap();
        }
        let moved = root.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(DataDirectory::take(&moved, &id, &cluster).unwrap().ended(), Some(first));
        let copy = DataDirectory::take(&copy, &id, &cluster).unwrap();
        assert_eq!(copy.identity().incarnations.last(), Some(first));
        assert_eq!(copy.ended(), None);
    }

    #[test]
    fn an_identity_that_is_removed_is_written_anew_where_the_directory_is() {
        let root = tempfile::tempdir().unwrap();
        let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
        let path = root.path().join("node-0");
        let mut directory = DataDirectory::take(&path, &id, &cluster).unwrap();
        directory.set_disk(&Disk::new(&path, 0)).unwrap();
        directory.keep(2000).unwrap();
        assert!(!directory.mend().unwrap());
        fs::remove_file(path.join(IDENTITY_FILE)).unwrap();
        assert!(directory.mend().unwrap());
        assert_eq!(Identity::read(&path).unwrap().as_ref(), Some(directory.identity()));
        fs::rename(&path, root.path().join("aside")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!directory.mend().unwrap());
        assert_eq!(Identity::read(&path).unwrap(), None, "that is another directory");
    }

    #[test]
    fn an_identity_is_written_anew_in_the_room_that_it_has() {
        let root = tempfile::tempdir().unwrap();
        let (id, cluster) = ("node-0".parse().unwrap(), "default".parse().unwrap());
        let mut directory = DataDirectory::take(root.path(), &id, &cluster).unwrap();
        let files = [IDENTITY_FILE, OTHER_IDENTITY_FILE].map(|name| root.path().join(name));
        let inodes = || files.clone().map(|file| fs::metadata(file).map(|it| it.ino()).ok());
        directory.keep(2000).unwrap();
        directory.keep(2001).unwrap();
        let [current, other] = inodes();
        assert!(current.is_some() && other.is_some());
        directory.keep(2002).unwrap();
        assert_eq!(inodes(), [other, current], "they take turns");
        let lengths = files.each_ref().map(|file| fs::metadata(file).unwrap().len());
        assert_eq!(lengths, [IDENTITY_BYTES as u64; 2]);
        assert_eq!(Identity::read(root.path()).unwrap().unwrap().port, Some(2002));
        // A write that was cut short leaves the one that counts as it is.
        fs::write(&files[1], b"{\"format\":").unwrap();
        assert_eq!(Identity::read(root.path()).unwrap().unwrap().port, Some(2002));
        directory.keep(2003).unwrap();
        assert_eq!(Identity::read(root.path()).unwrap().unwrap().port, Some(2003));
    }
}
