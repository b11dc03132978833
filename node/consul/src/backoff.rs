//! How long to wait after a failure before the next attempt.

use std::time::Duration;

/// The wait after the first failure, before jitter.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// The longest wait, before jitter.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(BACKOFF_MIN.as_millis() < BACKOFF_MAX.as_millis());

/// Exponential back-off with jitter: from [`BACKOFF_MIN`], doubling, to [`BACKOFF_MAX`], and each
/// wait shortened by up to a half at random, so that the many clients that one outage hit do not
/// come back all at once.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure, and says how long to wait before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let delay = self.delay(rand::random_range(0.5..=1.0));
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Forgets the failures after a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait after the failures so far, times `jitter`.
    fn delay(&self, jitter: f64) -> Duration {
        let doubled = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(self.failures));
        doubled.min(BACKOFF_MAX).mul_f64(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.delay(1.0), BACKOFF_MIN);
        backoff.failed();
        assert_eq!(backoff.delay(1.0), BACKOFF_MIN * 2);
        for _ in 0..100 {
            backoff.failed();
        }
        assert_eq!(backoff.delay(1.0), BACKOFF_MAX);
        backoff.failures = u32::MAX;
        assert!(backoff.failed() <= BACKOFF_MAX);
        backoff.succeeded();
        assert_eq!(backoff.delay(1.0), BACKOFF_MIN);
    }

    #[test]
    fn jitter_stays_between_half_and_all_of_the_wait() {
        for _ in 0..1_000 {
            let delay = Backoff::default().failed();
            assert!((BACKOFF_MIN / 2..=BACKOFF_MIN).contains(&delay), "{delay:?}");
        }
    }
}
