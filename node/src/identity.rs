//! Who a node is: its data directory.
//!
//! A node's identity is a uuid that is drawn when its data directory is made and kept there. The
//! node's id is a name for people; the uuid is what layouts and clients hold it to, so that a
//! process on an empty or foreign directory cannot pass for a node whose data it does not have.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kv_protocol::name::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::disk::{Disk, RESERVE_FILE};
use crate::limits::SMALL_FILES_BYTES;
use crate::private;
use crate::store::Counters;
use crate::transient::{self, is_full, passes};

const FORMAT: u32 = 1;
/// The file of a data directory that says whose it is.
pub const IDENTITY_FILE: &str = "identity.json";
/// The file of a data directory that its holder has locked. It names the holder's process.
const LOCK_FILE: &str = "lock";
/// The locks of all processes, as the kernel lists them.
const SYSTEM_LOCKS: &str = "/proc/locks";
const STORE_DIRECTORY: &str = "store";

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    format: u32,
    /// The node's id.
    pub id: Name,
    /// The identity of the data directory.
    pub uuid: Uuid,
    /// The name of the cluster that the node joins.
    pub cluster: Name,
    /// The port that the node listened on last.
    pub port: Option<u16>,
    /// The layout that the store had when this was written: it has it, or a later one.
    pub layout: Option<InstalledEpoch>,
    /// What the store's counters were when the node stopped cleanly; none while it runs.
    pub stopped_with: Option<Counters>,
    /// Whether the node has left the cluster because it was told to, storing nothing. Who starts it
    /// again by its id means it; nobody does who starts whatever has data here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// The cluster and the epoch of an installed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstalledEpoch {
    /// The cluster's identity.
    pub cluster: Uuid,
    /// The layout's epoch.
    pub epoch: u64,
}

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

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirectoryError {
    /// Another process holds it.
    #[error(
        "the data directory {path} is held by another process: stop that node, or choose another directory with --data-dir or another id with --id"
    )]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("the data directory {path} cannot be used: {source}; {}", advice(source))]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Its identity file is damaged.
    #[error(
        "{path} is not understood: {reason}; it says whose data lies beside it, so restore it from a copy"
    )]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is not the one that belongs to the identity.
    #[error(
        "the store in {path} is not the one that this node had: {reason}; serving it would report stored keys as absent. Restore the whole data directory from a copy, or remove the directory to start a new node"
    )]
    StoreReplaced {
        /// The data directory.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// It belongs to another node.
    #[error(
        "the data directory {path} belongs to node {found} of cluster {cluster}, not to {wanted}: use another directory, or the right --id and --cluster"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The node that it belongs to.
        found: Name,
        /// The cluster that it belongs to.
        cluster: Name,
        /// The node and cluster that were wanted.
        wanted: String,
    },
}

impl DataDirectoryError {
    /// Whether it passes, and can be tried again.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Unusable { source, .. } if transient::passes(source))
    }
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

    /// Takes note of the disk that it is on, which has a reserve for what must be written.
    pub fn set_disk(&mut self, disk: &Disk) {
        self.disk = Some(disk.clone());
    }

    /// Whether the directory is where it was: its path leads to the lock file that this process holds.
    ///
    /// # Errors
    /// What the operating system says where that cannot be found out.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let held = self.lock.metadata()?;
        match fs::metadata(self.path.join(LOCK_FILE)) {
            Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error),
            },
        }
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
    /// node had, before the node changes it.
    ///
    /// # Errors
    /// [`DataDirectoryError::StoreReplaced`] where it is another, an older one or an empty one.
    pub fn check_store(
        &mut self,
        stored: Option<InstalledEpoch>,
        counters: Counters,
    ) -> Result<(), DataDirectoryError> {
        self.check_layout(stored)?;
        let Some(known) = self.identity.stopped_with else { return Ok(()) };
        if known != counters {
            let reason = format!(
                "it has {} keys after {} writes, and the node stopped with {} keys after {}",
                counters.keys, counters.sequence, known.keys, known.sequence
            );
            return Err(DataDirectoryError::StoreReplaced { path: self.path.clone(), reason });
        }
        self.write(Identity { stopped_with: None, ..self.identity.clone() })
    }

    fn check_layout(&self, stored: Option<InstalledEpoch>) -> Result<(), DataDirectoryError> {
        let Some(known) = self.identity.layout else { return Ok(()) };
        let reason = match stored {
            Some(stored) if stored.cluster == known.cluster && stored.epoch >= known.epoch => {
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

    /// Writes the identity, unless the directory is lost: another may be in its place, and is not this
    /// node's.
    fn write(&mut self, identity: Identity) -> Result<(), DataDirectoryError> {
        if self.disk.as_ref().is_some_and(Disk::is_lost) || self.is_in_place().is_ok_and(|it| !it) {
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

impl Identity {
    fn draw(id: &Name, cluster: &Name) -> Self {
        Self {
            format: FORMAT,
            id: id.clone(),
            uuid: Uuid::new_v4(),
            cluster: cluster.clone(),
            port: None,
            layout: None,
            stopped_with: None,
            removed: false,
        }
    }

    /// Reads whose data directory `path` is; none where it is nobody's yet.
    ///
    /// # Errors
    /// [`DataDirectoryError`] where it cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, DataDirectoryError> {
        let file = path.join(IDENTITY_FILE);
        match fs::read(&file) {
            Ok(json) => Ok(Some(parse(&json, &file)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataDirectoryError::Unusable { path: path.to_owned(), source }),
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

fn parse(json: &[u8], file: &Path) -> Result<Identity, DataDirectoryError> {
    let damaged = |reason: String| DataDirectoryError::Damaged { path: file.to_owned(), reason };
    let identity: Identity =
        serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
    if identity.format != FORMAT {
        return Err(damaged(format!(
            "it has format {}, this program reads format {FORMAT}",
            identity.format
        )));
    }
    Ok(identity)
}

fn write_durably(directory: &Path, identity: &Identity) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(identity)?;
    json.push(b'\n');
    let temporary = directory.join(format!("{IDENTITY_FILE}.new"));
    let mut options = OpenOptions::new();
    let options = options.create(true).write(true).truncate(true).mode(private::FILE_MODE);
    let write = || {
        let mut file = options.open(&temporary)?;
        file.write_all(&json)?;
        file.sync_all()
    };
    write().inspect_err(|_| {
        // What there is of it takes up room, and is of no use.
        let _ = fs::remove_file(&temporary);
    })?;
    fs::rename(&temporary, directory.join(IDENTITY_FILE))?;
    File::open(directory)?.sync_all()
}

/// What to do about a data directory that cannot be used.
fn advice(error: &io::Error) -> &'static str {
    match passes(error) {
        true if is_full(error) => "free some space there, and start the node again",
        true => "that passes: start the node again",
        false => "it must be readable and writable for the node",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
