//! Keeping a node, and what the system keeps of its files, within some memory.
//!
//! A control group of version 2 does that, where this process may make one. Elsewhere the node keeps to its budget on
//! its own, and the page cache of its files is emptied again and again, so that what it has not kept is read from the
//! disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{Advice, fadvise};

/// Where control groups of version 2 are.
const ROOT: &str = "/sys/fs/cgroup";
/// How often the page cache is emptied where there is no control group.
const EMPTIED_EVERY: Duration = Duration::from_millis(20);

/// A control group of version 2. It is removed when this is dropped, after the processes in it have ended.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes one whose processes get at most so many bytes, the page cache of their files included: in this process's
    /// own group, or beside it, since a group that has processes does not hand the memory controller down.
    pub(crate) fn make(memory_bytes: u64) -> anyhow::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = Path::new(ROOT).join(own.context("no control groups of version 2")?);
        let controllers = fs::read_to_string(own.join("cgroup.controllers"));
        let controllers = controllers.context("no control groups of version 2")?;
        let has_memory = controllers.split_whitespace().any(|it| it == "memory");
        anyhow::ensure!(has_memory, "{} has no memory controller", own.display());
        let beside = own.parent().filter(|parent| parent.starts_with(ROOT));
        Self::within(&own, memory_bytes).or_else(|error| match beside {
            Some(parent) => Self::within(parent, memory_bytes),
            None => Err(error),
        })
    }

    fn within(parent: &Path, memory_bytes: u64) -> anyhow::Result<Self> {
        let path = parent.join(format!("kv-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("{}", path.display()))?;
        let group = Self { path };
        // The parent may do so already, or this process may not be allowed to change it.
        let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory");
        let limit = group.path.join("memory.max");
        fs::write(&limit, memory_bytes.to_string())
            .with_context(|| format!("{}", limit.display()))?;
        Ok(group)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("{} is left behind: {error}", self.path.display());
        }
    }
}

/// Empties the page cache of some files until this is dropped.
#[derive(Debug)]
pub(crate) struct Emptying {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Emptying {
    /// Of the files below `path`.
    pub(crate) fn begin(path: &Path) -> anyhow::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let (path, is_stopped) = (path.to_owned(), Arc::clone(&stopped));
        let empty = move || {
            while !is_stopped.load(Ordering::Relaxed) {
                // A file that is listed may be gone before it is opened.
                let _ = empty_page_cache(&path);
                thread::sleep(EMPTIED_EVERY);
            }
        };
        let thread = thread::Builder::new().name("emptying".into()).spawn(empty)?;
        Ok(Self { stopped, thread: Some(thread) })
    }
}

impl Drop for Emptying {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}

/// Has the system forget what it keeps in memory of the files below `path`, as far as that is on the disk.
pub(crate) fn empty_page_cache(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            empty_page_cache(&entry.path())?;
        } else {
            fadvise(fs::File::open(entry.path())?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
