//! A stored key or value would act on a terminal.

use std::path::Path;

use kv_testkit::harness::run::Run;
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::needs;

/// A title for the window, an empty screen, the same with C1's single character, and a turn of direction.
const HOSTILE: &str = "a\u{1b}]0;PWNED\u{7}\u{1b}[2J\u{9b}2J\u{202e}b";

/// What a command of the client writes to a terminal.
fn on_terminal(cluster: &Cluster, args: &[&str]) -> String {
    const SCRIPT: &str = "/usr/bin/script";
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let program = kv_testkit::harness::binaries::kvclient().display().to_string();
    let consul = cluster.consul();
    let all = [&[&program, "--consul", &consul, "--cluster", cluster.name()], args].concat();
    let command = all.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(" ");
    let run = Run::new(Path::new(SCRIPT), cluster.directory());
    let output = run.args(["-qec", &command, "/dev/null"]).output();
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

#[track_caller]
fn does_nothing(text: &str) {
    let acts = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
    assert!(!text.contains(acts), "{text:?}");
}

#[test]
fn a_value_is_what_it_is_where_there_is_no_terminal() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "-"]).stdin(HOSTILE).output().success();
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout, HOSTILE.as_bytes());
}

#[needs(terminal)]
#[test]
fn a_value_is_shown_on_a_terminal_and_not_carried_out() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "-"]).stdin(HOSTILE).output().success();
    cluster
        .kvclient(&["put", "binary", "-"])
        .stdin(b"a\xff\x00\x9b2J\tb\nc".to_vec())
        .output()
        .success();
    cluster.kvclient(&["put", HOSTILE, "value"]).output().success();
    let shown = on_terminal(&cluster, &["get", "key"]);
    does_nothing(&shown);
    assert!(shown.contains("a\\u{1b}]0;PWNED\\u{7}") && shown.contains("redirect"), "{shown}");
    let shown = on_terminal(&cluster, &["get", "binary"]);
    does_nothing(&shown);
    assert!(shown.starts_with("a\\xff\\0\\x9b2J\tb\nc\n"), "{shown}");
    for args in [&["--output", "json", "get", "key"][..], &["get-all"], &["export"]] {
        let shown = on_terminal(&cluster, args);
        assert!(shown.contains("\\u009b2J\\u202e"), "{shown}");
    }
}

#[test]
fn no_words_act_on_a_terminal_wherever_they_go() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", HOSTILE, HOSTILE]).output().success();
    let consul = format!("{}/{HOSTILE}", cluster.consul());
    for args in [
        &["get", "no\u{1b}[2Jsuch\u{9b}key"][..],
        &["--output", "json", "get", "no\u{1b}[2Jsuch\u{9b}key"],
        &["put", HOSTILE, "value", "--if-absent"],
        &[HOSTILE],
        &["get", "key", HOSTILE],
        &["--output", HOSTILE, "status"],
        &["--consul", &consul, "status"],
        &["import", "no-such\u{1b}[2J-file"],
        &["--strategy", "./no-such\u{9b}2J", "get", "key"],
        &["locate", HOSTILE],
        &["explain", HOSTILE],
    ] {
        let output = cluster.kvclient_anywhere(&[&["--cluster", cluster.name()], args].concat());
        let output = output.env("CONSUL_HTTP_ADDR", &cluster.consul()).output();
        does_nothing(&output.stderr_text());
        does_nothing(output.stdout_text());
    }
    // The user's words are shown, and not left out.
    cluster
        .kvclient_anywhere(&[HOSTILE])
        .output()
        .code(2)
        .says(&["a\\u{1b}]0;PWNED\\u{7}\\u{1b}[2J"]);
    for args in [
        &[HOSTILE][..],
        &["--id", HOSTILE],
        &["--consul", &consul, "--start-timeout", "0"],
        &["--host", HOSTILE],
        &["--advertise", HOSTILE],
        &["dev", HOSTILE],
        &["dev", "--serve-older-copy", HOSTILE],
        &["--id", "node-0", "--consul", "127.0.0.1:1", "--start-timeout", "0"],
        &["--help"],
        &["-h"],
    ] {
        let directory = cluster.directory().join(HOSTILE).display().to_string();
        let program = kv_testkit::harness::binaries::kvnode();
        let run = Run::new(program, cluster.directory()).args(args);
        let output = run.env("KVNODE_DATA_DIR", &directory).env("RUST_LOG", HOSTILE).output();
        does_nothing(&output.stderr_text());
        does_nothing(output.stdout_text());
    }
}
