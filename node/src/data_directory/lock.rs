//! The lock of a data directory, by which one process at a time holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use kv_system::private;

use crate::identity::DataDirectoryError;

/// The file of a data directory that its holder has locked. It names the holder's process.
pub(super) const LOCK_FILE: &str = "lock";
/// The locks of all processes, as the kernel lists them.
const SYSTEM_LOCKS: &str = "/proc/locks";

/// Whether a process of this machine holds the data directory `path`. To look keeps no process from taking
/// it, as to try the lock would.
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
pub(super) fn lock(path: &Path) -> Result<File, DataDirectoryError> {
    let unusable = |source| DataDirectoryError::Unusable { path: path.to_owned(), source };
    // It must not be emptied before it is locked: it names the process that holds it.
    let mut options = OpenOptions::new();
    let options = options.create(true).write(true).truncate(false).mode(private::FILE_MODE);
    let mut lock = options.open(path.join(LOCK_FILE)).map_err(unusable)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => DataDirectoryError::Held { path: path.to_owned() },
        TryLockError::Error(source) => unusable(source),
    })?;
    // A full disk is no reason not to serve the data on it. Over what stood there before, the line
    // takes no room.
    let holder = format!("{}\n", std::process::id());
    let _ = lock.write_all(holder.as_bytes()).and_then(|()| lock.set_len(holder.len() as u64));
    Ok(lock)
}
