//! Trying again until the time is over.

use std::time::{Duration, Instant};

use kv_core::backoff::Backoff;

use crate::error::ClientError;
use crate::limits::RETRY_PAUSES;

/// The time that an operation has, and the pauses between its tries.
#[derive(Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    deadline: Instant,
    /// The pauses since something changed.
    pauses: Backoff,
    /// Since when the operation has met a partition that is being handed over.
    frozen_since: Option<Instant>,
}

impl Deadline {
    pub(crate) fn within(timeout: Duration) -> Self {
        Self {
            timeout,
            deadline: Instant::now() + timeout,
            pauses: RETRY_PAUSES,
            frozen_since: None,
        }
    }

    pub(crate) fn instant(&self) -> Instant {
        self.deadline
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] where there is no time for another one.
    pub(crate) async fn pause(&mut self, problem: &str) -> Result<(), ClientError> {
        let pause = self.pauses.failed(rand::random());
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
        self.pauses.succeeded();
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn who_goes_on_pauses_anew_and_has_no_more_time() {
        let mut deadline = Deadline::within(LONG);
        deadline.pause("no").await.unwrap();
        assert_ne!(deadline.pauses, RETRY_PAUSES);
        deadline.go_on("now").unwrap();
        assert_eq!(deadline.pauses, RETRY_PAUSES);
        let error = Deadline::within(Duration::ZERO).go_on("too late").unwrap_err();
        assert!(error.to_string().contains("too late"), "{error}");
    }

    #[test]
    fn the_time_of_a_handover_counts_from_when_it_was_met_first() {
        let mut deadline = Deadline::within(LONG);
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
        Deadline::within(LONG).pause("no way yet").await.unwrap();
    }
}
