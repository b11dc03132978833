//! Programs to which the system gives little.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::run::Run;

/// Prepares to run `program` in the directory `home` under a limit, as a shell's `ulimit` takes it.
pub fn under_limit(limit: &str, program: &Path, home: &Path) -> Run {
    Run::in_shell(&format!("ulimit {limit} && exec \"$0\" \"$@\""), program, home)
}

/// A program whose user may have few threads. Root may start as many as it likes, so that this is
/// another user then: a case that runs one is marked `#[needs(limited_user)]`.
#[derive(Debug)]
pub struct LimitedUsers {
    folder: TempDir,
    program: PathBuf,
}

impl LimitedUsers {
    /// A copy of `program` where any user may run it.
    ///
    /// # Panics
    /// Where it cannot be copied.
    pub fn copy_of(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("it can be made");
        let copy = folder.path().join(program.file_name().expect("a program has a name"));
        fs::copy(program, &copy).expect("it can be copied");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
        Self { folder, program: copy }
    }

    /// Prepares to run it where its user may have `threads` threads. Other processes of this user count
    /// too, so that there may be none for it at all.
    pub fn with_threads(&self, threads: u32) -> Run {
        const SETPRIV: [&str; 4] =
            ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups", "/bin/sh"];
        let is_root = rustix::process::geteuid().is_root();
        let shell = if is_root { &SETPRIV[..] } else { &SETPRIV[3..] };
        // Shells differ in what they call it.
        let script = format!(
            "(ulimit -u {threads}) 2>/dev/null && ulimit -u {threads} || ulimit -p {threads}; \
             exec \"$0\" \"$@\""
        );
        let run = Run::new(Path::new(shell[0]), self.folder.path()).args(&shell[1..]);
        run.args(["-c", &script]).args([&self.program])
    }
}
