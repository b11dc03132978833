//! What a node says never ends it: its log may be lost, and its terminal may be closed.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::desired_states::HEEDED_WITHIN;
use kv_testkit::harness::environment::isolate;
use kv_testkit::harness::{Backend, Cluster, eventually};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

/// How long `kvnode dev` may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A node that is started with a standard error of the test's. It is killed when this is dropped.
struct Talker {
    child: Child,
}

impl Talker {
    /// Starts a node of `cluster`, or what `program` makes of it, and waits until it is ready.
    #[track_caller]
    fn start(cluster: &Cluster, args: &[&str], stderr: impl Into<Stdio>) -> Self {
        let mut command = Command::new(kvnode());
        isolate(&mut command, cluster.directory());
        let child = command
            .args(args)
            .args(["--stop-with-stdin", "--data-dir"])
            .arg(cluster.data_directory())
            .env("RUST_LOG", "debug")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("kvnode can be started");
        let mut talker = Self { child };
        let mut line = String::new();
        let stdout = talker.child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it can be read");
        assert!(line.starts_with("ready: "), "{line:?}");
        talker
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        eventually("the node's end", HEEDED_WITHIN, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fills a pipe, so that the next one who writes to it waits until it is read.
fn fill(pipe: &mut PipeWriter) {
    let flags = fcntl_getfl(&*pipe).expect("a pipe has flags");
    fcntl_setfl(&*pipe, flags | OFlags::NONBLOCK).expect("they can be set");
    let filled = loop {
        if let Err(error) = pipe.write(&[b'x'; 512]) {
            break error;
        }
    };
    assert_eq!(filled.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&*pipe, flags).expect("they can be set");
}

/// Has a node log something, sees that it serves all the while, and stops it.
#[track_caller]
fn serves(cluster: &Cluster, mut talker: Talker, what: &str) {
    cluster.kvclient(&["put", "key", what]).output().success();
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout_text(), what);
    talker.signal(Signal::TERM);
    assert_eq!(talker.end().code(), Some(0), "{what}");
}

#[test]
fn a_node_whose_log_cannot_be_written_serves_on() {
    let cluster = Cluster::empty(Backend::Embedded);
    let consul = cluster.consul();
    let args = ["--consul", &consul, "--cluster", cluster.name(), "--id", "node-0", "--port", "0"];
    // From the first line on: its disk is full.
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    serves(&cluster, Talker::start(&cluster, &args, full), "a full disk");
    // Its reader is there at first, and ends.
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let talker = Talker::start(&cluster, &args, writer);
    drop(reader);
    serves(&cluster, talker, "a reader that has gone");
    // Its reader is there, and does not read.
    let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
    fill(&mut writer);
    serves(&cluster, Talker::start(&cluster, &args, writer), "a reader that does not read");
    drop(reader);
    // What ends it all the same has its own exit code, whether it can be said or not.
    for stderr in ["/dev/full", "/dev/null"] {
        let stderr = OpenOptions::new().write(true).open(stderr).expect("Linux has it");
        let mut command = Command::new(kvnode());
        isolate(&mut command, cluster.directory());
        let command = command.args(["--consul", "127.0.0.1:1", "--start-timeout", "0"]);
        let status = command.stdin(Stdio::null()).stderr(stderr).status().expect("it runs");
        assert_eq!(status.code(), Some(3));
    }
}

/// Starts `kvnode` with a standard output that is a full pipe. The reader is to be kept.
fn untold(cluster: &Cluster, args: &[&str]) -> (Talker, PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
    fill(&mut writer);
    let mut command = Command::new(kvnode());
    isolate(&mut command, cluster.directory());
    let command = command.args(args).arg("--data-dir").arg(cluster.data_directory());
    let command = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let child = command.spawn().expect("it can be started");
    (Talker { child }, reader)
}

#[test]
fn a_reader_that_does_not_read_what_is_told_keeps_no_node_from_serving() {
    let cluster = Cluster::empty(Backend::Embedded);
    let consul = cluster.consul();
    let args = ["--consul", &consul, "--cluster", cluster.name(), "--id", "node-0", "--port", "0"];
    let (talker, reader) = untold(&cluster, &args);
    cluster.wait_until_registered("node-0");
    serves(&cluster, talker, "a reader that does not read");
    drop(reader);
    let (mut dev, reader) = untold(&cluster, &["dev", "--nodes", "1", "--consul-port", "0"]);
    eventually("a thread that nobody waits for", READY_WITHIN, || is_telling(&dev.child));
    dev.signal(Signal::TERM);
    assert_eq!(dev.end().code(), Some(0));
    drop(reader);
}

/// Whether a process is stuck telling something.
fn is_telling(child: &Child) -> Result<(), String> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id()));
    let threads = threads.map_err(|error| error.to_string())?.flatten();
    let names = threads.map(|it| std::fs::read_to_string(it.path().join("comm")));
    let names: Vec<String> = names.flatten().collect();
    if names.iter().any(|name| name == "telling\n") { Ok(()) } else { Err(format!("{names:?}")) }
}

#[test]
fn help_that_cannot_be_printed_is_an_error() {
    let run = |args: &[&str], redirection: &str| {
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        let mut command = Command::new("/bin/sh");
        let command = command.args(["-c", &script]).arg(kvnode()).args(args);
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for args in [&["--help"][..], &["-h"], &["--version"], &["dev", "--help"], &["help", "dev"]] {
        for redirection in [">/dev/full", ">&-", "1</dev/null"] {
            let (code, said) = run(args, redirection);
            assert_eq!(code, Some(1), "{args:?} {redirection}: {said}");
            assert!(said.contains("standard output cannot be written"), "{said}");
        }
        for redirection in [">/dev/null", "2>&-", "2>/dev/full", "<&-", "| true"] {
            assert_eq!(run(args, redirection).0, Some(0), "{args:?} {redirection}");
        }
    }
    for redirection in ["2>/dev/full", "2>&-", ">&-"] {
        assert_eq!(run(&["--no-such-option"], redirection).0, Some(2), "{redirection}");
    }
}

#[test]
fn a_terminal_that_is_closed_stops_a_node_cleanly_unless_it_was_told_to_ignore_that() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    cluster.add_nodes(1);
    cluster.node_mut(0).process().signal(Signal::HUP);
    assert_eq!(cluster.node_mut(0).process().wait().code(), Some(0));
    assert!(cluster.node(0).log().contains("SIGHUP: stopping"), "{}", cluster.node(0).log());
    cluster.wait_until_gone("node-0");
    // As nohup starts it.
    let mut command = Command::new("sh");
    isolate(&mut command, cluster.directory());
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(kvnode());
    command.args(["--consul", &cluster.consul(), "--cluster", cluster.name()]);
    command.args(["--id", "node-1", "--port", "0", "--stop-with-stdin", "--data-dir"]);
    command.arg(cluster.data_directory());
    let log = cluster.directory().join("logs/nohup.log");
    let mut process = kv_testkit::harness::process::Process::start("kvnode", &mut command, &log);
    process.wait_for_line("ready: ");
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
    let log = process.log();
    assert!(log.contains("SIGTERM: stopping") && !log.contains("SIGHUP"), "{log}");
}
