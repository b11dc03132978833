//! What requests tell about the layout in Consul, and how often that is a reason to look there.
//!
//! A request under a newer epoch than the installed one says that there is a newer layout; one under
//! an older epoch may say that Consul has gone back to one. Both may be made up. So a look that finds
//! nothing makes the next one wait longer, up to a limit, and one that finds something starts over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kv_core::backoff::Backoff;
use tokio::sync::Notify;

/// What requests have told since it was last taken.
#[derive(Debug, Default)]
pub struct Hints {
    /// The newest epoch that was named.
    wanted: AtomicU64,
    /// Whether an older epoch than the installed one was named.
    doubted: AtomicBool,
    raised: Notify,
}

/// What a look at Consul's layout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A newer layout than the installed one.
    Newer,
    /// Whether Consul has an older layout than the installed one.
    Older,
}

impl Hints {
    /// A request names this epoch, which is newer than the installed one.
    pub fn want(&self, epoch: u64) {
        if self.wanted.fetch_max(epoch, Ordering::Relaxed) < epoch {
            self.raised.notify_one();
        }
    }

    /// A request names an older epoch than the installed one.
    pub fn doubt(&self) {
        if !self.doubted.swap(true, Ordering::Relaxed) {
            self.raised.notify_one();
        }
    }

    /// Waits for a hint that means something to a node that has `installed()` installed. Hints stay
    /// until they are [taken](Self::take).
    pub async fn next(&self, installed: impl Fn() -> u64) -> Hint {
        loop {
            if self.wanted.load(Ordering::Relaxed) > installed() {
                return Hint::Newer;
            }
            if self.doubted.load(Ordering::Relaxed) {
                return Hint::Older;
            }
            // What came meanwhile by another way is wanted no more.
            self.wanted.store(0, Ordering::Relaxed);
            self.raised.notified().await;
        }
    }

    /// Forgets a hint, since a look begins that answers it.
    pub fn take(&self, hint: Hint) {
        match hint {
            Hint::Newer => self.wanted.store(0, Ordering::Relaxed),
            Hint::Older => self.doubted.store(false, Ordering::Relaxed),
        }
    }
}

/// How far apart looks for one reason are.
#[derive(Debug)]
pub struct Pace {
    fruitless: Backoff,
    max: Duration,
    looked: Option<Instant>,
}

impl Pace {
    /// At least `min` apart, and up to `max` where they find nothing.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { fruitless: Backoff::new(min, max), max, looked: None }
    }

    /// When the next look may be.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        self.looked.map_or(now, |looked| now.max(looked + self.fruitless.pause()))
    }

    /// Takes note of a look that has begun at `at`, and of whether it found something.
    pub fn note(&mut self, at: Instant, found: bool) {
        // Claims that come now and then are each given the benefit of the doubt.
        let is_rare =
            self.looked.is_some_and(|before| at.saturating_duration_since(before) > self.max * 2);
        if found || is_rare {
            self.fruitless.succeeded();
        } else {
            self.fruitless.count();
        }
        self.looked = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(20);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn looks_that_find_nothing_are_rarer_and_rarer_up_to_a_limit() {
        let (mut pace, mut now) = (Pace::new(MIN, MAX), Instant::now());
        assert_eq!(pace.next(now), now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.note(now, false);
            let next = pace.next(now);
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits, [40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]);
        pace.note(now, true);
        assert_eq!(pace.next(now) - now, MIN);
        let later = now + MAX * 3;
        assert_eq!(pace.next(later), later);
        for _ in 0..9 {
            pace.note(now, false);
        }
        pace.note(later, false);
        assert_eq!(pace.next(later) - later, MIN);
        for _ in 0..100 {
            pace.note(later, false);
        }
        assert_eq!(pace.next(later) - later, MAX);
    }

    #[tokio::test]
    async fn a_hint_means_something_until_it_is_taken_or_has_come_true() {
        let hints = Hints::default();
        hints.want(7);
        assert_eq!(hints.next(|| 6).await, Hint::Newer);
        assert_eq!(hints.next(|| 6).await, Hint::Newer);
        hints.doubt();
        assert_eq!(hints.next(|| 7).await, Hint::Older);
        hints.take(Hint::Older);
        let none = tokio::time::timeout(MIN, hints.next(|| 7)).await;
        assert!(none.is_err(), "{none:?}");
        hints.want(8);
        hints.take(Hint::Newer);
        let none = tokio::time::timeout(MIN, hints.next(|| 7)).await;
        assert!(none.is_err(), "{none:?}");
        hints.want(8);
        assert_eq!(hints.next(|| 7).await, Hint::Newer);
    }
}
