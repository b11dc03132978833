//! A node that may have little address space.

use kv_testkit::harness::binaries::kvnode;
use kv_testkit::harness::limits::under_limit;
use kv_testkit::harness::{Backend, Cluster};

/// Too little for its threads, for its engine, or for any work.
#[test]
fn a_node_that_gets_too_little_address_space_says_so_and_speaks_of_no_damage() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    cluster.node_mut(0).terminate();
    let consul = cluster.consul();
    let root = cluster.data_directory();
    let root = root.to_str().expect("the path is text");
    let node = ["--consul", &consul, "--cluster", cluster.name(), "--data-dir", root];
    let node = [&node[..], &["--id", "node-0", "--port", "0"]].concat();
    let dev = ["dev", "--nodes", "1", "--consul-port", "0"];
    for kibibytes in [50_000, 100_000, 250_000, 400_000, 700_000] {
        for args in [&node[..], &dev] {
            let limit = format!("-v {kibibytes}");
            let run = under_limit(&limit, kvnode(), cluster.directory()).args(args);
            let output = run.output().code(1).no_stdout();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!text.contains("damage"), "{text}");
            output.says(&["cannot start", "address space", "1073741824", "ulimit -v"]);
        }
    }
    cluster.node_mut(0).restart_under("-v 1048576");
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout_text(), "value");
}
