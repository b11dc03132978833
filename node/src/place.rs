//! Whether the data directory stays in its place.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, warn};

use crate::data_directory::DataDirectory;
use kv_storage::disk::Disk;

/// How often the data directory is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is said that the data directory is lost.
const LOST_SAYING_SPACING: Duration = Duration::from_secs(60);

/// Looks whether the data directory is in its place, for as long as the node runs. What is written to one
/// that was removed is gone when the process ends; what was stored before can still be read, and moved
/// away, which is why the node neither ends nor writes on.
pub async fn watch(directory: &Mutex<DataDirectory>, disk: &Disk) {
    let mut said_at: Option<Instant> = None;
    loop {
        let (path, is_in_place) = {
            let directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
            (directory.path().to_owned(), directory.is_in_place())
        };
        // Where it cannot be found out, nothing is known.
        if let Ok(is_in_place) = is_in_place {
            let is_news = disk.set_lost(!is_in_place);
            let is_due = said_at.is_none_or(|at| at.elapsed() >= LOST_SAYING_SPACING);
            if !is_in_place && (is_news || is_due) {
                said_at = Some(Instant::now());
                error!(
                    "the data directory {} was removed, or another is in its place: writes are refused, and what this node has is lost when it ends. Export it, or remove the node from the cluster, which moves it away; or put the directory back",
                    path.display()
                );
            } else if is_in_place && is_news {
                warn!("the data directory {} is back in its place", path.display());
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
