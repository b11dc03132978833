//! The system gives a node too few descriptors or threads, or too short a stack, or lets it make no long files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::run::{Output, Run};
use kv_testkit::harness::{Backend, Cluster};
use rustix::process::Signal;

/// Runs `kvnode` with `args` under a limit that the shell sets.
fn limited(cluster: &Cluster, limit: &str, args: &[&str]) -> Output {
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    let program = kvnode().display().to_string();
    let run = Run::new(Path::new("/bin/sh"), cluster.directory());
    run.args(["-c", &script, &program]).args(args).output()
}

#[test]
fn a_node_with_too_few_descriptors_says_how_many_it_needs() {
    let mut cluster = Cluster::empty(Backend::Embedded);
    let consul = cluster.consul();
    let args = ["--consul", &consul, "--id", "node-0", "--port", "0", "--stop-with-stdin"];
    let dev = ["dev", "--nodes", "1", "--consul-port", "0"];
    // Fewer, and the system's loader does not find the libraries.
    for limit in (4..=24).chain([32, 48, 64, 96, 127]) {
        for args in [&args[..], &dev] {
            let output = limited(&cluster, &format!("-n {limit}"), args);
            output.code(1).no_stdout().says(&["cannot start", "128 more", "ulimit -n"]);
        }
    }
    assert!(!cluster.directory().join("xdg-data").exists(), "nothing was begun");
    // With these, it serves whoever comes.
    cluster.add_nodes(1);
    cluster.node_mut(0).restart_with_descriptors(136);
    cluster.create_layout(&[]);
    for number in 0..20 {
        cluster.kvclient(&["put", &format!("key-{number}"), "value"]).output().success();
    }
    cluster.node_mut(0).terminate();
    assert!(!cluster.node(0).log().contains("os error 24"), "{}", cluster.node(0).log());
}

#[test]
fn a_node_with_too_few_threads_says_so() {
    // Root may start as many as it likes, so that this is somebody else.
    const SETPRIV: [&str; 4] = ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups", "/bin/sh"];
    let cluster = Cluster::empty(Backend::Embedded);
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !Path::new(SETPRIV[0]).exists() {
        eprintln!("skipped: there is no {} here, by which root becomes somebody else", SETPRIV[0]);
        return;
    }
    // A copy where anybody may run it.
    let folder = tempfile::tempdir().expect("it can be made");
    let program = folder.path().join("kvnode");
    fs::copy(kvnode(), &program).expect("it can be copied");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let program = program.display().to_string();
    let consul = cluster.consul();
    let node = ["--consul", &consul, "--cluster", cluster.name(), "--data-dir", "/nonexistent"];
    let dev = ["dev", "--data-dir", "/nonexistent"];
    // Other processes of this user count too, so that there may be none for it at all.
    for limit in [1, 2, 3, 4, 5, 8, 12, 16] {
        for args in [&node[..], &dev] {
            // Shells differ in what they call it.
            let script = format!(
                "(ulimit -u {limit}) 2>/dev/null && ulimit -u {limit} || ulimit -p {limit}; exec \"$0\" \"$@\""
            );
            let shell = if is_root { &SETPRIV[..] } else { &SETPRIV[3..] };
            let run = Run::new(Path::new(shell[0]), folder.path());
            let run = run.args(&shell[1..]).args(["-c", &script, &program]).args(args);
            run.output().code(1).no_stdout().says(&["cannot start", "threads", "ulimit -u"]);
        }
    }
}

#[test]
fn a_short_stack_is_an_error_of_both_programs_and_no_end() {
    let cluster = Cluster::empty(Backend::Embedded);
    // The soft limit alone is raised.
    assert_eq!(limited(&cluster, "-S -s 128", &["--version"]).status.code(), Some(0));
    for limit in [128, 256, 512] {
        let limit = format!("-s {limit}");
        for args in [&["--help"][..], &["--consul", "127.0.0.1:1"], &["dev"]] {
            let output = limited(&cluster, &limit, args).code(1).no_stdout();
            output.says(&["cannot start", "1048576", "ulimit -s"]);
        }
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        let program = kv_testkit::harness::binaries::kvclient().display().to_string();
        let run = Run::new(Path::new("/bin/sh"), cluster.directory());
        let output = run.args(["-c", &script, &program, "get", "key"]).output();
        output.code(3).no_stdout().says(&["cannot start", "1048576", "ulimit -s"]);
    }
}

#[test]
fn a_limit_on_the_size_of_files_ends_no_node_by_a_signal() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    cluster.node_mut(0).restart_under("-f 2000");
    // Each is longer than the rest of any file may become.
    let value = "v".repeat(3 << 20);
    let put = cluster.kvclient(&["--timeout", "5", "put", "large"]).stdin(value).output();
    assert!(matches!(put.status.code(), Some(3 | 4)), "{put}");
    let log = cluster.node(0).log();
    assert!(["os error 27", "ulimit -f"].iter().any(|it| log.contains(it)), "{put}\n{log}");
    let process = cluster.node_mut(0).process();
    if process.is_running() {
        process.signal(Signal::TERM);
    }
    assert_ne!(process.wait().code(), None, "a signal has ended it");
    // Without the limit, all that was acknowledged is there.
    cluster.node_mut(0).restart();
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout_text(), "value");
}

#[test]
fn the_nodes_of_a_cluster_on_one_machine_share_its_limits() {
    let cluster = Cluster::empty(Backend::Embedded);
    let args = ["dev", "--nodes", "64", "--consul-port", "0"];
    let output = limited(&cluster, "-n 200", &args);
    output.code(1).no_stdout().says(&["cannot start", "560 more", "ulimit -n"]);
    let (_dev, ready) = Dev::start_any(cluster.directory(), 1, 0);
    assert_eq!(ready, 1);
}
