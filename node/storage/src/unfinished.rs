//! A start of the engine that a crash has ended, seen to before the next one.
//!
//! When the engine starts, it writes all its metadata (which page is where) as a snapshot, removes the
//! logs and the snapshot from which it had read them, and begins a log with the next number. Where it
//! dies in between, the next start finds a snapshot and no log. It writes that snapshot anew, under the
//! same name, and then removes what it takes for the one before: the very same file. All works on from
//! memory; but the start after that finds only what has been written since, and everything else
//! is lost. With an empty log beside the snapshot, the engine does the right thing.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Where the engine keeps its metadata.
pub(super) const METADATA_DIRECTORY: &str = "metadata";
/// The files there: this and a number in hexadecimal digits.
pub(super) const SNAPSHOT_PREFIX: &str = "snapshot_";
pub(super) const LOG_PREFIX: &str = "log_";

/// Gives the engine in `directory` the log that it did not come to begin, where that is so.
pub(crate) fn complete_start(directory: &Path) -> io::Result<()> {
    let metadata = directory.join(METADATA_DIRECTORY);
    let (mut snapshot, mut log) = (None, None);
    let entries = match fs::read_dir(&metadata) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        snapshot = snapshot.max(number(name, SNAPSHOT_PREFIX));
        log = log.max(number(name, LOG_PREFIX));
    }
    let Some(snapshot) = snapshot.filter(|snapshot| log.is_none_or(|log| log <= *snapshot)) else {
        return Ok(());
    };
    let path = metadata.join(format!("{LOG_PREFIX}{:016x}", snapshot + 1));
    match File::create_new(path) {
        // An engine that is being dropped was at work here a moment ago.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        log => log?.sync_all(),
    }?;
    File::open(metadata)?.sync_all()
}

/// How long the engine's metadata in `directory` is, in bytes: it writes so much anew when it starts, and
/// now and then while it runs, before it removes what was there.
pub(crate) fn metadata_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory.join(METADATA_DIRECTORY)) else { return 0 };
    let lengths = entries.flatten().filter_map(|entry| entry.metadata().ok());
    lengths.map(|metadata| metadata.len()).sum()
}

/// The number in a file's name, in the engine's way of writing it.
fn number(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    u64::from_str_radix(digits, 16).ok()
}
