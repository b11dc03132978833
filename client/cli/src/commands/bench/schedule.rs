//! The moments at which operations are due, at a fixed rate (an open loop).
//!
//! A cluster that stands still does not make operations come later: they fall due all the same, and their
//! latencies count from then, so that none of its pauses is left out (coordinated omission). What is due and has
//! not begun is a count and not a list, so it takes the same memory however far a cluster falls behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::Semaphore;

/// The highest rate, in operations per second: far above what one client can do.
pub(super) const RATE_MAX: u64 = 10_000_000;
/// The shortest pause between two looks at what is due: at high rates, some operations begin together.
const STEP: Duration = Duration::from_micros(100);
/// The longest pause, after which it is seen that the schedule has been stopped.
const LOOK: Duration = Duration::from_millis(50);
const NS_PER_SECOND: u128 = 1_000_000_000;

/// Says when each operation is due, and lets it begin then.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the first operation is due.
    began: Instant,
    /// Operations per second.
    rate: u64,
    /// How many operations there are.
    total: u64,
    /// When no further one begins, even if it is due; `None` if all of them begin.
    ends: Option<Instant>,
    /// How many have been taken by workers.
    taken: AtomicU64,
    /// How many were due and not taken when others fell due the last time.
    waiting: AtomicU64,
    /// A permit for each operation that is due and not taken; closed once there are no more.
    due: Semaphore,
}

/// How a schedule was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Operations per second, as they were asked for.
    pub(super) rate: u64,
    /// How many operations fell due.
    pub(super) due: u64,
    /// How many of them were waiting for others to end when the last ones fell due.
    pub(super) waiting: u64,
    /// How many of them never began.
    pub(super) not_begun: u64,
}

impl Schedule {
    /// One of `total` operations, at least one, `rate` in each second from `began` on. Those that have not begun
    /// when it `ends` never do.
    pub(super) fn new(began: Instant, rate: u64, total: u64, ends: Option<Instant>) -> Self {
        let (taken, waiting) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began, rate, total, ends, taken, waiting, due: Semaphore::new(0) }
    }

    /// Starts the thread that lets operations of the schedules begin, which follow one another: timers of the
    /// runtime are precise to a millisecond only, which is longer than most operations take. It ends with the last
    /// schedule, or once that is stopped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(schedules: Vec<Arc<Self>>) -> io::Result<()> {
        let keep = move || {
            // Linux wakes a thread up to 50 microseconds late unless it is asked not to.
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZero::new(1)) {
                tracing::debug!(%error, "operations begin a little late");
            }
            schedules.iter().for_each(|schedule| schedule.keep());
        };
        thread::Builder::new().name("schedule".into()).spawn(keep).map(drop)
    }

    fn keep(&self) {
        let mut released = 0;
        while !self.due.is_closed() && (released < self.total || self.ends.is_some()) {
            let now = Instant::now();
            let left = self.ends.map_or(LOOK, |ends| ends.saturating_duration_since(now));
            if left.is_zero() {
                return self.stop();
            }
            let due = self.due_by(now);
            if due > released {
                let waiting = released.saturating_sub(self.taken.load(Ordering::Relaxed));
                self.waiting.store(waiting, Ordering::Relaxed);
                self.due.add_permits((due - released) as usize);
                released = due;
            }
            let pause = match released < self.total {
                true => self.since(released).saturating_duration_since(now).max(STEP),
                false => LOOK,
            };
            thread::sleep(pause.min(left).min(LOOK));
        }
    }

    /// Waits until an operation is due, and gives the moment at which it fell due; `None` if there are no more, or
    /// it was stopped.
    pub(super) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number + 1 >= self.total {
            // The other workers wait in vain.
            self.due.close();
        }
        Some(self.since(number))
    }

    /// Lets no further operation begin.
    pub(super) fn stop(&self) {
        self.due.close();
    }

    /// How it was kept until this moment, or its end.
    pub(super) fn kept(&self, now: Instant) -> Kept {
        let due = self.due_by(now);
        let not_begun = due.saturating_sub(self.taken.load(Ordering::Relaxed));
        Kept { rate: self.rate, due, waiting: self.waiting.load(Ordering::Relaxed), not_begun }
    }

    /// How many operations have fallen due by this moment.
    fn due_by(&self, now: Instant) -> u64 {
        let Some(passed) = now.checked_duration_since(self.began) else { return 0 };
        due_before(self.rate, passed + Duration::from_nanos(1)).min(self.total)
    }

    /// When an operation falls due.
    fn since(&self, number: u64) -> Instant {
        let ns = u128::from(number) * NS_PER_SECOND / u128::from(self.rate);
        self.began + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// How many operations fall due in a time, the first one at its beginning.
pub(super) fn due_before(rate: u64, time: Duration) -> u64 {
    let count = (time.as_nanos() * u128::from(rate)).div_ceil(NS_PER_SECOND);
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_time_has_as_many_operations_as_fall_due_in_it() {
        for (rate, time, expected) in [
            (1, SECOND / 2, 1),
            (1, SECOND, 1),
            (1, SECOND + Duration::from_nanos(1), 2),
            (3, SECOND * 10, 30),
            (1000, Duration::ZERO, 0),
            (RATE_MAX, SECOND * 86_400, 864_000_000_000),
        ] {
            assert_eq!(due_before(rate, time), expected, "{rate}/s, {time:?}");
        }
    }

    #[test]
    fn an_operation_is_due_from_its_moment_on() {
        for rate in [1, 3, 7, 1000, 999_983, RATE_MAX] {
            let schedule = Schedule::new(Instant::now(), rate, u64::MAX, None);
            for number in [0, 1, 2, 10, 999, 1_000_003] {
                let since = schedule.since(number);
                assert_eq!(schedule.due_by(since), number + 1, "{rate}/s, {number}");
                let before = since.checked_sub(Duration::from_nanos(1)).unwrap();
                assert_eq!(schedule.due_by(before), number, "{rate}/s, {number}");
            }
        }
    }

    #[test]
    fn what_is_due_is_a_count_and_its_moments_are_the_past_ones() {
        // A minute behind, at the highest rate: there are 600 million operations to begin.
        let began = Instant::now().checked_sub(SECOND * 60).unwrap();
        let total = RATE_MAX * 60;
        let schedule = Arc::new(Schedule::new(began, RATE_MAX, total, None));
        Schedule::start(vec![Arc::clone(&schedule)]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for number in 0..1000 {
                assert_eq!(schedule.next().await, Some(schedule.since(number)));
            }
            let kept = schedule.kept(Instant::now());
            assert_eq!((kept.due, kept.not_begun), (total, total - 1000));
            schedule.stop();
            assert_eq!(schedule.next().await, None);
        });
        assert!(size_of::<Schedule>() < 200);
    }

    #[test]
    fn nobody_waits_for_more_than_there_are() {
        let schedule = Arc::new(Schedule::new(Instant::now(), 1000, 3, None));
        Schedule::start(vec![Arc::clone(&schedule)]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let moments = runtime
            .block_on(async { futures::future::join_all((0..10).map(|_| schedule.next())).await });
        let moments: Vec<_> = moments.into_iter().flatten().collect();
        assert_eq!(moments, [0, 1, 2].map(|number| schedule.since(number)));
    }

    #[test]
    fn what_has_not_begun_in_one_schedule_does_not_hold_up_the_next_one() {
        let began = Instant::now();
        let first_ends = began + SECOND / 10;
        let first = Arc::new(Schedule::new(began, RATE_MAX, RATE_MAX / 10, Some(first_ends)));
        let second = Arc::new(Schedule::new(first_ends, 1000, 10, None));
        Schedule::start(vec![Arc::clone(&first), Arc::clone(&second)]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(first.next().await, Some(began));
            let nothing = Kept { rate: 1000, due: 0, waiting: 0, not_begun: 0 };
            assert_eq!(second.kept(began), nothing);
            assert_eq!(second.next().await, Some(first_ends));
            assert_eq!(first.next().await, None);
            let kept = first.kept(first_ends);
            assert_eq!((kept.due, kept.not_begun), (RATE_MAX / 10, RATE_MAX / 10 - 1));
            // All but what fell due at the very end.
            assert!(kept.waiting > 0 && kept.waiting < kept.due, "{kept:?}");
        });
    }
}
