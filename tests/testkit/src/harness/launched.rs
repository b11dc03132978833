//! Nodes that other nodes have started: they are no children of this process, and are found by their data.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::binaries::kvnode;
use super::process::read_log;
use crate::wait::POLL;

/// How long the killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A node that another node has started.
#[derive(Clone, Debug)]
pub struct Launched {
    /// The id of its process, which may have ended since.
    pub pid: i32,
    /// Its data directory.
    pub directory: PathBuf,
    /// Where the node that launched it had its output written.
    pub log: PathBuf,
}

impl Launched {
    /// The node `id` with its data under `root`; `None` if no process holds its data directory.
    pub fn find(root: &Path, id: &str) -> Option<Self> {
        let directory = root.join(id);
        let pid = fs::read_to_string(directory.join("lock")).ok()?.trim().parse().ok()?;
        let log = root.join(format!("{id}.log"));
        // The number may be another process's by now.
        let is_node = processes(root).into_iter().any(|it| it == (pid, Some(id.to_owned())));
        is_node.then_some(Self { pid, directory, log })
    }

    /// Sends a signal to its process.
    ///
    /// # Panics
    /// Where it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid).expect("a process has an id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    /// All that it has printed, in all its runs.
    pub fn log(&self) -> String {
        read_log(&self.log)
    }
}

/// Kills all nodes whose data is somewhere under `directory`, and those that they are just starting.
/// Never panics, so that it may be part of a drop.
pub(super) fn end_all(directory: &Path) {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = processes(directory);
        if left.is_empty() || Instant::now() >= deadline {
            return;
        }
        for pid in left.into_iter().filter_map(|(pid, _)| Pid::from_raw(pid)) {
            // It fails only where it has ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(POLL);
    }
}

/// The logs of the nodes that have been started by others with their data under `root`.
pub(super) fn logs(root: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let logs = entries.map(|entry| entry.path());
    let logs = logs.filter(|path| path.extension() == Some(OsStr::new("log")));
    let mut logs: Vec<_> = logs.map(|path| (path.display().to_string(), read_log(&path))).collect();
    logs.sort();
    logs
}

/// The nodes that run with their data somewhere under `directory`: their process and, where they
/// were given one, their id.
fn processes(directory: &Path) -> Vec<(i32, Option<String>)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let node = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if args.first() != Some(&kvnode().as_os_str().as_bytes()) {
            return None;
        }
        let data = Path::new(OsStr::from_bytes(value(&args, "--data-dir")?));
        let id = value(&args, "--id").map(|id| String::from_utf8_lossy(id).into_owned());
        data.starts_with(directory).then_some((pid, id))
    };
    pids.filter_map(node).collect()
}

/// The value of an option, be it a word of its own or not. The last one counts.
fn value<'a>(args: &[&'a [u8]], name: &str) -> Option<&'a [u8]> {
    let position = args.iter().rposition(|arg| arg.starts_with(name.as_bytes()))?;
    match &args[position][name.len()..] {
        [] => args.get(position + 1).copied(),
        [b'=', value @ ..] => Some(value),
        _ => None,
    }
}
