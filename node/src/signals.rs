//! What tells a process to stop.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Starts to listen for SIGTERM and SIGINT, and returns what waits for the first of them.
///
/// # Errors
/// Where the process cannot handle signals.
pub fn stop_signal() -> io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Waits until standard input ends.
pub async fn end_of_stdin() -> &'static str {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(stdin.read(&mut bytes).await, Ok(length) if length > 0) {}
    "standard input has ended"
}
