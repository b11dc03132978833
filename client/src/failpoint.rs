//! Places where a test can have this process killed: `FAILPOINTS=mover::after-open=return`.
//!
//! They exist only in builds with the feature `failpoints`. Every step of a mover has one:
//! `mover::after-begin`, `mover::after-prepare`, `mover::before-open`, `mover::after-open`,
//! `mover::copy::page`, `mover::after-copy`, `mover::after-verify`, `mover::after-note` (before the last
//! step), `mover::after-settle`, `mover::after-telling` (a node was told to stop). `add-node` has
//! `launch::before-signal`, and a client `client::before-examination`.

/// Ends the process without a trace, as `kill -9` would, where the failpoint `$name` is set to
/// `return`. The other actions of the `fail` crate, such as `sleep`, work too.
#[macro_export]
#[doc(hidden)]
macro_rules! failpoint {
    ($name:expr) => {{
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name, |_| $crate::failpoint::die());
    }};
}

/// Ends the process without a trace.
#[cfg(feature = "failpoints")]
pub fn die<T>() -> T {
    let own = rustix::process::getpid();
    // It does not return where it works, and there is nothing else to try where it does not.
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    std::process::abort()
}
