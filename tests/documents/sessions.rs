//! Sessions: the commands that are typed, and the output that the page shows.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use kv_testkit::harness::Backend;
use kv_testkit::harness::backend::ConsulServer;
use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::environment::isolate;
use kv_testkit::harness::process::Process;
use kv_testkit::harness::run::Run;
use regex_lite::Regex;
use tempfile::TempDir;

use super::page::{Block, Page, root};

/// What differs from run to run, and what takes its place on both sides. Everything else is compared
/// word for word.
const PATTERNS: [(&str, &str); 6] = [
    (r"\b[0-9a-f]{8}-(…|[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", "UUID"),
    (r"\b(127\.0\.0\.1|localhost):[0-9]+", "HOST:PORT"),
    (r"\bin [0-9]+\.[0-9] s\b", "in SECONDS"),
    (r"\b[0-9,]+ keys/s\b", "KEYS/S"),
    // Records move with their versions, whose lengths differ.
    (r"\bmoved ([0-9,]+) keys \([0-9.]+ [KM]iB\)", "moved $1 keys (BYTES)"),
    (r"\bdata in /\S+/kvnode/", "data in HOME/kvnode/"),
];

/// The line of a page that stands for any number of lines.
const ANY_LINES: &str = "...";

/// The Consul that a page has its reader start.
const CONSUL_OF_THE_PAGES: &str = "localhost:8500";

/// Where the first node of a page is, unless that port is taken.
const FIRST_NODE_OF_THE_PAGES: &str = "127.0.0.1:2000";

/// The terminals of a reader who follows a page: a directory, the programs on the `PATH`, and what runs.
pub(super) struct Terminals {
    // Before the directories that it uses, so that it ends first.
    running: Vec<Process>,
    consul: Option<ConsulServer>,
    /// Where commands find the cluster that was started last.
    address: Option<String>,
    first_node: Option<String>,
    has_python: bool,
    path: String,
    directory: TempDir,
}

/// A command and what it prints.
struct Exchange {
    line: usize,
    command: String,
    printed: Vec<String>,
}

impl Terminals {
    /// Opens them, beside a Consul where the page supposes one.
    pub(super) fn open(backend: Option<Backend>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let programs = directory.path().join("programs");
        fs::create_dir(&programs).expect("a directory can be made");
        // The agent of `kvnode dev` gets a free port in place of the default.
        let dev = "case \"$1\" in dev) set -- \"$@\" --consul-port 0;; esac";
        let scripts = [("kvnode", kvnode(), dev), ("kvclient", kvclient(), ":")];
        for (name, program, before) in scripts {
            let script = format!("#!/bin/sh\n{before}\nexec '{}' \"$@\"\n", program.display());
            let path = programs.join(name);
            fs::write(&path, script).expect("a file can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        // Where a page has its reader be in the folder of the repository.
        let (strategies, link) = (root().join("strategies"), directory.path().join("strategies"));
        symlink(strategies, link).expect("a link can be made");
        let others = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{others}", programs.display());
        let consul = backend.map(Backend::start);
        let (running, address, first_node) = (Vec::new(), None, None);
        Self { running, consul, address, first_node, has_python: false, path, directory }
    }

    /// Has the scripts of the page be run too, which need pyzmq.
    pub(super) fn with_python(mut self) -> Self {
        self.has_python = true;
        self
    }

    /// Types every command of the page's sessions, in their order, runs its scripts, and compares what
    /// they print.
    #[track_caller]
    pub(super) fn follow(mut self, page: &Page) {
        for block in &page.blocks {
            match block.language.as_str() {
                "console" => {
                    for exchange in exchanges(&page.name, block) {
                        let shown = exchange.printed.iter().filter(|line| *line != ANY_LINES);
                        let printed = self.type_in(&exchange.command, shown.count());
                        exchange.check(&page.name, &printed);
                    }
                }
                "python" if self.has_python => self.run_python(page, block),
                _ => {}
            }
        }
    }

    /// Runs a script, which prints what its comments say.
    #[track_caller]
    fn run_python(&self, page: &Page, block: &Block) {
        let python = |script: &str| {
            let run = Run::new(Path::new("python3"), self.directory.path());
            run.args(["-c", script]).env("PATH", &self.path).output()
        };
        let comments = block.lines.iter().filter_map(|line| line.split_once("  # "));
        let printed = comments.map(|(_, comment)| comment.to_owned()).collect();
        let first = self.first_node.as_ref().expect("a node has been started");
        let command = block.lines.join("\n").replace(FIRST_NODE_OF_THE_PAGES, first);
        let output = python(&command).success();
        let lines: Vec<_> = output.stdout_text().lines().map(str::to_owned).collect();
        Exchange { line: block.line, command, printed }.check(&page.name, &lines);
    }

    /// What a command prints: all of it, or its first `lines` where it keeps running.
    #[track_caller]
    fn type_in(&mut self, command: &str, lines: usize) -> Vec<String> {
        let here = self.consul.as_ref().map(ConsulServer::address);
        let command = match &here {
            Some(address) => command.replace(CONSUL_OF_THE_PAGES, address),
            None => command.to_owned(),
        };
        if command.split_whitespace().next() == Some("kvnode") {
            return self.keep_running(&command, lines);
        }
        let run = Run::new(Path::new("sh"), self.directory.path());
        let run = run.args(["-c", &format!("{{ {command}\n}} 2>&1")]).env("PATH", &self.path);
        let run = match &self.address {
            Some(address) => run.env("CONSUL_HTTP_ADDR", address),
            None => run,
        };
        let output = run.output();
        output.stdout_text().lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn keep_running(&mut self, command: &str, lines: usize) -> Vec<String> {
        let mut shell = Command::new("sh");
        isolate(&mut shell, self.directory.path());
        shell.args(["-c", &format!("exec {command}")]).env("PATH", &self.path);
        let log = self.directory.path().join(format!("terminal-{}.log", self.running.len()));
        let mut process = Process::start(command, &mut shell, &log);
        let printed: Vec<_> = (0..lines).map(|_| process.wait_for_line("")).collect();
        let url = printed.iter().find_map(|line| line.split_once("consul http://"));
        let address = url.and_then(|(_, rest)| rest.split(',').next());
        self.address = address.map(str::to_owned).or(self.address.take());
        let first = printed.iter().find_map(|line| line.strip_prefix("ready: node-0 at "));
        let first = first.and_then(|rest| rest.split(',').next());
        self.first_node = first.map(str::to_owned).or(self.first_node.take());
        self.running.push(process);
        printed
    }
}

impl Exchange {
    /// Checks that this is what was printed, but for what differs from run to run.
    #[track_caller]
    fn check(&self, page: &str, printed: &[String]) {
        let Self { line, command, printed: shown } = self;
        assert!(
            is_alike(shown, printed),
            "{page}:{line}: $ {command}\nthe page shows:\n{}\nit prints:\n{}",
            shown.join("\n"),
            printed.join("\n")
        );
    }
}

impl Drop for Terminals {
    fn drop(&mut self) {
        // As a reader closes the windows: what runs ends what it has started.
        for process in &mut self.running {
            process.stop_quietly();
        }
    }
}

/// The commands of a block, each with what it prints.
#[track_caller]
fn exchanges(page: &str, block: &Block) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for (line, text) in (block.line..).zip(&block.lines) {
        match (text.strip_prefix("$ "), exchanges.last_mut()) {
            (Some(command), _) => {
                let command = command.to_owned();
                exchanges.push(Exchange { line, command, printed: Vec::new() });
            }
            (None, Some(exchange)) => exchange.printed.push(text.clone()),
            (None, None) => panic!("{page}:{line}: a session begins with a command"),
        }
    }
    exchanges
}

/// Whether what a page shows is what was printed, but for what differs from run to run.
fn is_alike(shown: &[String], printed: &[String]) -> bool {
    let patterns = patterns();
    let plain = |lines: &[String]| -> Vec<String> {
        let plain = |line: &String| {
            let start = Cow::Borrowed(line.as_str());
            let replaced = patterns.iter().fold(start, |line, (pattern, word)| {
                Cow::Owned(pattern.replace_all(&line, *word).into_owned())
            });
            replaced.into_owned()
        };
        lines.iter().map(plain).collect()
    };
    matches(&plain(shown), &plain(printed))
}

/// Whether lines are as shown, where `...` stands for any number of them.
fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [any, rest @ ..] if any == ANY_LINES => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        [line, rest @ ..] => printed.first() == Some(line) && matches(rest, &printed[1..]),
    }
}

fn patterns() -> Vec<(Regex, &'static str)> {
    let compiled = |(pattern, word)| (Regex::new(pattern).expect("it is a pattern"), word);
    PATTERNS.into_iter().map(compiled).collect()
}

/// Checks that the sessions of `pages` have something for each pattern.
///
/// # Panics
/// Where a pattern is not needed any more.
#[track_caller]
pub(super) fn assert_every_pattern_occurs(pages: &[Page]) {
    let blocks = pages.iter().flat_map(|page| &page.blocks);
    let sessions = blocks.filter(|block| block.language == "console");
    let lines: Vec<_> = sessions.flat_map(|block| &block.lines).collect();
    for (pattern, word) in patterns() {
        assert!(lines.iter().any(|line| pattern.is_match(line)), "{word} occurs nowhere");
    }
}

#[test]
fn lines_that_differ_are_found() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let alike = |shown: &str, printed: &str| is_alike(&lines(shown), &lines(printed));
    assert!(alike("a\nstored in 0.2 s", "a\nstored in 11.7 s"));
    assert!(alike("a\n...\nd", "a\nb\nc\nd") && alike("a\n...", "a") && alike("...", ""));
    let (shown, printed) = ("(2b5f3a0c-…)", "(87076531-bac5-484d-ad0d-e592e0326cbb)");
    assert!(alike(shown, printed) && !alike(shown, "(87076531)"));
    assert!(!alike("a\nb", "a") && !alike("a", "a\nb") && !alike("a\n...\nd", "a\nb"));
    assert!(!alike("hrw (014c0c251119)", "hrw (014c0c251118)"));
    assert!(!alike("moved 3,948 keys (1.00 KiB)", "moved 3,949 keys (1.00 KiB)"));
}
