//! One running program.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{POLL, eventually};

/// How long a program may take until it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a program may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A running program. It is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Nodes are told to stop when it closes, so that none outlives the tests, however these end.
    _stdin: Option<ChildStdin>,
    stdout: Mutex<Receiver<String>>,
    log: PathBuf,
    /// Where in the log this run begins.
    log_start: u64,
}

impl Process {
    /// Starts `command`. What it prints goes to the end of the file `log`.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let mut file = open_log(log);
        let log_start = file.metadata().expect("the log has a length").len();
        writeln!(file, "==> {command:?}").expect("the log can be written");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file.try_clone().expect("the log can be shared"))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (sender, receiver) = channel();
        let stdout = BufReader::new(stdout.expect("its standard output is piped"));
        // The thread ends with the program, which closes its end of the pipe.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                let _ = sender.send(line);
            }
        });
        Self {
            name: name.to_owned(),
            child,
            _stdin: stdin,
            stdout: Mutex::new(receiver),
            log: log.to_owned(),
            log_start,
        }
    }

    /// Waits for a line on standard output that starts with `start`, and returns it.
    ///
    /// # Panics
    /// With the program's log, where it ends or takes too long before.
    #[track_caller]
    pub fn wait_for_line(&mut self, start: &str) -> String {
        self.line_or_end(start).unwrap_or_else(|status| {
            panic!("{} ended ({status}) before {start:?}:\n{}", self.name, self.log())
        })
    }

    /// Waits for a line on standard output that starts with `start`, or for the end.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// With the program's log, where it takes too long.
    #[track_caller]
    pub fn line_or_end(&mut self, start: &str) -> Result<String, ExitStatus> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.stdout.get_mut().expect("nobody panicked").recv_timeout(left);
            match line {
                Ok(line) if line.starts_with(start) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not print {start:?}:\n{}", self.name, self.log())
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.wait()),
            }
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// Where the process has been waited for.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child has a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Kills it without warning, as a loss of power would.
    pub fn kill(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// With the program's log, where it does not.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let (name, log) = (self.name.clone(), self.log.clone());
        eventually(&format!("the end of {name}"), STOP_WITHIN, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("it is running:\n{}", read_log(&log))),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Waits until it ends by itself, or for some time. Gives how it ended, if it did.
    pub fn wait_at_most(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// Where it does not stop.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Asks it to stop and gives it the time to. Never panics, so that it may be part of a drop.
    pub fn stop_quietly(&mut self) {
        if self.is_running() {
            self.signal(Signal::TERM);
            let deadline = Instant::now() + STOP_WITHIN;
            while self.is_running() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed in this run.
    pub fn log(&self) -> String {
        let log = read_log(&self.log);
        let start = usize::try_from(self.log_start).unwrap_or(usize::MAX).min(log.len());
        log.get(start..).unwrap_or(&log).to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A log's content as text, or why it cannot be read.
pub fn read_log(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_else(|error| error.to_string().into_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn open_log(log: &Path) -> File {
    let directory = log.parent().expect("a log lies in a directory");
    fs::create_dir_all(directory).expect("the directory of the logs can be made");
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.unwrap_or_else(|error| panic!("{}: {error}", log.display()))
}
