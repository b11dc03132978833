//! Whether the files that the node has on its disk stay in their places.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kv_storage::disk::Disk;
use kv_system::lock::lock;
use tracing::{error, warn};

use crate::data_directory::DataDirectory;

/// How often the node looks, beside when anything rests on it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log says that something is lost.
const LOST_SAYING_SPACING: Duration = Duration::from_secs(60);

/// Looks whether the node's files and directories are in their places, for as long as the node runs. What is
/// written to one that was removed is gone when the process ends; what was stored before can still be read,
/// and moved away, which is why the node neither ends nor writes on.
pub async fn watch(directory: &Mutex<DataDirectory>, disk: &Disk) {
    let mut said_at: Option<Instant> = None;
    loop {
        // Where it cannot be found out, nothing is known.
        match disk.look() {
            Ok(Some(missing)) if said_at.is_none_or(|at| at.elapsed() >= LOST_SAYING_SPACING) => {
                said_at = Some(Instant::now());
                error!(
                    "{} was removed or moved, or another is in its place: writes are refused, and what was removed is lost when this node ends. Export what it has, or remove it from the cluster, which moves that away, before you stop it; or, where it was moved, put it back",
                    missing.display()
                );
            }
            Ok(None) if said_at.take().is_some() => {
                warn!("all that was missing of this node's data directory is back in its place");
            }
            _ => {}
        }
        let mended = lock(directory).mend();
        // An error that keeps it from being written is reported where it must be written.
        if matches!(mended, Ok(true)) {
            warn!("this node's identity was removed: wrote it anew");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
