//! What is done before an operation is tried again: waiting, looking for a newer layout, and helping
//! where a move has come to a stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::attempt::Remedy;

use crate::error::ClientError;
use crate::executor::Executor;
use crate::limits::{HELP_AFTER, REFRESH_SPACING};
use crate::retry::Attempts;
use crate::routing::{Retry, View};

impl Executor {
    /// Does what may help before an operation, routed by `seen`, is tried again.
    ///
    /// # Errors
    /// The operation's time is over, or the newer layout cannot be used.
    pub(crate) async fn before_retry(
        &self,
        attempts: &mut Attempts,
        retry: &Retry,
        seen: &Arc<View>,
    ) -> Result<(), ClientError> {
        let Retry { problem, remedy, .. } = retry;
        if *remedy == Remedy::NextLayout {
            return self.await_thaw(attempts, problem, seen).await;
        }
        attempts.thawed();
        // Somebody else may have brought the news while this operation was under way.
        if *remedy != Remedy::Patience && self.has_changed(seen) {
            return attempts.go_on(problem);
        }
        if *remedy == Remedy::NewerLayout {
            self.look(attempts, problem, seen, self.cluster.newer_spacing()).await?;
            if self.has_changed(seen) {
                return attempts.go_on(problem);
            }
            // A Consul that has gone back is put right by the nodes, which notice by such requests.
            let epoch = seen.layout.epoch;
            return attempts.pause(&format!("{problem}; Consul has no newer layout than epoch {epoch} yet: where its state was put back, the nodes restore it as soon as they reach it")).await;
        }
        attempts.pause(problem).await?;
        if *remedy == Remedy::Look {
            self.look(attempts, problem, seen, REFRESH_SPACING).await?;
        }
        Ok(())
    }

    /// Looks for a newer layout for as long as the operation has time.
    async fn look(
        &self,
        attempts: &Attempts,
        problem: &str,
        seen: &Arc<View>,
        spacing: Duration,
    ) -> Result<(), ClientError> {
        let looking = self.cluster.refresh(seen, spacing);
        let looked = tokio::time::timeout_at(attempts.deadline().into(), looking).await;
        looked.unwrap_or_else(|_| Err(attempts.over(problem)))
    }

    /// Waits for the layout that follows `seen`, by which somebody serves the partition again. Where
    /// it does not come, the one who is to write it may have died: then this client writes it.
    async fn await_thaw(
        &self,
        attempts: &mut Attempts,
        problem: &str,
        seen: &Arc<View>,
    ) -> Result<(), ClientError> {
        let frozen = attempts.frozen();
        if frozen >= HELP_AFTER
            && let Some(registry) = self.cluster.registry()
        {
            self.helping.help(registry, &self.connections, attempts.deadline()).await;
        }
        let until = Instant::now() + HELP_AFTER.saturating_sub(frozen).max(HELP_AFTER / 4);
        self.cluster.await_change(seen, until.min(attempts.deadline())).await?;
        if self.has_changed(seen) { attempts.go_on(problem) } else { attempts.pause(problem).await }
    }

    fn has_changed(&self, seen: &Arc<View>) -> bool {
        !Arc::ptr_eq(&self.cluster.view(), seen)
    }
}
