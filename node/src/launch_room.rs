//! How many nodes may be started on a host because desired states want them: some at a time, and some in all.
//!
//! Any process that can write to Consul can write any number of desired states, and every node of a host may
//! take one up. So the bounds are the host's, for all its nodes together, and lie where these share
//! something that no other user can write: beside the nodes' data. A launch that is under way holds the
//! lock of one of a few files there, which the system lets go when its holder dies, and which names the
//! node; the nodes that run are those that hold their data directories.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use kv_core::limits::{LAUNCHES_AT_ONCE_MAX, NAME_BYTES_MAX};
use kv_core::name::Name;

use crate::data_directory::is_held;

/// Locked by the one that looks for room, until it has found some or none. No node has such an id, nor
/// one of the names that begin like this, so these files are in no node's way.
const TURN_FILE: &str = ".launch";

/// The right to have a node started, for as long as this lives.
#[derive(Debug)]
pub struct Launch {
    _lock: File,
}

/// Whether one more node may be started.
#[derive(Debug)]
pub enum Room {
    /// It may.
    Free(Launch),
    /// Not before one of those that are being started is up, or has failed.
    Busy,
    /// Not before one of those that run, or are being started, has ended.
    Full,
}

/// Looks whether the node `id` may be started with its data under `root`, where at most `nodes_max` are
/// to run.
///
/// # Errors
/// Where `root` cannot be written.
pub fn find(root: &Path, id: &Name, nodes_max: usize) -> io::Result<Room> {
    fs::create_dir_all(root)?;
    let Ok(_turn) = lock(&root.join(TURN_FILE))? else { return Ok(Room::Busy) };
    let mut nodes: HashSet<OsString> = HashSet::new();
    let mut free = None;
    for number in 0..LAUNCHES_AT_ONCE_MAX {
        match lock(&root.join(format!("{TURN_FILE}-{number}")))? {
            Ok(file) => free = free.or(Some(file)),
            Err(taken) => {
                let mut other = String::new();
                taken.take(NAME_BYTES_MAX as u64).read_to_string(&mut other)?;
                nodes.insert(other.into());
            }
        }
    }
    let Some(mut free) = free else { return Ok(Room::Busy) };
    let entries = fs::read_dir(root)?.flatten();
    nodes.extend(entries.filter(|entry| is_held(&entry.path())).map(|entry| entry.file_name()));
    if nodes.len() >= nodes_max {
        return Ok(Room::Full);
    }
    free.set_len(0)?;
    free.write_all(id.as_str().as_bytes())?;
    Ok(Room::Free(Launch { _lock: free }))
}

/// Opens the file `path` and locks it; the file that is not locked is another process's.
fn lock(path: &Path) -> io::Result<Result<File, File>> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Ok(file)),
        Err(TryLockError::WouldBlock) => Ok(Err(file)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_directory::DataDirectory;

    #[test]
    fn launches_are_bounded_at_a_time_and_in_all() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("nodes");
        let find = |id: &str, nodes_max| find(&root, &id.parse().unwrap(), nodes_max).unwrap();
        let mut launches = Vec::new();
        for number in 0..LAUNCHES_AT_ONCE_MAX {
            let Room::Free(launch) = find(&format!("node-{number}"), 100) else {
                panic!("there is room")
            };
            launches.push(launch);
        }
        assert!(matches!(find("node-9", 100), Room::Busy));
        // Those that are being started count, whether they hold their directories already or not.
        launches.truncate(2);
        assert!(matches!(find("node-9", 2), Room::Full));
        assert!(matches!(find("node-9", 3), Room::Free(_)));
        let take = |id: &str| {
            let cluster = "default".parse().unwrap();
            DataDirectory::take(&root.join(id), &id.parse().unwrap(), &cluster).unwrap()
        };
        let first = take("node-1");
        assert!(matches!(find("node-9", 3), Room::Free(_)));
        let second = take("node-8");
        assert!(matches!(find("node-9", 3), Room::Full));
        launches.clear();
        assert!(matches!(find("node-9", 3), Room::Free(_)));
        assert!(matches!(find("node-9", 2), Room::Full));
        drop((first, second));
        assert!(matches!(find("node-9", 1), Room::Free(_)));
        assert!(matches!(find("node-9", 0), Room::Full));
    }
}
