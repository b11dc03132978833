//! Disks that come to their end, and directories that no user can write to.
//!
//! Each needs a user who may make it: a case that uses one is marked so.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, of which everything is known. Cases that mount one are marked
/// `#[needs(small_disk)]`. It is gone when this is dropped, which is after the nodes have stopped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `place`, which this makes, with options such as `size=48m`.
    ///
    /// # Panics
    /// Where this user may not.
    #[track_caller]
    pub fn mount(place: PathBuf, options: &str) -> Self {
        fs::create_dir(&place).expect("a directory can be made");
        let path = text(&place);
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", path]);
        Self(place)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where it is, as an argument.
    pub fn root(&self) -> &str {
        text(&self.0)
    }

    /// Takes all space that is left.
    ///
    /// # Panics
    /// Where another error comes first.
    pub fn fill(&self) {
        File::create(self.0.join("filler")).expect("a file can be made");
        self.top_up();
    }

    /// Takes all space that has become free since [`fill`](Self::fill).
    ///
    /// # Panics
    /// Where another error comes first.
    pub fn top_up(&self) {
        let filler = File::options().append(true).open(self.0.join("filler"));
        let mut file = filler.expect("the file is there");
        let block = [0; 4096];
        let error = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// Where it was not taken.
    pub fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("the file can be removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A file system on a file, which becomes read-only when it meets an error. Cases that mount one are
/// marked `#[needs(failing_disk)]`.
#[derive(Debug)]
pub struct FailingDisk {
    place: PathBuf,
    device: String,
}

impl FailingDisk {
    /// Mounts one in `directory`.
    ///
    /// # Panics
    /// Where this user may not.
    #[track_caller]
    pub fn mount(directory: &Path) -> Self {
        let (image, place) = (directory.join("image"), directory.join("failing"));
        fs::create_dir(&place).expect("a directory can be made");
        let file = File::create(&image).expect("a file can be made");
        file.set_len(64 << 20).expect("it can be long");
        run("mkfs.ext4", &["-q", text(&image)]);
        let device = run("losetup", &["--find", "--show", text(&image)]);
        let disk = Self { place, device: device.trim().to_owned() };
        run("mount", &["-o", "errors=remount-ro", &disk.device, disk.root()]);
        disk
    }

    /// Where it is, as an argument.
    pub fn root(&self) -> &str {
        text(&self.place)
    }

    /// Has it meet an error.
    ///
    /// # Panics
    /// Where the kernel does not let this user.
    pub fn fail(&self) {
        let name = self.device.rsplit('/').next().unwrap_or_default();
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        fs::write(trigger, "1").expect("it can be made to fail");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        unmount(&self.place);
        // The device goes with its last user.
        let _ = Command::new("losetup").args(["--detach", &self.device]).output();
    }
}

/// Lazily, for a test that failed while its node still uses the disk.
fn unmount(place: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(place).output();
}

/// A directory that no user can write to until this is dropped. Cases that make one are marked
/// `#[needs(read_only_directory)]`.
#[derive(Debug)]
pub struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Takes away the permission and, from root, who needs none, the possibility.
    ///
    /// # Panics
    /// Where this user can write there all the same.
    #[track_caller]
    pub fn protect(directory: &Path) -> Self {
        let protected = Self(directory.to_owned());
        protected.set(0o555, "+i");
        // Its files must not be changed either: a lock file is opened for writing.
        let files = ["probe", "lock"].map(|name| directory.join(name));
        for file in files {
            assert!(File::create(&file).is_err(), "{} can be written to", file.display());
        }
        protected
    }

    /// Where it is, as an argument.
    pub fn root(&self) -> &str {
        text(&self.0)
    }

    fn set(&self, mode: u32, attribute: &str) {
        // Each may fail, depending on who runs this and on which file system.
        if attribute == "-i" {
            self.change_attribute(attribute);
        }
        let _ = fs::set_permissions(&self.0, Permissions::from_mode(mode));
        let lock = Permissions::from_mode(if mode == 0o555 { 0o444 } else { 0o644 });
        let _ = fs::set_permissions(self.0.join("lock"), lock);
        if attribute == "+i" {
            self.change_attribute(attribute);
        }
    }

    fn change_attribute(&self, attribute: &str) {
        let _ = Command::new("chattr").arg("-R").arg(attribute).arg(&self.0).output();
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        self.set(0o755, "-i");
    }
}

/// What a program prints.
#[track_caller]
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(output.status.success(), "{program} {args:?} failed: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
