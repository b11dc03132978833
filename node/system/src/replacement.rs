//! Files that are written whole or not at all.
//!
//! The bytes gather in a file without a name, which is gone with the process however that ends. Once
//! it is whole, it takes its name, in place of the file that had it: no program sees half of it, and the
//! file before stays until then. A file that is there keeps its owner and mode, and a link leads where it did.
//!
//! Some files cannot be replaced so without a change of what they are: those with several names or an access
//! list, those whose owner or directory is another's, and those that are mounted. They are written over, and
//! only then, from a file that has gathered everything elsewhere.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use tempfile::TempPath;

/// How the names of files begin that are not whole yet, where the system has no files without a name.
const TEMPORARY: &str = ".kvclient-";

/// The most links that are followed, as the system has it.
const LINKS_MAX: usize = 40;

/// Who may read a file that was not there before.
#[derive(Clone, Copy, Debug)]
pub enum Fresh {
    /// Its owner.
    Private,
    /// Who may read any new file: the umask decides.
    Usual,
}

/// A file that is not whole yet.
#[derive(Debug)]
pub struct Replacement {
    target: PathBuf,
    file: File,
    place: Place,
    /// Whether there was a file.
    replaces: bool,
}

/// Where the file is until it is whole.
#[derive(Debug)]
enum Place {
    /// In the target's directory, without a name.
    Unnamed,
    /// In the target's directory, under another name.
    Named(TempPath),
    /// In the directory for temporary files, without a name.
    Elsewhere,
}

impl Replacement {
    /// Begins a file that is to be at `path`.
    ///
    /// # Errors
    /// It cannot be written there, or something is there that is no regular file.
    pub fn begin(path: &Path, fresh: Fresh) -> io::Result<Self> {
        let target = followed(path)?;
        let present = match File::options().write(true).open(&target) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(present) = &present
            && is_bound(present)?
        {
            return Self::elsewhere(target);
        }
        let (file, place) = match beside(&target, fresh) {
            Ok(begun) => begun,
            // What the directory does not allow, its file may.
            Err(_) if present.is_some() => return Self::elsewhere(target),
            Err(error) => return Err(error),
        };
        match &present {
            Some(present) if make_alike(&file, present).is_err() => Self::elsewhere(target),
            _ => Ok(Self { target, file, place, replaces: present.is_some() }),
        }
    }

    fn elsewhere(target: PathBuf) -> io::Result<Self> {
        Ok(Self { target, file: tempfile::tempfile()?, place: Place::Elsewhere, replaces: true })
    }

    /// Where the file is, if it has a name that is left behind when the process is killed.
    #[must_use]
    pub fn temporary(&self) -> Option<&Path> {
        match &self.place {
            Place::Named(path) => Some(path),
            _ => None,
        }
    }

    /// Makes what was written last, and visible under its name.
    ///
    /// # Errors
    /// It cannot be written. What was there is as it was, unless the error says otherwise.
    pub fn finish(self) -> io::Result<()> {
        let Self { target, file, place, replaces } = self;
        file.sync_all()?;
        let replaced = match place {
            Place::Unnamed => name(&file, &target),
            Place::Named(path) => path.persist(&target).map_err(|error| error.error),
            Place::Elsewhere => Err(io::ErrorKind::CrossesDevices.into()),
        };
        match replaced {
            Ok(()) => {
                // The name is on the disk with its directory. Not every file system can be asked for that.
                let _ = File::open(parent(&target)).and_then(|directory| directory.sync_all());
                Ok(())
            }
            // Such as a file that is mounted by itself.
            Err(_) if replaces => write_over(file, File::options().write(true).open(&target)?),
            Err(error) => Err(error),
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where `path` leads: the file itself, which need not be there, behind any links.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            // Relative to where the link is.
            Ok(next) => path = parent(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(Errno::LOOP.into())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether a file is more than its content, owner and mode.
fn is_bound(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let list = rustix::fs::fgetxattr(file, "system.posix_acl_access", &mut [0_u8; 0]);
    Ok(metadata.nlink() > 1 || list.is_ok_and(|length| length > 0))
}

/// Gives `file` the owner and the mode of another.
fn make_alike(file: &File, other: &File) -> io::Result<()> {
    let (now, wanted) = (file.metadata()?, other.metadata()?);
    if (now.uid(), now.gid()) != (wanted.uid(), wanted.gid()) {
        let (uid, gid) = (Uid::from_raw(wanted.uid()), Gid::from_raw(wanted.gid()));
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    // After the owner, whose change takes some bits away.
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(wanted.mode() & 0o7777))?)
}

/// A new file in the directory of `target`.
fn beside(target: &Path, fresh: Fresh) -> io::Result<(File, Place)> {
    let mode = match fresh {
        Fresh::Private => 0o600,
        Fresh::Usual => 0o666,
    };
    let directory = parent(target);
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::from_raw_mode(mode)) {
            // It can be named only where it can be found.
            Ok(file) if Path::new(&descriptor(&file)).exists() => {
                return Ok((file.into(), Place::Unnamed));
            }
            // File systems that have no such files each say so in their own way.
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    let (file, path) = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(permissions)
        .tempfile_in(directory)?
        .into_parts();
    Ok((file, Place::Named(path)))
}

/// Where the system shows an open file.
fn descriptor(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Gives a file without a name the name `target`, in place of the one that has it.
fn name(file: &File, target: &Path) -> io::Result<()> {
    let link =
        |path: &Path| rustix::fs::linkat(CWD, descriptor(file), CWD, path, AtFlags::SYMLINK_FOLLOW);
    match link(target) {
        Err(Errno::EXIST) => {}
        linked => return Ok(linked?),
    }
    let temporary = parent(target).join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4()));
    link(&temporary)?;
    TempPath::try_from_path(temporary)?.persist(target).map_err(|error| error.error)
}

/// Writes what `from` holds over what `to` does.
fn write_over(mut from: File, mut to: File) -> io::Result<()> {
    from.rewind()?;
    let written =
        to.set_len(0).and_then(|()| io::copy(&mut from, &mut to)).and_then(|_| to.sync_all());
    written.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("it was being written over, and is not whole now: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// How a replacement of `target` is begun that gathers in each of the places that there are.
    fn ways(target: &Path) -> [Box<dyn Fn() -> Replacement + '_>; 3] {
        let begin = || Replacement::begin(target, Fresh::Private).unwrap();
        let named = move || {
            let file = tempfile::NamedTempFile::new_in(parent(target)).unwrap();
            let (file, path) = file.into_parts();
            Replacement { file, place: Place::Named(path), ..begin() }
        };
        let elsewhere = || Replacement::elsewhere(target.to_owned()).unwrap();
        [Box::new(begin), Box::new(named), Box::new(elsewhere)]
    }

    #[test]
    fn nothing_is_seen_before_it_is_whole_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "old").unwrap();
        for (number, begin) in ways(&target).iter().enumerate() {
            let before = fs::read(&target).unwrap();
            let whole = format!("new {number}");
            let mut replacement = begin();
            replacement.write_all(whole.as_bytes()).unwrap();
            assert_eq!(fs::read(&target).unwrap(), before);
            replacement.finish().unwrap();
            assert_eq!(fs::read(&target).unwrap(), whole.as_bytes());
            let mut given_up = begin();
            given_up.write_all(b"given up").unwrap();
            drop(given_up);
            assert_eq!(fs::read(&target).unwrap(), whole.as_bytes());
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_cannot_take_its_name_is_written_over_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "an old text, which is longer").unwrap();
        let mut replacement = Replacement::begin(&target, Fresh::Private).unwrap();
        replacement.write_all(b"new").unwrap();
        // As a file that is mounted by itself, whose name cannot be given to another.
        replacement.place = Place::Elsewhere;
        replacement.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn there_has_to_be_a_place_for_it() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("no/such"), folder.path().to_owned()] {
            assert!(Replacement::begin(&path, Fresh::Usual).is_err(), "{}", path.display());
        }
    }
}
