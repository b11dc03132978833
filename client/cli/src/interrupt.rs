//! Being asked to end: by Ctrl-C, or by SIGTERM and SIGHUP, as systems and closed terminals do.
//!
//! The first signal asks a command to end: most are simply given up, and those that have something to say
//! first watch for it with [`asked`]. A command that cannot be given up just then, since it waits for a
//! disk or a pipe, and one that takes too long, is ended with the process, and so it is by the second
//! signal. A thread of its own sees to that, so that it happens whatever else is stuck.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use kv_system::lock::lock;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long a command may go on after the first signal to finish its operations.
pub(crate) const FINISH_WITHIN: Duration = Duration::from_secs(1);
/// How long after the first signal the process ends in any case, in milliseconds, unless a command has
/// [asked for more](allow).
static END_WITHIN_MS: AtomicU64 = AtomicU64::new(2000);
/// How long after the second signal the process ends in any case.
const END_AT_ONCE: Duration = Duration::from_millis(200);

/// What has come so far.
#[derive(Clone, Copy, Default)]
struct Asked {
    times: u32,
    /// The number of the first signal.
    signal: i32,
}

static ASKED: LazyLock<watch::Sender<Asked>> = LazyLock::new(watch::Sender::default);

/// The file that is to go away with the process.
static TEMPORARY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Words on how to find out whether a change took effect, while it is being made.
static OPEN: Mutex<Option<String>> = Mutex::new(None);

/// Starts to listen.
///
/// # Errors
/// The system gives no thread or no descriptors.
pub(crate) fn listen() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _entered = runtime.enter();
        let mut signals =
            vec![listen_to(SignalKind::interrupt())?, listen_to(SignalKind::terminate())?];
        // A process that was started with `nohup` is to outlive its terminal.
        if !is_ignored(SignalKind::hangup()) {
            signals.push(listen_to(SignalKind::hangup())?);
        }
        signals
    };
    std::thread::Builder::new().name("interrupts".into()).spawn(move || heed(&runtime, signals))?;
    Ok(())
}

/// Waits until the process has been asked to end.
pub(crate) async fn asked() {
    asked_times(1).await;
}

/// Waits until it is time to give up the operations under way: a moment after the first signal, or at the
/// second.
pub(crate) async fn pressed() {
    asked().await;
    tokio::select! {
        () = asked_times(2) => {}
        () = tokio::time::sleep(FINISH_WITHIN) => {}
    }
}

/// Waits until the process is asked to end once more than it has been by now.
pub(crate) async fn asked_again() {
    let times = ASKED.borrow().times;
    asked_times(times + 1).await;
}

/// Lets the command take so much time, in place of two seconds, to undo what it has begun before the
/// process ends.
pub(crate) fn allow(time: Duration) {
    END_WITHIN_MS.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The exit code of a process that was asked to end: 128 and the signal's number, as shells have it.
pub(crate) fn exit_code() -> i32 {
    let signal = match ASKED.borrow().signal {
        0 => SignalKind::interrupt().as_raw_value(),
        signal => signal,
    };
    128 + signal
}

/// Has a temporary file removed when the process is ended from here. With `None`, no file is removed.
pub(crate) fn remove_at_end(path: Option<PathBuf>) {
    *lock(&TEMPORARY) = path;
}

/// Does what may take effect also where it is given up; then `open` is said, which tells how to find out.
pub(crate) async fn changing<T>(open: String, change: impl Future<Output = T>) -> T {
    *lock(&OPEN) = Some(open);
    let done = change.await;
    *lock(&OPEN) = None;
    done
}

/// How to find out whether the change took effect that a command was making when it was given up.
pub(crate) fn what_is_open() -> Option<String> {
    lock(&OPEN).take()
}

async fn asked_times(times: u32) {
    // The sender is never dropped, so this ends only where there were so many.
    let _ = ASKED.subscribe().wait_for(|asked| asked.times >= times).await;
}

fn listen_to(kind: SignalKind) -> io::Result<(SignalKind, Signal)> {
    Ok((kind, signal(kind)?))
}

/// Whether the process was started with a signal ignored; no where the system does not tell.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

/// Passes the signals on, and ends the process where it does not end by itself.
fn heed(runtime: &Runtime, mut signals: Vec<(SignalKind, Signal)>) {
    runtime.block_on(async {
        let signal = next(&mut signals).await;
        ASKED.send_replace(Asked { times: 1, signal });
        let end_within = Duration::from_millis(END_WITHIN_MS.load(Ordering::Relaxed));
        tokio::select! {
            () = tokio::time::sleep(end_within) => {}
            _ = next(&mut signals) => {
                ASKED.send_replace(Asked { times: 2, signal });
                tokio::time::sleep(END_AT_ONCE).await;
            }
        }
    });
    let temporary = lock(&TEMPORARY).take();
    if let Some(path) = temporary {
        // Where it cannot be removed, there is no way left to say so.
        let _ = std::fs::remove_file(path);
    }
    std::process::exit(exit_code());
}

/// The number of the next signal.
async fn next(signals: &mut [(SignalKind, Signal)]) -> i32 {
    let next = signals.iter_mut().map(|(kind, signal)| {
        Box::pin(async move {
            signal.recv().await;
            kind.as_raw_value()
        })
    });
    futures::future::select_all(next).await.0
}
