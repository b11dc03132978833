//! Trying again until the time is over.

use std::time::{Duration, Instant};

use crate::error::ClientError;
use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};

/// The time that an operation has, and the pauses between its tries.
#[derive(Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    deadline: Instant,
    /// How many pauses there were since something changed.
    failed: u32,
    /// Since when the operation has met a partition that is being handed over.
    frozen_since: Option<Instant>,
}

impl Deadline {
    pub(crate) fn within(timeout: Duration) -> Self {
        Self { timeout, deadline: Instant::now() + timeout, failed: 0, frozen_since: None }
    }

    pub(crate) fn instant(&self) -> Instant {
        self.deadline
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] where there is no time for another one.
    pub(crate) async fn pause(&mut self, problem: &str) -> Result<(), ClientError> {
        let pause = pause(self.failed, rand::random_range(0.5..=1.0));
        self.failed = self.failed.saturating_add(1);
        if Instant::now() + pause >= self.deadline {
            return Err(self.over(problem));
        }
        tracing::debug!(%problem, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Goes on at once, since something has changed that stood in the way.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] where the time is over.
    pub(crate) fn go_on(&mut self, problem: &str) -> Result<(), ClientError> {
        self.failed = 0;
        if Instant::now() >= self.deadline { Err(self.over(problem)) } else { Ok(()) }
    }

    /// For how long the operation has met nothing but a partition that is being handed over.
    pub(crate) fn frozen(&mut self) -> Duration {
        self.frozen_since.get_or_insert_with(Instant::now).elapsed()
    }

    /// Notes that the operation has met something else.
    pub(crate) fn thawed(&mut self) {
        self.frozen_since = None;
    }

    /// The error that says that the time is over.
    pub(crate) fn over(&self, problem: &str) -> ClientError {
        ClientError::Unavailable { timeout: self.timeout, problem: problem.to_owned() }
    }
}

/// The pause after `failed` earlier pauses: doubling between its limits, times `jitter`, so that
/// the many operations that one outage hit do not come back all at once.
fn pause(failed: u32, jitter: f64) -> Duration {
    let doubled = RETRY_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failed));
    doubled.min(RETRY_PAUSE_MAX).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        assert_eq!(pause(0, 1.0), RETRY_PAUSE_MIN);
        assert_eq!(pause(1, 1.0), RETRY_PAUSE_MIN * 2);
        assert_eq!(pause(2, 0.5), RETRY_PAUSE_MIN * 2);
        for failed in [20, u32::MAX] {
            assert_eq!(pause(failed, 1.0), RETRY_PAUSE_MAX);
        }
    }

    #[tokio::test]
    async fn who_goes_on_pauses_anew_and_has_no_more_time() {
        let mut deadline = Deadline::within(RETRY_PAUSE_MAX);
        deadline.pause("no").await.unwrap();
        assert_eq!(deadline.failed, 1);
        deadline.go_on("now").unwrap();
        assert_eq!(deadline.failed, 0);
        let error = Deadline::within(Duration::ZERO).go_on("too late").unwrap_err();
        assert!(error.to_string().contains("too late"), "{error}");
    }

    #[test]
    fn the_time_of_a_handover_counts_from_when_it_was_met_first() {
        let mut deadline = Deadline::within(RETRY_PAUSE_MAX);
        let (first, second) = (deadline.frozen(), deadline.frozen());
        assert!(first <= second && deadline.frozen_since.is_some());
        deadline.thawed();
        assert_eq!(deadline.frozen_since, None);
    }

    #[tokio::test]
    async fn there_is_no_attempt_after_the_deadline() {
        let mut deadline = Deadline::within(Duration::ZERO);
        let error = deadline.pause("no way").await.unwrap_err();
        assert!(error.to_string().contains("no way"), "{error}");
        Deadline::within(RETRY_PAUSE_MAX).pause("no way yet").await.unwrap();
    }
}
