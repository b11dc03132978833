//! Trying again until the time is over.

use std::time::{Duration, Instant};

use crate::error::ClientError;
use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};

/// The time that an operation has, and the pauses between its attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    timeout: Duration,
    deadline: Instant,
    failed: u32,
}

impl Attempts {
    pub(crate) fn within(timeout: Duration) -> Self {
        Self { timeout, deadline: Instant::now() + timeout, failed: 0 }
    }

    pub(crate) fn deadline(&self) -> Instant {
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
    async fn there_is_no_attempt_after_the_deadline() {
        let mut attempts = Attempts::within(Duration::ZERO);
        let error = attempts.pause("no way").await.unwrap_err();
        assert!(error.to_string().contains("no way"), "{error}");
        Attempts::within(RETRY_PAUSE_MAX).pause("no way yet").await.unwrap();
    }
}
