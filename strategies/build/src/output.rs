//! The component's file, written whole or not at all.

use std::fs::{self, Permissions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Its content is new.
    Changed,
    /// It had this content already, and was left alone.
    Same,
}

/// Makes `content` the content of the file at `path`, in one step: a reader finds the old
/// content or the new one. The folder is created where it is missing.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<Written> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(Written::Same);
    }
    replace(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Written::Changed)
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().context("it has no folder")?;
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    readable_by_all(&mut builder);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Temporary files are private unless told otherwise, and a component is no secret.
#[cfg(unix)]
fn readable_by_all(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(Permissions::from_mode(0o644));
}

#[cfg(not(unix))]
fn readable_by_all(_builder: &mut tempfile::Builder<'_, '_>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_other_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.wasm");
        assert_eq!(write(&path, b"one").unwrap(), Written::Changed);
        assert_eq!(write(&path, b"one").unwrap(), Written::Same);
        assert_eq!(write(&path, b"two").unwrap(), Written::Changed);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn a_failure_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        fs::create_dir(&path).unwrap();
        let message = format!("{:#}", write(&path, b"one").unwrap_err());
        assert!(message.contains("a.wasm"), "{message}");
    }
}
