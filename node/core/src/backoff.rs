//! How long to wait before something that has failed is tried again.
//!
//! There is no clock and no source of randomness here: the caller sleeps, and gives the random number
//! that keeps the many processes which one outage hit from coming back all at once.

use std::time::Duration;

/// Exponential back-off: pauses that double with every failure in a row, between two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet. The first pause is `min`, and none is longer than `max`.
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// The pause after so many failures before it, for callers that count themselves.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        self.min.saturating_mul(2_u32.saturating_pow(failures)).min(self.max)
    }

    /// The pause after the failures counted so far.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.after(self.failures)
    }

    /// Counts a failure.
    pub fn count(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Counts a failure, and gives the pause before the next attempt: that of the failures before this
    /// one, shortened by up to a half. `random` is drawn uniformly from 0 to 1 for each call.
    pub fn failed(&mut self, random: f64) -> Duration {
        let pause = self.pause().mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.count();
        pause
    }

    /// Starts over after a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn pauses_double_up_to_the_limit_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(MIN, MAX);
        let pauses: Vec<u128> = (0..8).map(|_| backoff.failed(1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(backoff.pause(), MAX);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.failed(1.0), MAX, "the count does not run over");
        backoff.succeeded();
        assert_eq!((backoff.pause(), backoff.after(2)), (MIN, MIN * 4));
    }

    #[test]
    fn the_random_number_takes_up_to_a_half_off() {
        let pause = |random| Backoff::new(MIN, MAX).failed(random);
        assert_eq!([pause(0.0), pause(0.5), pause(1.0)], [MIN / 2, MIN / 4 * 3, MIN]);
        assert_eq!([pause(-7.0), pause(7.0)], [MIN / 2, MIN], "a bad number does no harm");
    }
}
