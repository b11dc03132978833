//! What a process takes: memory, processor, disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

/// A process is idle once it has used less than this share of a processor...
const IDLE_SHARE: f64 = 0.02;
/// ...over this time, which is longer than a node waits before it tidies up.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// How long it may take until then.
const PATIENCE: Duration = Duration::from_secs(600);
/// What `st_blocks` counts in, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// The memory that a process has resident, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<f64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that a process has had resident since it was started, in bytes.
pub fn peak_bytes(pid: u32) -> anyhow::Result<f64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("no {name}"))?.parse::<f64>()? * 1024.0)
}

/// The memory that processes can still get, in bytes.
pub fn available_bytes() -> anyhow::Result<f64> {
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no MemAvailable")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("it has a process")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// Whether a process has ended, also where its parent has not taken note of that yet.
pub fn has_ended(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until a process has nothing left to do.
pub async fn settled(pid: u32) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = busy_s(pid)?;
    loop {
        tokio::time::sleep(IDLE_FOR).await;
        let now = busy_s(pid)?;
        if now - before < IDLE_SHARE * IDLE_FOR.as_secs_f64() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the process is still busy after {PATIENCE:?}");
        }
        before = now;
    }
}

/// The CPU time that a process has used, in seconds.
fn busy_s(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; what follows are numbers.
    let (_, numbers) = stat.rsplit_once(')').context("no process")?;
    let ticks = |place: usize| numbers.split_whitespace().nth(place)?.parse::<f64>().ok();
    // The 14th and 15th of all: utime and stime.
    let ticks = ticks(11).zip(ticks(12)).context("no CPU time")?;
    Ok((ticks.0 + ticks.1) / rustix::param::clock_ticks_per_second() as f64)
}

/// The bytes of the disk that the files below `path` take, as `du` counts them.
pub fn disk_bytes(path: &Path) -> anyhow::Result<u64> {
    // A file that is listed may be gone before it is looked at: a store clears up on its own.
    let Ok(metadata) = path.symlink_metadata() else { return Ok(0) };
    let mut bytes = metadata.blocks() * BLOCK_BYTES;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path)? {
            bytes += disk_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}
