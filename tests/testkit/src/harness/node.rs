//! One node, as a process that a test starts, kills and starts again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;

use super::address::port_of;
use super::binaries::kvnode;
use super::environment::isolate;
use super::process::Process;

/// A node. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Node {
    args: Vec<OsString>,
    home: PathBuf,
    log: PathBuf,
    process: Process,
    ready: Option<Ready>,
}

/// What a node says when it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ready {
    id: String,
    address: String,
    directory: PathBuf,
}

impl Node {
    /// Starts a process with the arguments `args`; [`Node::wait_until_ready`] follows. `name` is
    /// what its log is called in `home`.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[track_caller]
    pub fn spawn(name: &str, args: Vec<OsString>, home: &Path) -> Self {
        let log = home.join("logs").join(format!("{name}.log"));
        let process = start(&args, home, &log, &[]);
        Self { args, home: home.to_owned(), log, process, ready: None }
    }

    /// Waits until the node serves.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let line = self.process.wait_for_line("ready: ");
        self.ready = Some(Ready::parse(&line));
    }

    /// The node's id.
    pub fn id(&self) -> &str {
        &self.ready().id
    }

    /// The node's host and port.
    pub fn address(&self) -> &str {
        &self.ready().address
    }

    /// The node's port.
    pub fn port(&self) -> u16 {
        port_of(self.address())
    }

    /// The node's ZeroMQ endpoint.
    pub fn endpoint(&self) -> String {
        format!("tcp://{}", self.address())
    }

    /// The node's data directory.
    pub fn directory(&self) -> &Path {
        &self.ready().directory
    }

    /// The identity of the node's data directory, as it is on disk.
    ///
    /// # Panics
    /// Where the identity file is not there.
    #[track_caller]
    pub fn uuid(&self) -> String {
        let file = self.directory().join("identity.json");
        let json = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let identity: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
        identity["uuid"].as_str().expect("it has a uuid").to_owned()
    }

    /// The id of the node's process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The most memory that the node has had so far, in bytes.
    ///
    /// # Panics
    /// Where its process is gone.
    #[track_caller]
    pub fn peak_memory_bytes(&self) -> u64 {
        self.status_bytes("VmHWM")
    }

    /// How much memory it has now, in bytes, without the program itself, which is large where it was not optimized.
    ///
    /// # Panics
    /// Where its process is gone.
    #[track_caller]
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("RssAnon")
    }

    #[track_caller]
    fn status_bytes(&self, name: &str) -> u64 {
        let kib =
            self.status(name).and_then(|it| it.strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("Linux tells it") << 10
    }

    /// What Linux says of the node's process under this name, where it knows it.
    ///
    /// # Panics
    /// Where its process is gone.
    #[track_caller]
    pub fn status(&self, name: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the node runs on Linux");
        let said = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        said.map(|it| it.trim().to_owned())
    }

    /// The node's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it without warning, as a loss of power would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// Where it does not end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    /// Stops the process in its tracks (SIGSTOP), as a machine that hangs would.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Starts the ended process again with the arguments it had.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// [`Node::restart`] with further arguments.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn restart_with(&mut self, more: &[&str]) {
        let more = more.iter().map(OsString::from);
        let args: Vec<OsString> = self.args.iter().cloned().chain(more).collect();
        self.process.kill();
        self.process = start(&args, &self.home, &self.log, &[]);
        self.wait_until_ready();
    }

    /// [`Node::restart`] with a variable set.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn restart_with_env(&mut self, name: &str, value: &str) {
        self.process.kill();
        self.process = start(&self.args, &self.home, &self.log, &[(name, value)]);
        self.wait_until_ready();
    }

    /// [`Node::restart`] where the process may have at most `limit` open files.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn restart_with_descriptors(&mut self, limit: usize) {
        self.restart_under(&format!("-n {limit}"));
    }

    /// [`Node::restart`] under a limit, as a shell's `ulimit` takes it.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    pub fn restart_under(&mut self, limit: &str) {
        self.process.kill();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]).arg(kvnode());
        self.process = run(command, &self.args, &self.home, &self.log, &[]);
        self.wait_until_ready();
    }

    /// Starts the ended process again with the arguments it had, and waits until it is ready or has
    /// ended.
    ///
    /// # Errors
    /// How it ended.
    #[track_caller]
    pub fn try_restart(&mut self) -> Result<(), ExitStatus> {
        self.respawn(&[]);
        self.ready_or_end()
    }

    /// Starts the ended process again with the arguments it had and these variables, without waiting
    /// for it.
    #[track_caller]
    pub fn respawn(&mut self, env: &[(&str, &str)]) {
        self.process.kill();
        self.process = start(&self.args, &self.home, &self.log, env);
    }

    /// Waits until the node is ready or has ended.
    ///
    /// # Errors
    /// How it ended.
    #[track_caller]
    pub fn ready_or_end(&mut self) -> Result<(), ExitStatus> {
        let line = self.process.line_or_end("ready: ")?;
        self.ready = Some(Ready::parse(&line));
        Ok(())
    }

    /// All that the node has printed, in all its runs.
    pub fn log(&self) -> String {
        super::process::read_log(&self.log)
    }

    /// All that the node has printed in its last run.
    pub fn last_words(&self) -> String {
        self.process.log()
    }

    #[track_caller]
    fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("the node has been waited for")
    }
}

impl Ready {
    /// Reads `ready: ID at HOST:PORT, cluster NAME, consul URL, data in DIRECTORY`.
    fn parse(line: &str) -> Self {
        let parts = line.strip_prefix("ready: ").and_then(|line| {
            let (id, rest) = line.split_once(" at ")?;
            let (address, rest) = rest.split_once(", cluster ")?;
            let (_, directory) = rest.split_once(", data in ")?;
            Some((id, address, directory))
        });
        let (id, address, directory) =
            parts.unwrap_or_else(|| panic!("the line of a node that is ready is {line:?}"));
        Self { id: id.to_owned(), address: address.to_owned(), directory: directory.into() }
    }
}

fn start(args: &[OsString], home: &Path, log: &Path, env: &[(&str, &str)]) -> Process {
    run(Command::new(kvnode()), args, home, log, env)
}

fn run(
    mut command: Command,
    args: &[OsString],
    home: &Path,
    log: &Path,
    env: &[(&str, &str)],
) -> Process {
    isolate(&mut command, home);
    command.args(args).arg("--stop-with-stdin").env("RUST_LOG", "info,sled=error");
    command.envs(env.iter().copied());
    Process::start("kvnode", &mut command, log)
}
