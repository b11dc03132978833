//! Staying awake for a moment where more is about to come.
//!
//! Waking a thread that sleeps costs tens of microseconds, more than an operation does. So a thread that
//! has just been busy looks for news for a moment before it sleeps, and lets others run meanwhile. Where
//! that was in vain, it does so more and more seldom, so that a trickle of requests costs no processor.

use std::time::{Duration, Instant};

/// How long a thread stays awake: longer than an answer takes where others have to wake up for it, or
/// what sleeps once would never be worth waiting for again.
pub(crate) const AWAKE_MAX: Duration = Duration::from_micros(300);
/// After this many vain tries in succession, the pauses between tries grow no more.
const VAIN_MAX: u32 = 7;

/// When one thread stays awake before it sleeps.
#[derive(Debug, Default)]
pub struct SpinWait {
    /// How many tries in succession were in vain.
    vain: u32,
    /// How often it goes to sleep at once.
    skips: u32,
}

impl SpinWait {
    /// Waits awake, where that is worth while, until there `is_news`. Says whether it has seen news.
    pub fn wait(&mut self, mut is_news: impl FnMut() -> bool) -> bool {
        if self.skips > 0 {
            self.skips -= 1;
            return false;
        }
        let started = Instant::now();
        while started.elapsed() < AWAKE_MAX {
            if is_news() {
                self.vain = 0;
                return true;
            }
            std::thread::yield_now();
        }
        self.vain = VAIN_MAX.min(self.vain + 1);
        self.skips = (1 << self.vain) - 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn whoever_waits_in_vain_waits_more_and_more_seldom() {
        let mut spin_wait = SpinWait::default();
        let looked = Cell::new(false);
        let tries = |spin_wait: &mut SpinWait, waits: u32, is_news: bool| {
            (0..waits)
                .filter(|_| {
                    looked.set(false);
                    spin_wait.wait(|| {
                        looked.set(true);
                        is_news
                    });
                    looked.get()
                })
                .count()
        };
        assert_eq!(tries(&mut spin_wait, 100, true), 100);
        assert_eq!(tries(&mut spin_wait, 1000, false), 7 + 6);
        assert!(tries(&mut spin_wait, 128, true) >= 1, "it has given up for ever");
        assert_eq!(tries(&mut spin_wait, 100, true), 100);
    }
}
