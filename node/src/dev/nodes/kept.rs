//! Which nodes have data here.

use std::fs;
use std::path::Path;

use kv_core::name::Name;

use super::error::NodesError;
use crate::identity::{IDENTITY_FILE, Identity};

/// The nodes that have a directory here.
pub(super) struct Kept {
    /// Those that have data.
    pub(super) ids: Vec<Name>,
    /// Those that have left the cluster.
    pub(super) removed: Vec<Name>,
}

/// Which nodes have data in `directory`.
pub(super) fn kept_nodes(directory: &Path) -> Result<Kept, NodesError> {
    let unusable = |source| NodesError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(unusable)?;
    let mut kept = Kept { ids: Vec::new(), removed: Vec::new() };
    for entry in fs::read_dir(directory).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.filter(|_| entry.path().join(IDENTITY_FILE).is_file()) else { continue };
        // How a directory is damaged, its node tells best.
        let removed = Identity::read(&entry.path()).ok().flatten().is_some_and(|it| it.removed);
        if removed { kept.removed.push(id) } else { kept.ids.push(id) }
    }
    Ok(kept)
}
