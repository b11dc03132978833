//! The system gives too few descriptors, threads or memory.

use std::path::Path;

use kv_testkit::harness::run::{Output, Run};
use kv_testkit::harness::{Backend, Cluster};

/// Runs `kvclient get key` under a limit that the shell sets.
fn limited(cluster: &Cluster, limit: &str) -> Output {
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    let program = kv_testkit::harness::binaries::kvclient().display().to_string();
    let consul = cluster.consul();
    let args = ["-c", &script, &program, "--consul", &consul, "--cluster", cluster.name()];
    let run = Run::new(Path::new("/bin/sh"), cluster.directory());
    run.args(args).args(["get", "key"]).output()
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
    let program = kv_testkit::harness::binaries::kvclient().display().to_string();
    let consul = cluster.consul();
    // Blocks of 512 or of 1,024 bytes, as the shell has it; no value fits either.
    let limited = |command: &str| {
        let script = format!("ulimit -f 100 && exec \"$0\" \"$@\" {command}");
        let args = ["-c", &script, &program, "--consul", &consul, "--cluster", cluster.name()];
        Run::new(Path::new("/bin/sh"), cluster.directory()).args(args).output()
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
    // What is no data is done without: compiled strategies, and the log.
    std::fs::remove_dir_all(cluster.directory().join("cache")).expect("it was made");
    assert_eq!(limited("get key").success().stdout_text(), value);
    limited("--verbose get key 2>log").success();
}

#[test]
fn few_threads_are_an_error_and_no_end() {
    // Root may start as many as it likes, so that this is somebody else.
    const SETPRIV: [&str; 4] = ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups", "/bin/sh"];
    let cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !Path::new(SETPRIV[0]).exists() {
        eprintln!("skipped: there is no {} here, by which root becomes somebody else", SETPRIV[0]);
        return;
    }
    // A copy where anybody may run it.
    let folder = tempfile::tempdir().expect("it can be made");
    let program = folder.path().join("kvclient");
    std::fs::copy(kv_testkit::harness::binaries::kvclient(), &program).expect("it can be copied");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).expect("it is ours");
    let program = program.display().to_string();
    let consul = cluster.consul();
    // Other processes of this user count too, so that there may be none for it at all.
    for limit in [1, 2, 3, 5, 8, 11, 14, 20] {
        // Shells differ in what they call it.
        let script = format!(
            "(ulimit -u {limit}) 2>/dev/null && ulimit -u {limit} || ulimit -p {limit}; exec \"$0\" \"$@\""
        );
        let shell = if is_root { &SETPRIV[..] } else { &SETPRIV[3..] };
        let run = Run::new(Path::new(shell[0]), folder.path());
        let run = run.args(&shell[1..]).args(["-c", &script, &program, "--consul", &consul]);
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
