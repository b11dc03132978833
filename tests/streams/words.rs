//! Messages or output cannot be written.

use std::fs::{self, File};
use std::process::Stdio;

use kv_testkit::harness::corpus::{Line, ndjson};
use kv_testkit::harness::run::Output;
use kv_testkit::harness::{Backend, Cluster};

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

/// The writing end of a pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    writer.into()
}

#[test]
fn words_that_cannot_be_written_change_no_exit_code() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    for (args, expected) in [
        (&["get", "no such key"][..], 1),
        (&["--output", "json", "get", "no such key"], 1),
        (&["put", "key", "other", "--if-absent"], 4),
        (&["remove-node", "node-0"], 4),
        (&["import", "no-such-file"], 2),
        (&["no-such-command"], 2),
        (&["--output", "json", "no-such-command"], 2),
        (&["get"], 2),
        (&["--verbose", "get", "key"], 0),
        (&["export", "all.ndjson"], 0),
        (&["fsck"], 0),
        (&["status"], 0),
    ] {
        for stderr in [full().into(), unread()] {
            cluster.kvclient(args).stderr_to(stderr).output().code(expected);
        }
    }
    // Also what libraries say: of a cache that cannot be used, and of a variable that is not understood.
    fs::write(cluster.directory().join("no-directory"), "x").expect("it can be written");
    let blocked = cluster.directory().join("no-directory").display().to_string();
    for stderr in [full().into(), unread()] {
        let get = cluster.kvclient(&["get", "key"]).env("KV_CACHE_DIR", &blocked);
        let output = get.env("RUST_LOG", "warn,a=b=c,[").stderr_to(stderr).output().success();
        assert_eq!(output.stdout_text(), "value");
    }
    let lines: Vec<Line> = (0..300).map(|n| (format!("key-{n}"), "value".to_owned())).collect();
    cluster.kvclient(&["import"]).stdin(ndjson(&lines)).stderr_to(full()).output().success();
    assert_eq!(cluster.kvclient(&["export"]).output().stdout_text().lines().count(), 301);
}

#[test]
fn what_is_printed_and_cannot_be_written_is_an_error() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    for args in [
        &["get", "key"][..],
        &["--output", "json", "get", "key"],
        &["get-all"],
        &["locate", "key"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["export", "/dev/stdout"],
        &["strategy", "inspect", "hrw"],
    ] {
        let output = cluster.kvclient(args).stdout_to(full()).output();
        output.code(2).says(&["standard output cannot be written"]);
        // A reader that has enough is no error.
        cluster.kvclient(args).stdout_to(unread()).output().success().no_stderr();
    }
}

/// Runs a command of the client in a shell that closes one of its streams, or opens it the wrong way.
fn with(cluster: &Cluster, redirection: &str, args: &[&str]) -> Output {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    cluster.kvclient_in_shell(&script, args).output()
}

#[test]
fn what_is_printed_where_there_is_no_standard_output_is_an_error() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    for args in [
        &["get", "key"][..],
        &["--output", "json", "get", "key"],
        &["get-all"],
        &["export"],
        &["export", "/dev/stdout"],
        &["locate", "key"],
        &["status"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["strategy", "inspect", "hrw"],
    ] {
        for redirection in [">&-", "1</dev/null", "1</etc/passwd"] {
            let words = ["standard output cannot be written", "not open"];
            with(&cluster, redirection, args).code(2).says(&words);
        }
        let output = cluster.kvclient(args).stdout_to(Stdio::null()).output();
        output.success();
    }
    // What prints nothing needs none, and other files are themselves.
    for args in [&["put", "key", "other"][..], &["export", "all"], &["export", "/dev/null"]] {
        with(&cluster, ">&-", args).success();
    }
    assert_eq!(fs::read_to_string(cluster.directory().join("all")).unwrap().lines().count(), 1);
    // Nor is an input that is not there an empty one.
    for args in [&["put", "key"][..], &["put", "key", "-"], &["put"], &["import"]] {
        for redirection in ["<&-", "0>/dev/null"] {
            let words = ["standard input cannot be read", "not open"];
            with(&cluster, redirection, args).code(2).says(&words);
        }
    }
    // Errors whose message cannot be written have their codes.
    with(&cluster, "2>&-", &["get", "no such key"]).code(1);
    assert_eq!(with(&cluster, "2>&-", &["get", "key"]).success().stdout_text(), "other");
}

#[test]
fn a_setting_of_the_log_that_is_not_understood_is_named() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let output = cluster.kvclient(&["status"]).env("RUST_LOG", "kvclient=shout").output();
    output.success().says(&["RUST_LOG", "ignored"]);
}
