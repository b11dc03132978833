//! What tells a process to stop.

use std::fmt;
use std::io;

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Why a process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGTERM: somebody wants it to stop.
    Terminated,
    /// SIGINT: somebody at a terminal wants it to stop.
    Interrupted,
    /// Standard input has ended: its supervisor stops, or has died.
    SupervisorGone,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "SIGTERM",
            Self::Interrupted => "SIGINT",
            Self::SupervisorGone => "standard input has ended",
        })
    }
}

/// Starts to listen for SIGTERM and SIGINT, and returns what waits for the first of them.
///
/// # Errors
/// Where the process cannot handle signals.
pub fn stop_signal() -> io::Result<impl Future<Output = StopReason>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => StopReason::Terminated,
            _ = interrupt.recv() => StopReason::Interrupted,
        }
    })
}

/// Waits until standard input ends.
pub async fn end_of_stdin() -> StopReason {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(stdin.read(&mut bytes).await, Ok(length) if length > 0) {}
    StopReason::SupervisorGone
}
