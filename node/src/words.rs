//! What a process says: its log and its last words on standard error, and its lines for the user.
//!
//! Words may fail. Their reader ends or stops reading, their disk is full or hangs, their terminal is
//! closed. None of that is a reason to stop serving. So nothing here fails or panics, and no reader is
//! waited for: a thread of its own writes the lines, in turn, and those that it cannot write are lost and
//! counted. A thread that says something waits until it is written, as long as that works, so that what a process
//! said before it did something is there to read. The printing macros of the standard library panic,
//! and are used nowhere.
//!
//! Words may also carry what others wrote, in Consul, over the wire or into a file. All of them pass
//! through [`Printing`] here, so that none can forge a line of the log or steer a terminal.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flume::{Receiver, RecvTimeoutError, Sender};
use kv_core::printable::{Printing, printable, printable_lines};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// How many lines may wait for a standard error that takes none just then.
const LINES_WAITING_MAX: usize = 1024;
/// The longest line, in bytes; the rest of a longer one is cut.
const LINE_BYTES_MAX: usize = 16 << 10;
/// How long a thread that says something waits until it is written. Where that is too short, no thread waits
/// any more until all lines have been written.
const WRITTEN_WITHIN: Duration = Duration::from_millis(100);
/// How long the end of the process waits for the lines that have not been written.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// The log's levels without `RUST_LOG`.
const LEVELS_DEFAULT: &str = "info,sled=error";

/// Where lines wait, once there is a thread that writes them.
static WAITING: OnceLock<Sender<Said>> = OnceLock::new();
/// How many lines were lost since one was last written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Whether lines have not been written in time, and have not been since.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Something for the thread that writes.
struct Said {
    line: Vec<u8>,
    /// Dropped when the line, and so all before it, was written or lost.
    _unwritten: Sender<()>,
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

/// Prints lines on standard output, for the user or the program that started this one. Where no reader
/// takes them at once, which is no reason not to serve, a thread that no other waits for tries on.
pub fn tell(lines: impl fmt::Display) {
    let lines = printable_lines(&format!("{lines}\n"));
    let (unwritten, written) = flume::bounded::<()>(0);
    let telling = std::thread::Builder::new().name("telling".into()).spawn(move || {
        let _unwritten = unwritten;
        let _ = io::stdout().write_all(lines.as_bytes());
    });
    if telling.is_ok() {
        // It ends when the other side is dropped.
        let _ = written.recv_timeout(WRITTEN_WITHIN);
    }
}

/// Says that a thread panicked, where and why.
pub fn say_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let reason = panic.payload_as_str().unwrap_or("for no reason that it gives");
    match panic.location() {
        Some(place) => {
            say(format_args!("kvnode: the thread {thread} panicked at {place}: {reason}"));
        }
        None => say(format_args!("kvnode: the thread {thread} panicked: {reason}")),
    }
}

/// Says where the calling thread is, where `RUST_BACKTRACE` asks for that.
pub fn say_backtrace() {
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        enqueue(format!("{backtrace}\n").into_bytes());
    }
}

/// Waits, for a bounded time, until what was said is written. To be called before the process ends.
pub fn finish() {
    let Some(waiting) = WAITING.get() else { return };
    let deadline = Instant::now() + FINISH_WITHIN;
    let (unwritten, written) = flume::bounded(0);
    if waiting.send_deadline(Said { line: Vec::new(), _unwritten: unwritten }, deadline).is_ok() {
        // It ends when the other side is dropped.
        let _ = written.recv_deadline(deadline);
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
    let Some(waiting) = WAITING.get() else { return write(&line, &mut io::stderr()) };
    let (unwritten, written) = flume::bounded(0);
    if waiting.try_send(Said { line, _unwritten: unwritten }).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    } else if !STUCK.load(Ordering::Relaxed)
        && written.recv_timeout(WRITTEN_WITHIN) == Err(RecvTimeoutError::Timeout)
    {
        STUCK.store(true, Ordering::Relaxed);
    }
}

fn write_in_turn(waiting: &Receiver<Said>) {
    for Said { line, _unwritten } in waiting {
        write(&line, &mut io::stderr());
        if waiting.is_empty() {
            STUCK.store(false, Ordering::Relaxed);
        }
    }
}

/// Writes a line, and before it how many were lost, where it can be written.
fn write(line: &[u8], stderr: &mut impl io::Write) {
    let lost = LOST.swap(0, Ordering::Relaxed);
    let gap = match lost {
        0 => String::new(),
        lost => format!("({lost} lines are missing here: they could not be written)\n"),
    };
    let written = stderr.write_all(gap.as_bytes()).and_then(|()| stderr.write_all(line));
    if written.is_err() {
        LOST.fetch_add(lost + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and no more.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room);
            self.room -= length;
            self.written.extend(&bytes[..length]);
            if length == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(length) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_written_is_counted_where_it_is_missing() {
        let mut disk = Disk { room: 6, written: Vec::new() };
        for line in ["first\n", "second\n", "third\n"] {
            write(line.as_bytes(), &mut disk);
        }
        disk.room = 1000;
        write(b"fourth\n", &mut disk);
        write(b"fifth\n", &mut disk);
        let expected =
            "first\n(2 lines are missing here: they could not be written)\nfourth\nfifth\n";
        assert_eq!(String::from_utf8(disk.written).unwrap(), expected);
    }
}
