//! Nodes that a node launched: they are no children of this process, and are found in `/proc` by their data
//! directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use kv_testkit::harness::eventually;
use rustix::process::{Pid, Signal, kill_process};

/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A node's process that is no child of this one.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: u32,
    /// The arguments to start it again with.
    pub(super) args: Vec<OsString>,
}

/// All processes of nodes with data under `data_directory`.
pub(super) fn find(data_directory: &Path) -> Vec<Launched> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let candidates = pids.filter_map(|pid| Some(Launched { pid, args: arguments(pid)? }));
    candidates
        .filter(|it| it.option("--data-dir").is_some_and(|it| it == *data_directory))
        .collect()
}

/// The arguments of the running node with this process id; `None` if it is no running node.
fn arguments(pid: u32) -> Option<Vec<OsString>> {
    // A process that has ended and whose parent has not waited for it has no arguments any more.
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = line.strip_suffix(b"\0")?;
    let mut words = line.split(|byte| *byte == 0).map(OsStr::from_bytes);
    let program = Path::new(words.next()?).file_name()?;
    // The harness adds this one itself.
    let args = words.filter(|word| *word != "--stop-with-stdin");
    (program == "kvnode")
        .then(|| args.map(|it| OsString::from_vec(it.as_bytes().to_vec())).collect())
}

impl Launched {
    /// The value of an option, which stands in its word or in the next.
    fn option(&self, name: &str) -> Option<&OsStr> {
        let mut words = self.args.iter().map(OsString::as_os_str);
        while let Some(word) = words.next() {
            let rest = word.as_bytes().strip_prefix(name.as_bytes());
            match rest.map(|rest| rest.split_first()) {
                Some(None) => return words.next(),
                Some(Some((b'=', value))) => return Some(OsStr::from_bytes(value)),
                _ => {}
            }
        }
        None
    }

    pub(super) fn id(&self) -> Option<&OsStr> {
        self.option("--id")
    }

    /// The port that it listens on, as its data directory says; `None` before it does.
    pub(super) fn port(&self) -> Option<u16> {
        let directory = Path::new(self.option("--data-dir")?).join(self.id()?);
        let identity = fs::read(directory.join("identity.json")).ok()?;
        let identity: serde_json::Value = serde_json::from_slice(&identity).ok()?;
        identity["port"].as_u64()?.try_into().ok()
    }

    /// Whether its process runs still: another one may have its id by now.
    pub(super) fn is_running(&self) -> bool {
        arguments(self.pid).as_ref() == Some(&self.args)
    }

    /// Kills it without warning, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        eventually("the end of a launched node", GONE_WITHIN, || {
            if self.is_running() { Err(format!("{} runs", self.pid)) } else { Ok(()) }
        });
    }

    /// Stops it in its tracks.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // It may have ended by itself, and its number may be another's by now.
        if let Some(pid) = pid.filter(|_| self.is_running()) {
            let _ = kill_process(pid, signal);
        }
    }
}
