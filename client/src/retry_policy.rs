//! Before an operation is tried again: waiting, looking for a newer layout, and helping
//! where a move has come to a stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::attempt::RetryAfter;

use crate::deadline::Deadline;
use crate::error::ClientError;
use crate::executor::Executor;
use crate::limits::{HELP_AFTER, REFRESH_SPACING};
use crate::routing::{Retry, View};

impl Executor {
    /// Does what may help before an operation, routed by `seen`, is tried again.
    ///
    /// # Errors
    /// The operation's time is over, or the newer layout cannot be used.
    pub(crate) async fn before_retry(
        &self,
        deadline: &mut Deadline,
        retry: &Retry,
        seen: &Arc<View>,
    ) -> Result<(), ClientError> {
        let Retry { problem, retry_after, .. } = retry;
        if *retry_after == RetryAfter::NextLayout {
            return self.await_thaw(deadline, problem, seen).await;
        }
        deadline.thawed();
        // Another operation may have brought the news while this one was under way.
        if *retry_after != RetryAfter::Pause && self.has_changed(seen) {
            return deadline.go_on(problem);
        }
        if *retry_after == RetryAfter::NewerLayout {
            self.look(deadline, problem, seen, self.cluster.newer_spacing()).await?;
            if self.has_changed(seen) {
                return deadline.go_on(problem);
            }
            // A Consul that has gone back is put right by the nodes, which notice by such requests.
            let epoch = seen.layout.epoch;
            return deadline.pause(&format!("{problem}; Consul has no newer layout than epoch {epoch} yet: where its state was put back, the nodes restore it as soon as they reach it")).await;
        }
        deadline.pause(problem).await?;
        if *retry_after == RetryAfter::Refresh {
            self.look(deadline, problem, seen, REFRESH_SPACING).await?;
        }
        Ok(())
    }

    /// Looks for a newer layout for as long as the operation has time.
    async fn look(
        &self,
        deadline: &Deadline,
        problem: &str,
        seen: &Arc<View>,
        spacing: Duration,
    ) -> Result<(), ClientError> {
        let looking = self.cluster.refresh(seen, spacing);
        let looked = tokio::time::timeout_at(deadline.instant().into(), looking).await;
        looked.unwrap_or_else(|_| Err(deadline.over(problem)))
    }

    /// Waits for the layout that follows `seen`, by which a node serves the partition again. Where
    /// it does not come, the mover that is to write it may have died: then this client writes it.
    async fn await_thaw(
        &self,
        deadline: &mut Deadline,
        problem: &str,
        seen: &Arc<View>,
    ) -> Result<(), ClientError> {
        let frozen = deadline.frozen();
        if frozen >= HELP_AFTER
            && let Some(discovery) = self.cluster.discovery()
        {
            self.hand_off_help.help(discovery, &self.connections, deadline.instant()).await;
        }
        let until = Instant::now() + HELP_AFTER.saturating_sub(frozen).max(HELP_AFTER / 4);
        self.cluster.await_change(seen, until.min(deadline.instant())).await?;
        if self.has_changed(seen) { deadline.go_on(problem) } else { deadline.pause(problem).await }
    }

    fn has_changed(&self, seen: &Arc<View>) -> bool {
        !Arc::ptr_eq(&self.cluster.view(), seen)
    }
}
