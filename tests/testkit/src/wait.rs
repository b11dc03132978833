//! Waiting for a condition.

use std::time::{Duration, Instant};

/// How often to look.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Looks until `look` succeeds, and returns what it found.
///
/// # Panics
/// Where it has not succeeded `within` the time; the message tells the state that was seen last.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if Instant::now() >= deadline => {
                panic!("{what}: not within {within:?}; the last state was: {state}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
