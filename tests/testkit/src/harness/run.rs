//! One program that is expected to end by itself.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::environment::isolate;
use crate::wait::eventually;

/// How long a command may take, unless a test says otherwise.
const END_WITHIN: Duration = Duration::from_secs(120);

/// A command to run.
pub struct Run {
    command: Command,
    home: PathBuf,
    stdin: Vec<u8>,
    /// What takes the place of the pipes to its standard input, output and error.
    streams: [Option<Stdio>; 3],
}

/// A command that runs. It is killed when this is dropped.
pub struct Running {
    command: String,
    home: PathBuf,
    child: Child,
    /// The threads that read its standard output and error, and write its input.
    threads: Option<([Reader; 2], JoinHandle<()>)>,
}

/// A thread that reads a stream to its end.
type Reader = JoinHandle<Vec<u8>>;

/// What a command did.
pub struct Output {
    command: String,
    home: PathBuf,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Run {
    /// Prepares to run `program` in the directory `home`, with an empty standard input.
    pub fn new(program: &Path, home: &Path) -> Self {
        let mut command = Command::new(program);
        isolate(&mut command, home);
        Self { command, home: home.to_owned(), stdin: Vec::new(), streams: Default::default() }
    }

    /// Prepares to have a shell run `script`, in which `"$0" "$@"` is `program` with the arguments that
    /// are added, in the directory `home`.
    pub fn in_shell(script: &str, program: &Path, home: &Path) -> Self {
        Self::new(Path::new("/bin/sh"), home).args(["-c", script]).args([program])
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Adds an option whose value is a path.
    pub fn arg_path(mut self, option: &str, path: &Path) -> Self {
        self.command.arg(option).arg(path);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it `bytes` on standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Has it read standard input from `stream`.
    pub fn stdin_from(mut self, stream: impl Into<Stdio>) -> Self {
        self.streams[0] = Some(stream.into());
        self
    }

    /// Has it write standard output to `stream`, which is not collected.
    pub fn stdout_to(mut self, stream: impl Into<Stdio>) -> Self {
        self.streams[1] = Some(stream.into());
        self
    }

    /// Has it write standard error to `stream`, which is not collected.
    pub fn stderr_to(mut self, stream: impl Into<Stdio>) -> Self {
        self.streams[2] = Some(stream.into());
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// Where it cannot be started or does not end.
    #[track_caller]
    pub fn output(self) -> Output {
        self.spawn().output()
    }

    /// Starts it.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let [stdin, stdout, stderr] = self.streams.map(|it| it.unwrap_or_else(Stdio::piped));
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let command = format!("{:?}", self.command);
        // It holds the ends of the streams that it was given, which only the child is to have.
        drop(self.command);
        let stdin = child.stdin.take();
        let streams = [collect(child.stdout.take()), collect(child.stderr.take())];
        // A program may end without having read all.
        let feeder = std::thread::spawn(move || {
            let _ = stdin.map(|mut stdin| stdin.write_all(&self.stdin));
        });
        let threads = Some((streams, feeder));
        Running { command, home: self.home, child, threads }
    }
}

impl Running {
    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn output(mut self) -> Output {
        let command = self.command.clone();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&command, END_WITHIN, || match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it is running".to_owned()),
                Err(error) => Err(error.to_string()),
            })
        }));
        match ended {
            Ok(status) => self.collected(status),
            Err(panic) => {
                eprintln!("{}", self.kill());
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// Presses Ctrl-C.
    ///
    /// # Panics
    /// Where it has ended.
    #[track_caller]
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it has ended and was waited for.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
    }

    /// Waits until it minds `signal`, which would end it before, or has ended by itself.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn wait_until_it_minds(&self, signal: Signal) {
        let path = format!("/proc/{}/status", self.child.id());
        eventually("a handler of the signal", END_WITHIN, || {
            let status = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            if status.contains("State:\tZ") {
                return Ok(());
            }
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            let mask = mask.ok_or("there is no mask of signals")?;
            let minds = mask >> (signal.as_raw() - 1) & 1 == 1;
            if minds { Ok(()) } else { Err(format!("{mask:x}")) }
        });
    }

    /// Waits until it has a connection to a port of this machine.
    ///
    /// # Panics
    /// It gets no connection in time.
    #[track_caller]
    pub fn wait_until_connected(&self, port: u16) {
        let process = format!("/proc/{}", self.child.id());
        eventually("a connection", END_WITHIN, || {
            // A socket that can do both kinds of address is in the second one.
            let tables =
                ["tcp", "tcp6"].map(|it| std::fs::read_to_string(format!("{process}/net/{it}")));
            let table = tables.map(Result::unwrap_or_default).concat();
            let remote = format!(":{port:04X}");
            let sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let sockets = sockets.filter(|it| it.get(2).is_some_and(|it| it.ends_with(&remote)));
            let sockets: Vec<_> =
                sockets.filter_map(|it| Some(format!("socket:[{}]", it.get(9)?))).collect();
            let files = std::fs::read_dir(format!("{process}/fd"));
            let files = files.map_err(|error| error.to_string())?.flatten();
            let mut files = files.filter_map(|it| std::fs::read_link(it.path()).ok());
            let connected = files.any(|it| sockets.iter().any(|socket| it == Path::new(socket)));
            if connected { Ok(()) } else { Err(format!("{sockets:?}")) }
        });
    }

    /// Kills it without warning, where it has not ended.
    ///
    /// # Panics
    /// Where it cannot be waited for.
    #[track_caller]
    pub fn kill(mut self) -> Output {
        let _ = self.child.kill();
        let status = self.child.wait().expect("a child can be waited for");
        self.collected(status)
    }

    fn collected(mut self, status: ExitStatus) -> Output {
        let ([stdout, stderr], feeder) = self.threads.take().expect("it is collected once");
        let _ = feeder.join();
        let join = |reader: JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
        let (stdout, stderr) = (join(stdout), join(stderr));
        let (command, home) = (self.command.clone(), self.home.clone());
        Output { command, home, status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream, if it is a pipe, to its end.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

impl Output {
    /// Checks the exit code.
    ///
    /// # Panics
    /// Where it is another.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.status.code(), Some(expected), "the exit code is another\n{self}");
        self
    }

    /// Checks that it ended well.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    /// Checks that standard error says all of `expected`, and that no program panicked.
    ///
    /// # Panics
    /// Where it does not.
    #[track_caller]
    pub fn says(self, expected: &[&str]) -> Self {
        let text = self.stderr_text();
        for part in expected {
            assert!(text.contains(part), "standard error does not say {part:?}\n{self}");
        }
        assert!(!text.contains("panicked"), "it panicked\n{self}");
        self
    }

    /// Checks that nothing went to standard output.
    ///
    /// # Panics
    /// Where something did.
    #[track_caller]
    pub fn no_stdout(self) -> Self {
        assert!(self.stdout.is_empty(), "it should print nothing on standard output\n{self}");
        self
    }

    /// Checks that nothing went to standard error.
    ///
    /// # Panics
    /// Where something did.
    #[track_caller]
    pub fn no_stderr(self) -> Self {
        assert!(self.stderr.is_empty(), "it should print nothing on standard error\n{self}");
        self
    }

    /// Standard output as text.
    ///
    /// # Panics
    /// Where it is not UTF-8.
    #[track_caller]
    pub fn stdout_text(&self) -> &str {
        match std::str::from_utf8(&self.stdout) {
            Ok(text) => text,
            Err(error) => panic!("standard output is not text: {error}\n{self}"),
        }
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// Where it is not one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("standard output is not JSON: {error}\n{self}"),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "command: {}\ncwd: {}\nstatus: {}\n-- stdout\n{}\n-- stderr\n{}\n--",
            self.command,
            self.home.display(),
            self.status,
            excerpt(&self.stdout),
            excerpt(&self.stderr)
        )
    }
}

/// The beginning of what may be megabytes.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 8 << 10;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
    if bytes.len() > SHOWN_BYTES { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
