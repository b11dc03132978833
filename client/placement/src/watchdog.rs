//! Work that must not take for ever.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{io, thread};

use super::limits::WATCHER_STACK_BYTES;

/// How often work whose time is over is told so, until it notices.
const STOP_INTERVAL: Duration = Duration::from_millis(10);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A thread could not be started.
    #[error("no thread can be started: {0}")]
    NoThread(io::Error),
    /// The work panicked.
    #[error("it failed by an error of its own")]
    Panicked,
    /// The work took longer than it may, and was left to itself.
    #[error("it took too long")]
    Abandoned,
}

/// Runs `work` here and now. From `time_max` on, `stop` is called again and again by another thread,
/// and the work is expected to end soon.
pub(super) fn run_until_stopped<T>(
    time_max: Duration,
    stop: impl Fn() + Send + 'static,
    work: impl FnOnce() -> T,
) -> Result<T, Failure> {
    let (working, ended) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("strategy-watchdog".to_owned())
        .stack_size(WATCHER_STACK_BYTES)
        .spawn(move || {
            // Nothing is ever sent: the channel closes when the work has ended.
            let mut patience = time_max;
            while ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                stop();
                patience = STOP_INTERVAL;
            }
        })
        .map_err(Failure::NoThread)?;
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    drop(working);
    result.map_err(|_| Failure::Panicked)
}

/// Runs `work` that cannot be stopped, and waits until `time_max`. After that its thread is left
/// behind: it ends with the process, or when it is done.
pub(super) fn run_or_abandon<T: Send + 'static>(
    time_max: Duration,
    stack_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (done, finished) = mpsc::channel();
    thread::Builder::new()
        .name("strategy-compiler".to_owned())
        .stack_size(stack_bytes)
        .spawn(move || {
            // The caller has gone once the time is over, and needs no result then.
            let _ = done.send(work());
        })
        .map_err(Failure::NoThread)?;
    finished.recv_timeout(time_max).map_err(|error| match error {
        RecvTimeoutError::Timeout => Failure::Abandoned,
        RecvTimeoutError::Disconnected => Failure::Panicked,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const STACK: usize = 1 << 20;
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn work_in_time_is_not_stopped() {
        let stop = || panic!("it was stopped");
        assert_eq!(run_until_stopped(LONG, stop, || 1).unwrap(), 1);
        assert_eq!(run_or_abandon(LONG, STACK, || 1).unwrap(), 1);
    }

    #[test]
    fn work_out_of_time_is_told_to_stop() {
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let stop = move || flag.store(true, Ordering::Relaxed);
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            2
        };
        assert_eq!(run_until_stopped(SHORT, stop, work).unwrap(), 2);
    }

    #[test]
    fn work_that_cannot_be_stopped_is_abandoned() {
        let (release, held) = mpsc::channel::<()>();
        let result = run_or_abandon(SHORT, STACK, move || held.recv());
        assert!(matches!(result, Err(Failure::Abandoned)));
        drop(release);
    }

    #[test]
    fn a_panic_is_an_error_of_the_work_alone() {
        let panicked = run_until_stopped(LONG, || (), || panic!("as the test wants it"));
        assert!(matches!(panicked, Err::<(), _>(Failure::Panicked)));
        let panicked = run_or_abandon(LONG, STACK, || panic!("as the test wants it"));
        assert!(matches!(panicked, Err::<(), _>(Failure::Panicked)));
    }
}
