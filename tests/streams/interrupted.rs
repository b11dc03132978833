//! A command is asked to end while a node is silent.

use std::fs;
use std::path::Path;

use kv_testkit::harness::corpus::{Line, ndjson};
use kv_testkit::harness::run::{Output, Run};
use kv_testkit::harness::{Backend, Cluster};
use rustix::process::Signal;

/// Far longer than a test waits, so that only the signal can end a command.
const FOREVER: [&str; 2] = ["--timeout", "3600"];

/// What ends a process, and the exit code that says so.
const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

fn frozen() -> Cluster {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    cluster.node(0).freeze();
    cluster
}

fn lines() -> Vec<u8> {
    let lines: Vec<Line> = (0..5000).map(|n| (format!("key-{n}"), "v".repeat(200))).collect();
    ndjson(&lines).into()
}

/// Starts a command that gets no answers, and signals it so often.
#[track_caller]
fn signalled(run: Run, signal: Signal, times: usize) -> Output {
    let running = run.spawn();
    running.wait_until_it_minds(signal);
    for _ in 0..times {
        running.signal(signal);
    }
    running.output()
}

#[test]
fn every_command_ends_when_it_is_asked_to_though_a_node_is_silent() {
    let cluster = frozen();
    let import = || cluster.kvclient(&[&FOREVER[..], &["import"]].concat()).stdin(lines());
    for (signal, code) in SIGNALS {
        for args in [
            &["get", "key"][..],
            &["put", "key", "value"],
            &["delete", "key"],
            &["export"],
            &["export", "all.ndjson"],
            &["fsck"],
            &["bench", "--workload", "get", "--keys", "10"],
            &["bench", "--workload", "get", "--keys", "10", "--no-load"],
        ] {
            let run = cluster.kvclient(&[&FOREVER[..], args].concat());
            signalled(run, signal, 1).code(code).says(&["interrupted"]);
        }
        let output = signalled(import(), signal, 1).code(code).no_stdout();
        output.says(&["interrupted", "records stored: 0", "run it again"]);
        signalled(import(), signal, 2).code(code);
    }
    cluster.node(0).thaw();
}

#[test]
fn a_write_that_is_given_up_says_that_its_outcome_is_open() {
    let cluster = frozen();
    for (signal, code) in SIGNALS {
        for args in [&["put", "key", "value"][..], &["delete", "key"]] {
            let running = cluster.kvclient(&[&FOREVER[..], args].concat()).spawn();
            running.wait_until_connected(cluster.node(0).port());
            running.signal(signal);
            let output = running.output().code(code).no_stdout();
            output.says(&["interrupted", "whether the write of \"key\" took effect is unknown"]);
        }
    }
    // Nothing is open where nothing was asked for.
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    let run = cluster.kvclient(&["put", "key"]).stdin_from(reader);
    let output = signalled(run, Signal::INT, 1).code(130).says(&["interrupted"]);
    assert!(!output.stderr_text().contains("unknown"), "{output}");
    drop(writer);
    cluster.node(0).thaw();
}

#[test]
fn a_command_that_waits_for_its_input_ends_too() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    for args in [&["put", "key"][..], &["put"], &["import"], &["put", "key", "-"]] {
        // Its other end stays open, and says nothing.
        let (reader, writer) = std::io::pipe().expect("there are pipes");
        let run = cluster.kvclient(args).stdin_from(reader);
        signalled(run, Signal::TERM, 1).code(143).no_stdout().says(&["interrupted"]);
        drop(writer);
    }
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        cluster.directory().join("fifo"),
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .expect("it can be made");
    for args in [&["import", "fifo"][..], &["export", "fifo"]] {
        signalled(cluster.kvclient(args), Signal::INT, 1).code(130).no_stdout();
    }
}

#[test]
fn a_command_that_is_stuck_in_its_output_ends_too() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["import"]).stdin(lines()).output().success();
    // The pipe has no reader yet, and does not hold all.
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    let run = cluster.kvclient(&["export"]).stdout_to(writer);
    signalled(run, Signal::INT, 2).code(130);
    drop(reader);
}

#[test]
fn what_outlives_its_terminal_is_not_ended_by_it() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    let script = r#"trap '' HUP; exec "$0" "$@""#;
    let run = cluster.kvclient_in_shell(script, &["put", "key"]);
    let running = run.stdin_from(reader).spawn();
    running.wait_until_it_minds(Signal::TERM);
    running.signal(Signal::HUP);
    std::io::Write::write_all(&mut &writer, b"value").expect("it reads");
    drop(writer);
    running.output().success();
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout_text(), "value");
}

#[test]
fn an_export_that_is_ended_leaves_the_old_file_and_nothing_else() {
    let cluster = frozen();
    let folder = cluster.directory().join("folder");
    fs::create_dir(&folder).expect("it can be made");
    let file = folder.join("all.ndjson");
    fs::write(&file, "old").expect("it can be written");
    let path = file.display().to_string();
    let export = || cluster.kvclient(&[&FOREVER[..], &["export", &path]].concat());
    for (signal, code) in SIGNALS {
        signalled(export(), signal, 1).code(code);
    }
    if has_files_without_a_name(&folder) {
        let running = export().spawn();
        running.wait_until_it_minds(Signal::INT);
        running.kill();
    }
    let left: Vec<_> = fs::read_dir(&folder).expect("it is there").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read(&file).expect("it is there"), b"old");
    cluster.node(0).thaw();
}

fn has_files_without_a_name(folder: &Path) -> bool {
    use rustix::fs::{Mode, OFlags, open};
    open(folder, OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR | Mode::WUSR).is_ok()
}
