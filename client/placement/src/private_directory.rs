//! A directory that only its owner can write to, and its files.
//!
//! Its files are run as machine code, so they must be our own work. The directory is opened
//! once and its files are reached through that handle: a path that another process swaps between the check
//! and the use changes nothing.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

/// Permission bits that let users other than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// How the names of half-written files start.
const TEMPORARY: &str = ".tmp-";

pub(super) struct PrivateDirectory {
    handle: OwnedFd,
}

impl PrivateDirectory {
    /// Opens the directory, creating it (and its parents) for its owner alone where it is missing.
    ///
    /// # Errors
    /// Fails where it cannot be created, belongs to another user, or others may write to it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        check_ours(&directory.metadata()?)?;
        Ok(Self { handle: directory.into() })
    }

    /// A file's first `HEADER` bytes and the others, or nothing where there is no such file.
    ///
    /// # Errors
    /// Fails where it is not a regular file of our own that only we can write, is shorter than its
    /// header, or has more than `bytes_max` bytes behind it.
    pub(super) fn read<const HEADER: usize>(
        &self,
        name: &str,
        bytes_max: usize,
    ) -> io::Result<Option<([u8; HEADER], Vec<u8>)>> {
        let Some((mut file, metadata)) = self.open_file(name)? else { return Ok(None) };
        let (length, limit) = (metadata.len(), bytes_max as u64);
        if !(HEADER as u64..=HEADER as u64 + limit).contains(&length) {
            return Err(io::Error::other(format!("it has {length} bytes")));
        }
        let mut header = [0; HEADER];
        let mut bytes = vec![0; length as usize - HEADER];
        file.read_exact(&mut header)?;
        file.read_exact(&mut bytes)?;
        Ok(Some((header, bytes)))
    }

    /// Writes a file so that a reader sees all of it or none. Nothing is forced to the disk: what a
    /// power loss leaves is for the reader to check.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let temporary = format!("{TEMPORARY}{}", uuid::Uuid::new_v4());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&self.handle, &temporary, flags, mode)?);
        let written = parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| Ok(rustix::fs::renameat(&self.handle, &temporary, &self.handle, name)?));
        if written.is_err() {
            self.remove(&temporary);
        }
        written
    }

    /// Removes a file. Where that fails, the next reader finds it and decides again.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            tracing::debug!(name, %error, "cache file not removed");
        }
    }

    /// Removes all but the `keep` newest files, and what writers that died have left.
    pub(super) fn prune(&self, keep: usize, temporary_age_max: Duration) -> io::Result<()> {
        let now = SystemTime::now();
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.handle)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(Some((_, metadata))) = self.open_file(name) else { continue };
            let modified = metadata.modified()?;
            if !name.starts_with(TEMPORARY) {
                files.push((modified, name.to_owned()));
            } else if now.duration_since(modified).is_ok_and(|age| age > temporary_age_max) {
                self.remove(name);
            }
        }
        files.sort_by(|a, b| b.cmp(a));
        files.iter().skip(keep).for_each(|(_, name)| self.remove(name));
        Ok(())
    }

    fn open_file(&self, name: &str) -> io::Result<Option<(File, Metadata)>> {
        // NONBLOCK, because to open a named pipe would otherwise be to wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        check_ours(&metadata)?;
        if metadata.is_file() {
            Ok(Some((file, metadata)))
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }
}

fn check_ours(metadata: &Metadata) -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != ours {
        let owner = metadata.uid();
        return Err(io::Error::other(format!("it belongs to user {owner}, expected user {ours}")));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(io::Error::other(format!("others may write to it (mode {mode:o})")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn private() -> (tempfile::TempDir, PrivateDirectory) {
        let home = tempfile::tempdir().unwrap();
        let directory = PrivateDirectory::open(&home.path().join("a/b")).unwrap();
        (home, directory)
    }

    #[test]
    fn it_is_created_for_its_owner_alone() {
        let (home, _directory) = private();
        for path in ["a", "a/b"] {
            let mode = fs::metadata(home.path().join(path)).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o700, "{path}");
        }
    }

    #[test]
    fn a_written_file_is_read_back_and_only_ours_to_write() {
        let (home, directory) = private();
        assert!(directory.read::<1>("x", 10).unwrap().is_none());
        directory.write("x", &[b"ab", b"c"]).unwrap();
        assert_eq!(directory.read("x", 2).unwrap().unwrap(), (*b"a", b"bc".to_vec()));
        assert_eq!(directory.read("x", 0).unwrap().unwrap(), (*b"abc", Vec::new()));
        assert!(directory.read::<1>("x", 1).is_err());
        assert!(directory.read::<4>("x", 10).is_err());
        let path = home.path().join("a/b/x");
        fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert!(directory.read::<1>("x", 10).unwrap_err().to_string().contains("mode 620"));
        directory.remove("x");
        assert!(!path.exists());
    }

    #[test]
    fn links_pipes_and_directories_are_not_read() {
        let (home, directory) = private();
        let inside = |name: &str| home.path().join("a/b").join(name);
        fs::write(home.path().join("target"), "x").unwrap();
        std::os::unix::fs::symlink(home.path().join("target"), inside("link")).unwrap();
        fs::create_dir(inside("directory")).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, inside("pipe"), mode).unwrap();
        for name in ["link", "directory", "pipe"] {
            assert!(directory.read::<1>(name, 10).is_err(), "{name}");
        }
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let (home, _directory) = private();
        let path = home.path().join("a/b");
        fs::set_permissions(&path, Permissions::from_mode(0o770)).unwrap();
        assert!(PrivateDirectory::open(&path).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        assert!(PrivateDirectory::open(&path).is_ok());
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let (home, _directory) = private();
        let path = home.path().join("a/b");
        // Only the superuser can give a directory away, so only there can this be tried.
        if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            let Err(error) = PrivateDirectory::open(&path) else { panic!("it was opened") };
            assert!(error.to_string().contains("user 12345"), "{error}");
        }
    }

    #[test]
    fn pruning_keeps_the_newest_and_clears_what_the_dead_left() {
        let (home, directory) = private();
        let inside = |name: &str| home.path().join("a/b").join(name);
        let age = |name: &str, seconds: u64| {
            let file = File::open(inside(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        for (name, seconds) in [("old", 300), ("older", 400), ("new", 5)] {
            directory.write(name, &[b"x"]).unwrap();
            age(name, seconds);
        }
        for (name, seconds) in [(".tmp-dead", 100), (".tmp-alive", 1)] {
            fs::write(inside(name), "x").unwrap();
            age(name, seconds);
        }
        directory.prune(2, Duration::from_secs(50)).unwrap();
        let left = ["new", "old", "older", ".tmp-alive", ".tmp-dead"].map(|n| inside(n).exists());
        assert_eq!(left, [true, true, false, true, false]);
    }
}
