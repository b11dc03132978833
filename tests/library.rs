//! A program that has the library in its manifest reads and writes a cluster, with strategies and without.

use std::env;
use std::path::{Path, PathBuf};

use kv_testkit::harness::binaries::greetings;
use kv_testkit::harness::http::delete;
use kv_testkit::harness::run::{Output, Run};
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use kv_testkit::needs;

/// The variable that names the example `greetings`, built without strategies.
const SLIM: &str = "KV_SLIM_EXAMPLE";

/// What the example says in the end.
const SAID: [&str; 3] = ["greeting/en is hello", "greeting/en: 5 bytes", "greeting/fr: 7 bytes"];

on_both_backends!(the_example_creates_a_cluster_and_uses_it);

fn the_example_creates_a_cluster_and_uses_it(backend: Backend) {
    let cluster = Cluster::without_layout(backend, 2);
    for _ in 0..2 {
        assert_stores_and_reads(&cluster, greetings());
    }
}

#[needs(slim_example)]
#[test]
fn without_strategies_a_cluster_is_used_while_its_data_moves_too() {
    let mut cluster = Cluster::without_layout(Backend::Embedded, 2);
    cluster.create_layout(&["--strategy", "consistent-hash", "--partitions", "64"]);
    assert_stores_and_reads(&cluster, &slim());
    cluster.add_nodes(1);
    let mover = cluster.kvclient(&["add-node"]).env("FAILPOINTS", "mover::after-open=return");
    assert!(!mover.output().status.success(), "the mover dies at its failpoint");
    assert_stores_and_reads(&cluster, &slim());
    cluster.kvclient(&["rebalance", "resume"]).output().success();
    assert_stores_and_reads(&cluster, &slim());
    let output = cluster.kvclient(&["get", "greeting/fr"]).output().success();
    assert_eq!(output.stdout_text(), "bonjour");
}

#[needs(slim_example)]
#[test]
fn without_strategies_no_cluster_is_created() {
    let mut cluster = Cluster::without_layout(Backend::Embedded, 1);
    run(&cluster, &slim()).code(1).no_stdout().says(&["has no layout yet", "`kvclient init` does"]);
    cluster.create_layout(&[]);
    assert_stores_and_reads(&cluster, &slim());
}

#[needs(slim_example)]
#[test]
fn without_strategies_a_table_that_is_missing_is_named() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    // It would put the table back.
    cluster.node_mut(0).terminate();
    delete(&cluster.consul(), &format!("/v1/kv/kv/{}/tables/?recurse", cluster.name()));
    let said = ["the layout of epoch 1 is missing in Consul", "without strategies", "try again"];
    run(&cluster, &slim()).code(1).no_stdout().says(&said);
    cluster.node_mut(0).restart();
    kv_testkit::wait::eventually(
        "the table",
        kv_testkit::harness::desired_states::HEEDED_WITHIN,
        || {
            let output = run(&cluster, &slim());
            if output.status.success() { Ok(()) } else { Err(output.stderr_text()) }
        },
    );
}

/// Runs the example, which must find what it stores.
#[track_caller]
fn assert_stores_and_reads(cluster: &Cluster, program: &Path) {
    let output = run(cluster, program).success().no_stderr();
    let mut lines: Vec<&str> = output.stdout_text().lines().collect();
    // The scan has no order.
    lines[1..].sort_unstable();
    assert_eq!(lines, SAID);
}

/// Runs the example in this cluster.
fn run(cluster: &Cluster, program: &Path) -> Output {
    Run::new(program, cluster.directory())
        .env("CONSUL_HTTP_ADDR", &cluster.consul())
        .args([cluster.name()])
        .output()
}

/// The example without strategies.
fn slim() -> PathBuf {
    let path = env::var_os(SLIM).unwrap_or_else(|| panic!("{SLIM} names no program"));
    path.into()
}
