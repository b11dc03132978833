//! A bound on how fast data is moved.

use std::time::{Duration, Instant};

/// How much may be moved at once after a rest, as time at the full rate.
const BURST: Duration = Duration::from_millis(250);

/// Lets a number of bytes pass per second.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_s: Option<u64>,
    /// When all that has passed until now would have passed at the full rate.
    paid_until: Instant,
}

impl Throttle {
    /// Lets `bytes_per_s` pass, or everything.
    pub(crate) fn new(bytes_per_s: Option<u64>) -> Self {
        Self { bytes_per_s, paid_until: Instant::now() }
    }

    /// How long to wait at `now` before `bytes` more may pass, which then count as passed.
    pub(crate) fn wait(&mut self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_s else { return Duration::ZERO };
        let start = self.paid_until.max(now.checked_sub(BURST).unwrap_or(now));
        self.paid_until = start + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        start.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept() {
        let begin = Instant::now();
        let mut throttle = Throttle::new(Some(1000));
        let mut now = begin;
        for _ in 0..20 {
            now += throttle.wait(500, now);
        }
        let took = (now - begin).as_millis();
        // The last half second is still to be paid for, and a burst was free.
        let expected = 9500;
        assert!((expected - BURST.as_millis()..=expected).contains(&took), "{took} ms");
        assert_eq!(Throttle::new(None).wait(u64::MAX, now), Duration::ZERO);
    }
}
