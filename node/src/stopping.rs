//! What tells a process to stop.

use std::fmt;
use std::fs;
use std::io;

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Why a process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGTERM: an operator or a service manager wants it to stop.
    Terminated,
    /// SIGINT: a user at a terminal wants it to stop.
    Interrupted,
    /// SIGHUP: the terminal that it was started from is closed.
    HungUp,
    /// Standard input has ended: its supervisor stops, or has died.
    SupervisorGone,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::HungUp => "SIGHUP",
            Self::SupervisorGone => "standard input has ended",
        })
    }
}

/// Starts to listen for SIGTERM, SIGINT and SIGHUP, and returns what waits for the first of them.
///
/// A SIGHUP that the process was told to ignore when it was started, as `nohup` does, stays ignored.
///
/// # Errors
/// Where the process cannot handle signals.
pub fn stop_signal() -> io::Result<impl Future<Output = StopReason>> {
    // Asked before anything listens, which would change the answer.
    let hangs_up = !is_ignored(SignalKind::hangup());
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = if hangs_up { Some(signal(SignalKind::hangup())?) } else { None };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => StopReason::Terminated,
            _ = interrupt.recv() => StopReason::Interrupted,
            _ = hung_up => StopReason::HungUp,
        }
    })
}

/// Whether the process ignores a signal. Where the system does not say, it does not.
fn is_ignored(signal: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is signal 1's.
    ignored.is_some_and(|mask| mask >> (signal.as_raw_value() - 1) & 1 == 1)
}

/// Waits until standard input ends.
pub async fn end_of_stdin() -> StopReason {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(stdin.read(&mut bytes).await, Ok(length) if length > 0) {}
    StopReason::SupervisorGone
}
