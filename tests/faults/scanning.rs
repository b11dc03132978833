//! Scans of everything while clients work and everything fails.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use kvclient::{Client, ClientError};

use super::ledger::{Found, add};
use super::workload::Shared;

/// How long to wait between two scans, so that they are not most of the load.
const PAUSE: Duration = Duration::from_millis(200);

/// What scans found, each for itself, and answers that must not be.
#[derive(Default)]
pub(super) struct Scans {
    /// The scans that came to their end.
    pub(super) complete: Vec<Found>,
    /// Answers that must not be.
    pub(super) problems: Vec<String>,
}

/// Scans everything again and again until all are to stop.
pub(super) async fn scan(shared: Shared, client: Client) -> Scans {
    let mut scans = Scans::default();
    while !shared.stop.load(Ordering::Acquire) {
        match scan_once(&client).await {
            Ok(Ok(found)) => scans.complete.push(found),
            // It may be repeated, and is.
            Err(ClientError::Unavailable { .. }) => {}
            Err(ClientError::Refused { refusal, .. }) if refusal.code.is_retryable() => {}
            Ok(Err(problem)) => scans.problems.push(format!("a scan: {problem}")),
            Err(error) => scans.problems.push(format!("a scan: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    scans
}

async fn scan_once(client: &Client) -> Result<Result<Found, String>, ClientError> {
    let mut found = Found::new();
    let mut everything = std::pin::pin!(client.get_all(""));
    while let Some((key, record)) = everything.try_next().await? {
        if let Err(problem) = add(&mut found, key, &record.value) {
            return Ok(Err(problem));
        }
    }
    Ok(Ok(found))
}
