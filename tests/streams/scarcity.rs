//! The system gives too few descriptors, threads or memory.

use kv_testkit::harness::binaries::kvclient;
use kv_testkit::harness::limits::{LimitedUsers, under_limit};
use kv_testkit::harness::run::Output;
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::needs;

/// Runs `kvclient get key` under a limit that the shell sets.
fn limited(cluster: &Cluster, limit: &str) -> Output {
    let consul = cluster.consul();
    let run = under_limit(limit, kvclient(), cluster.directory());
    run.args(["--consul", &consul, "--cluster", cluster.name(), "get", "key"]).output()
}

/// It does what it was asked for, or says that it cannot.
#[track_caller]
fn is_in_order(output: Output, advice: &str) {
    match output.status.code() {
        Some(0) => assert_eq!(output.stdout_text(), "value"),
        _ => drop(output.code(3).no_stdout().says(&[advice])),
    }
}

#[test]
fn few_descriptors_are_an_error_and_no_end() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    // Fewer, and the system's loader does not find the libraries.
    for limit in 4..=48 {
        is_in_order(limited(&cluster, &format!("-n {limit}")), "ulimit -n");
    }
    limited(&cluster, "-n 10").code(3);
    limited(&cluster, "-n 64").success();
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_end() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    let value = "v".repeat(1 << 20);
    cluster.kvclient(&["put", "key"]).stdin(value.clone()).output().success();
    // Blocks of 512 or of 1,024 bytes, as the shell has it; no value fits either.
    let limited = |command: &str| {
        let script = format!("ulimit -f 100 && exec \"$0\" \"$@\" {command}");
        cluster.kvclient_in_shell(&script, &[]).output()
    };
    for (command, what) in [
        ("export all.ndjson", "all.ndjson"),
        ("export >all.out", "standard output"),
        ("get key >value", "standard output"),
    ] {
        let output = limited(command).code(2).no_stdout();
        output.says(&[what, "cannot be written", "ulimit -f"]);
    }
    assert!(!cluster.directory().join("all.ndjson").exists());
    // The command does without what is not data: compiled strategies, and the log.
    std::fs::remove_dir_all(cluster.directory().join("cache")).expect("it was made");
    assert_eq!(limited("get key").success().stdout_text(), value);
    limited("--verbose get key 2>log").success();
}

#[needs(limited_user)]
#[test]
fn few_threads_are_an_error_and_no_end() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let program = LimitedUsers::copy_of(kvclient());
    let consul = cluster.consul();
    for limit in [1, 2, 3, 5, 8, 11, 14, 20] {
        let run = program.with_threads(limit).args(["--consul", &consul]);
        let run = run.args(["--cluster", cluster.name(), "get", "key"]);
        is_in_order(run.env("KV_CACHE_DIR", "/nonexistent").output(), "ulimit -u");
    }
}

#[test]
fn little_memory_is_an_error_and_no_end() {
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    for mebibytes in [300, 1000, 4200, 5500, 6500, 8000] {
        is_in_order(limited(&cluster, &format!("-v {}", mebibytes << 10)), "ulimit -v");
    }
    limited(&cluster, "-v 16777216").success();
}
