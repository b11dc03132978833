//! What a process says: its log and its last words on standard error, and its lines for the user.
//!
//! Words may fail. Their reader ends or stops reading, their disk is full or hangs, their terminal is
//! closed. None of that is a reason to serve nobody. So nothing here fails, panics, or waits for a
//! reader: a thread of its own writes what is said, in turn, and what it cannot write in time is lost
//! and counted. The printing macros of the standard library panic, and are used nowhere.
//!
//! Words may also carry what others wrote, in Consul, over the wire or into a file. All of them pass
//! through [`Printing`] here, so that none can forge a line of the log or steer a terminal.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flume::{Receiver, Sender};
use kv_protocol::printable::{Printing, printable};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// How many lines may wait for a standard error that takes none just then.
const LINES_WAITING_MAX: usize = 1024;
/// The longest line, in bytes; what is longer is cut.
const LINE_BYTES_MAX: usize = 16 << 10;
/// How long the end of the process waits for the lines that have not been written.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// What is logged unless `RUST_LOG` says otherwise.
const LEVELS_DEFAULT: &str = "info,sled=error";

/// Where lines wait, once there is a thread that writes them.
static WAITING: OnceLock<Sender<Said>> = OnceLock::new();
/// How many lines were lost since one was last written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Something for the thread that writes.
enum Said {
    Line(Vec<u8>),
    /// Answered when everything before it was written, or lost.
    Finished(Sender<()>),
}

/// Starts the log on standard error. Without it, nothing is logged.
pub fn start_log() {
    let (sender, receiver) = flume::bounded(LINES_WAITING_MAX);
    let thread = std::thread::Builder::new().name("words".into());
    // Where the system gives no thread, each line is written by the thread that says it.
    if thread.spawn(move || write_in_turn(&receiver)).is_ok() {
        let _ = WAITING.set(sender);
    }
    let levels = EnvFilter::try_from_default_env();
    let log = tracing_subscriber::fmt()
        .with_env_filter(levels.unwrap_or_else(|_| EnvFilter::new(LEVELS_DEFAULT)))
        .fmt_fields(debug_fn(member).delimited(" "))
        .with_ansi(io::stderr().is_terminal())
        // It would report a line that it could not write on standard error, by a macro that panics.
        .log_internal_errors(false)
        .with_writer(|| Log);
    // A second log of one process is not started, and the first one goes on.
    let _ = log.try_init();
}

/// Writes a member of a log line.
fn member(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut writer = Printing(writer);
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, "{name}={value:?}"),
    }
}

/// Says a line on standard error, log or no log.
pub fn say(text: impl fmt::Display) {
    enqueue(format!("{}\n", printable(text)).into_bytes());
}

/// Prints a line on standard output, for the user or the program that started this one. Nobody may be
/// reading, and that is no reason not to serve.
pub fn tell(line: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Says that a thread panicked, where and why.
pub fn say_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let reason = panic.payload_as_str().unwrap_or("for no reason that it gives");
    match panic.location() {
        Some(place) => {
            say(format_args!("kvnode: the thread {thread} panicked at {place}: {reason}"))
        }
        None => say(format_args!("kvnode: the thread {thread} panicked: {reason}")),
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        enqueue(format!("{backtrace}\n").into_bytes());
    }
}

/// Waits, for a bounded time, until what was said is written. To be called before the process ends.
pub fn finish() {
    let Some(waiting) = WAITING.get() else { return };
    let deadline = Instant::now() + FINISH_WITHIN;
    let (done, is_done) = flume::bounded(1);
    if waiting.send_deadline(Said::Finished(done), deadline).is_ok() {
        let _ = is_done.recv_deadline(deadline);
    }
}

/// Where the log's lines go. Each is written as a whole.
struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        enqueue(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn enqueue(mut line: Vec<u8>) {
    if line.len() > LINE_BYTES_MAX {
        line.truncate(LINE_BYTES_MAX);
        line.extend(b"...\n");
    }
    let taken = match WAITING.get() {
        Some(waiting) => waiting.try_send(Said::Line(line)).is_ok(),
        None => write(&line, &mut io::stderr()),
    };
    if !taken {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

fn write_in_turn(waiting: &Receiver<Said>) {
    for said in waiting {
        match said {
            Said::Line(line) => {
                if !write(&line, &mut io::stderr()) {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Who asked may not have waited.
            Said::Finished(done) => drop(done.try_send(())),
        }
    }
}

/// Writes a line, and before it how many were lost. Says whether it was written.
fn write(line: &[u8], stderr: &mut impl io::Write) -> bool {
    let lost = LOST.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let gap = format!("({lost} lines are missing here: they could not be written)\n");
        if stderr.write_all(gap.as_bytes()).is_err() {
            LOST.fetch_add(lost, Ordering::Relaxed);
            return false;
        }
    }
    stderr.write_all(line).is_ok()
}
