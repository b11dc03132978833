//! Whether the store is the one that the node had.

use kv_storage::Counters;
use tracing::warn;

use super::DataDirectory;
use crate::identity::{DataDirectoryError, InstalledEpoch};

impl DataDirectory {
    /// Checks that the store, which has the layout `stored` and these counters, is the one that the
    /// node had, before the node changes it. With `older_too` an older one of the node's will do.
    ///
    /// # Errors
    /// [`DataDirectoryError::StoreReplaced`] where it is another, an older one or an empty one.
    pub fn check_store(
        &self,
        stored: Option<InstalledEpoch>,
        counters: Counters,
        older_too: bool,
    ) -> Result<(), DataDirectoryError> {
        self.check_layout(stored, older_too)?;
        match self.identity.stopped_with {
            Some(known) if known != counters => {
                let reason = format!(
                    "it has {} keys after {} writes, and the node stopped with {} keys after {}",
                    counters.keys, counters.sequence, known.keys, known.sequence
                );
                if older_too {
                    warn!(
                        "serving another store than before, as --serve-older-copy says: {reason}"
                    );
                    return Ok(());
                }
                Err(DataDirectoryError::StoreReplaced { path: self.path.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    fn check_layout(
        &self,
        stored: Option<InstalledEpoch>,
        older_too: bool,
    ) -> Result<(), DataDirectoryError> {
        let Some(known) = self.identity.layout else { return Ok(()) };
        let reason = match stored {
            Some(stored)
                if stored.cluster == known.cluster
                    && (older_too || stored.epoch >= known.epoch) =>
            {
                return Ok(());
            }
            Some(stored) if stored.cluster == known.cluster => {
                format!(
                    "it has the layout of epoch {}, expected {} or later",
                    stored.epoch, known.epoch
                )
            }
            Some(stored) => format!(
                "it belongs to cluster {}, expected cluster {}",
                stored.cluster, known.cluster
            ),
            None => format!("it has no layout, expected epoch {} or later", known.epoch),
        };
        Err(DataDirectoryError::StoreReplaced { path: self.path.clone(), reason })
    }
}
