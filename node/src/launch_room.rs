//! How many nodes may be started on a host because signals want them: some at a time, and some in all.
//!
//! Anybody who reaches Consul can write signals, as many as they like, and every node of a host may
//! take one up. So the bounds are the host's, for all its nodes together, and lie where these share
//! something that nobody else can write: beside the nodes' data. A launch that is under way holds the
//! lock of one of a few files there, which the system lets go when its holder dies; the nodes that run
//! are those that hold their data directories.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use kv_protocol::limits::LAUNCHES_AT_ONCE_MAX;

use crate::identity::is_held;

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
    /// Not before one of those that run has ended.
    Full,
}

/// Looks whether one more node may be started with its data under `root`, where at most `nodes_max`
/// are to run.
///
/// # Errors
/// Where `root` cannot be written.
pub fn find(root: &Path, nodes_max: usize) -> io::Result<Room> {
    fs::create_dir_all(root)?;
    let Some(launch) = take(root)? else { return Ok(Room::Busy) };
    // Counted after the lock is taken: those that are being started just then are as few as the locks.
    if is_full(root, nodes_max)? { Ok(Room::Full) } else { Ok(Room::Free(launch)) }
}

fn take(root: &Path) -> io::Result<Option<Launch>> {
    for number in 0..LAUNCHES_AT_ONCE_MAX {
        // No node has such an id, so it is in no node's way.
        let path = root.join(format!(".launch-{number}"));
        let lock = File::options().create(true).truncate(false).write(true).open(path)?;
        match lock.try_lock() {
            Ok(()) => return Ok(Some(Launch { _lock: lock })),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn is_full(root: &Path, nodes_max: usize) -> io::Result<bool> {
    let directories = fs::read_dir(root)?.flatten().map(|entry| entry.path());
    Ok(directories.filter(|path| is_held(path)).take(nodes_max).count() >= nodes_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::DataDirectory;

    #[test]
    fn launches_are_bounded_at_a_time_and_in_all() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("nodes");
        let mut launches = Vec::new();
        for _ in 0..LAUNCHES_AT_ONCE_MAX {
            let Room::Free(launch) = find(&root, 2).unwrap() else { panic!("there is room") };
            launches.push(launch);
        }
        assert!(matches!(find(&root, 2).unwrap(), Room::Busy));
        launches.pop();
        let take = |id: &str| {
            let cluster = "default".parse().unwrap();
            DataDirectory::take(&root.join(id), &id.parse().unwrap(), &cluster).unwrap()
        };
        let first = take("node-0");
        assert!(matches!(find(&root, 2).unwrap(), Room::Free(_)));
        let second = take("node-1");
        assert!(matches!(find(&root, 2).unwrap(), Room::Full));
        drop(second);
        assert!(matches!(find(&root, 2).unwrap(), Room::Free(_)));
        assert!(matches!(find(&root, 1).unwrap(), Room::Full));
        assert!(matches!(find(&root, 0).unwrap(), Room::Full));
        drop(first);
        assert!(matches!(find(&root, 1).unwrap(), Room::Free(_)));
    }
}
