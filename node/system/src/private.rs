//! Who may read the store's files: the user whose process it is, and no other.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::umask;
use tracing::{info, warn};

/// The mode of files.
pub const FILE_MODE: u32 = 0o600;
/// The mode of directories.
pub const DIRECTORY_MODE: u32 = 0o700;
/// What others may do with a file.
const OTHERS: u32 = 0o077;
/// How deep the directories of a node lie in each other.
const DEPTH_MAX: u32 = 4;

/// Has everything that this process makes be its user's alone: the files of the engine as well, which
/// chooses no modes, and those of processes that this one starts.
pub fn keep() {
    umask(Mode::from_bits_truncate(OTHERS));
}

/// Makes a directory, with those that it is to lie in, unless it is there.
///
/// # Errors
/// What the operating system says.
pub fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Takes away what others may do with a directory and all that is in it. What belongs to another user stays
/// as it is: whether it can be used shows when it is.
pub fn tighten(path: &Path) {
    let mut tightened = 0;
    match tighten_all(path, DEPTH_MAX, &mut tightened) {
        Ok(()) if tightened == 0 => {}
        Ok(()) => info!(
            "others could reach what is stored in {}: took that away, from {tightened} files and directories",
            path.display()
        ),
        Err(error) => warn!(
            "others may be able to read what is stored in {}, and its modes cannot be changed: {error}",
            path.display()
        ),
    }
}

fn tighten_all(path: &Path, depth: u32, tightened: &mut u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.mode();
    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
        *tightened += 1;
    }
    if !metadata.is_dir() || depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        match tighten_all(&entry?.path(), depth - 1, tightened) {
            // The engine may just have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_private_and_what_was_open_is_tightened() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        make(&directory).unwrap();
        assert_eq!(mode(&directory) & OTHERS, 0);
        let (file, outside) = (directory.join("file"), root.path().join("outside"));
        fs::write(&file, "").unwrap();
        fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, directory.join("link")).unwrap();
        for path in [&directory, &file, &outside] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        tighten(&directory);
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o700));
        assert_eq!(mode(&outside), 0o755, "a link leads elsewhere");
    }
}
