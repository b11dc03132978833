//! The system gives a node too few descriptors or threads, or too short a stack, or lets it make no long files.

use kv_testkit::harness::binaries::{kvclient, kvnode};
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::limits::{LimitedUsers, under_limit};
use kv_testkit::harness::run::Output;
use kv_testkit::harness::{Backend, Cluster};
use kv_testkit::needs;
use rustix::process::Signal;

/// Runs `kvnode` with `args` under a limit that the shell sets.
fn limited(cluster: &Cluster, limit: &str, args: &[&str]) -> Output {
    under_limit(limit, kvnode(), cluster.directory()).args(args).output()
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
    // With these, it serves any peer.
    cluster.add_nodes(1);
    cluster.node_mut(0).restart_with_descriptors(136);
    cluster.create_layout(&[]);
    for number in 0..20 {
        cluster.kvclient(&["put", &format!("key-{number}"), "value"]).output().success();
    }
    cluster.node_mut(0).terminate();
    assert!(!cluster.node(0).log().contains("os error 24"), "{}", cluster.node(0).log());
}

#[needs(limited_user)]
#[test]
fn a_node_with_too_few_threads_says_so() {
    let cluster = Cluster::empty(Backend::Embedded);
    let program = LimitedUsers::copy_of(kvnode());
    let consul = cluster.consul();
    let node = ["--consul", &consul, "--cluster", cluster.name(), "--data-dir", "/nonexistent"];
    let dev = ["dev", "--data-dir", "/nonexistent"];
    for limit in [1, 2, 3, 4, 5, 8, 12, 16] {
        for args in [&node[..], &dev] {
            let run = program.with_threads(limit).args(args);
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
        let run = under_limit(&limit, kvclient(), cluster.directory());
        let output = run.args(["get", "key"]).output();
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
