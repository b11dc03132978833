//! Who a node is.
//!
//! A node's identity is a uuid that is drawn when its data directory is made and kept there. The
//! node's id is a name for people; the uuid is what layouts and clients hold it to, so that a
//! process on an empty or foreign directory cannot pass for a node whose data it does not have.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kv_core::name::Name;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use kv_core::lineage::Lineage;
use kv_storage::Counters;
use kv_system::private;
use kv_system::transient::{self, is_full, passes};

const FORMAT: u32 = 1;
/// The file of a data directory that says whose it is.
pub const IDENTITY_FILE: &str = "identity.json";
/// The place of the next identity, which has the one before in it.
pub(crate) const OTHER_IDENTITY_FILE: &str = "identity.json.new";
/// The length of an identity's file is a multiple of this. Few identities are longer.
pub(crate) const IDENTITY_BYTES: usize = 4096;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub(crate) format: u32,
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
    /// What the store's counters were when the node stopped cleanly; `None` while it runs.
    pub stopped_with: Option<Counters>,
    /// Whether the node has left the cluster because it was told to, storing nothing. An operator who starts
    /// it by its id means it; `kvnode dev`, which starts all nodes that have data, passes it over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The runs of the node on this directory, and on those that it is a copy of. Empty where only older
    /// programs have used it.
    #[serde(default)]
    pub incarnations: Lineage,
    /// Where the directory was when the last of them began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Which file a directory's lock is. A copy's is another one, wherever it lies; and a process that holds the
/// very same one knows that the process which held it before has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Since when the machine has run.
    pub(crate) boot: String,
    pub(crate) device: u64,
    pub(crate) inode: u64,
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
        "{path} is not understood: {reason}; it says whose data lies beside it. Where you have a copy of this one file, put that in its place and start the node with --serve-older-copy, since nobody knows any more how new the data is"
    )]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// How it is damaged.
        reason: String,
    },
    /// The store is not the one that belongs to the identity.
    #[error(
        "the store in {path} is not the one that this node had: {reason}; serving it would report stored keys as absent, and deleted ones as stored. Put the store back that the node had last. Where that is gone for good: --serve-older-copy serves an older one all the same, without what was written since; \"kvclient remove-node --dead\" gives the node up"
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

impl Identity {
    /// A new one.
    pub(crate) fn draw(id: &Name, cluster: &Name) -> Self {
        Self {
            format: FORMAT,
            id: id.clone(),
            uuid: Uuid::new_v4(),
            cluster: cluster.clone(),
            port: None,
            layout: None,
            stopped_with: None,
            removed: false,
            incarnations: Lineage::default(),
            place: None,
        }
    }

    /// Reads whose data directory `path` is; `None` where it is no node's yet.
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

/// Writes the identity, so that after a crash there is either the old one or the new one.
///
/// Where it has been written before, this takes no room on the disk, so that a node starts where the
/// disk is full: two files of one length take turns, and the one that does not count is written in
/// place. The first time, the disk must have room.
pub(crate) fn write_durably(directory: &Path, identity: &Identity) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(identity)?;
    json.push(b'\n');
    json.resize(json.len().next_multiple_of(IDENTITY_BYTES), b'\n');
    let (current, other) = (directory.join(IDENTITY_FILE), directory.join(OTHER_IDENTITY_FILE));
    let mut options = OpenOptions::new();
    // It is not cut first: that would give its room back.
    let options = options.create(true).write(true).truncate(false).mode(private::FILE_MODE);
    let mut file = options.open(&other)?;
    file.write_all(&json)?;
    file.set_len(json.len() as u64)?;
    file.sync_all()?;
    // The one that counted stays as the other one, with its room.
    match renameat_with(CWD, &other, CWD, &current, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // There is no identity yet, or the file system cannot exchange files.
        Err(_) => fs::rename(&other, &current)?,
    }
    File::open(directory)?.sync_all()
}

/// What to do about a data directory that cannot be used.
fn advice(error: &io::Error) -> &'static str {
    match passes(error) {
        true if is_full(error) => {
            "free some space there, or inodes where it has none left (df -i), and start the node again"
        }
        true => "that passes: start the node again",
        false => "it must be readable and writable for the node",
    }
}
