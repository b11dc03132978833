//! No cluster adopts a strategy that lacks something, unless its operator accepts that by name.

use std::path::Path;

use kv_core::digest::Digest;
use kv_testkit::harness::catalog::{layout, stored};
use kv_testkit::harness::{Backend, Cluster, on_both_backends};

use super::write_guest;

on_both_backends!(
    a_new_cluster_adopts_only_what_passes,
    an_existing_cluster_adopts_only_what_passes,
    a_strategy_of_an_earlier_contract_goes_on
);

/// What the guest `in-turn` lacks.
const LACKED: &str = "honours-weights,moves-little-on-join,moves-little-on-leave";

fn a_new_cluster_adopts_only_what_passes(backend: Backend) {
    let cluster = Cluster::without_layout(backend, 2);
    let guest = write_guest(&cluster, "in-turn");
    let before = stored(&cluster);
    let given = ["--strategy", &guest];
    let refused = cluster.kvclient(&given).args(["put", "key", "value"]).output().code(4);
    refused.no_stdout().says(&["lacks honours-weights", "--accept", LACKED]);
    for accepted in ["balanced", "honours-weights,moves-little-on-join"] {
        let init = ["init", "--accept", accepted];
        cluster.kvclient(&given).args(init).output().code(4).no_stdout().says(&["lacks"]);
    }
    let unknown = cluster.kvclient(&given).args(["init", "--accept", "in-range"]).output().code(2);
    unknown.says(&["in-range", "zones-distinct"]);
    assert_eq!(stored(&cluster), before, "Consul holds what it held");
    cluster.kvclient(&given).args(["init", "--accept", LACKED]).output().success();
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let got = cluster.kvclient(&["get", "key"]).output().success();
    assert_eq!(got.stdout, b"value");
}

fn an_existing_cluster_adopts_only_what_passes(backend: Backend) {
    let cluster = Cluster::start(backend, 2);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let guest = write_guest(&cluster, "in-turn");
    let before = layout(&cluster);
    for command in [&["migrate", "--to", &guest][..], &["plan", "migrate", "--to", &guest]] {
        cluster.kvclient(command).output().code(4).no_stdout().says(&["lacks honours-weights"]);
    }
    assert_eq!(layout(&cluster), before);
    let plan = ["plan", "migrate", "--to", &guest, "--accept", LACKED, "--output", "json"];
    let plan = cluster.kvclient(&plan).output().success();
    std::fs::write(cluster.directory().join("plan.json"), &plan.stdout).expect("it can be written");
    // A plan says what its maker accepted, so that the command that carries it out need not.
    cluster.kvclient(&["migrate", "--apply", "plan.json"]).output().success();
    assert_ne!(layout(&cluster), before);
    let got = cluster.kvclient(&["get", "key"]).output().success();
    assert_eq!(got.stdout, b"value");
    // A strategy that is adopted once needs no admission for later changes.
    cluster.kvclient(&["remove-node", "node-1"]).output().success();
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout, b"value");
}

fn a_strategy_of_an_earlier_contract_goes_on(backend: Backend) {
    let cluster = Cluster::without_layout(backend, 2);
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/0.1.0/hrw.wasm");
    let digest = Digest::of(&std::fs::read(&old).expect("it is there")).to_string();
    let old = old.to_str().expect("its path is text");
    let pinned = |cluster: &Cluster| {
        cluster.kvclient(&["status", "--output", "json"]).output().success().json()["layout"]["strategy_sha256"].clone()
    };
    let shown = cluster.kvclient(&["strategy", "inspect", old]).output().success();
    assert!(shown.stdout_text().contains("contract  0.1.0"), "{shown}");
    cluster.kvclient(&["--strategy", old, "put", "key", "value"]).output().success();
    assert_eq!(pinned(&cluster), digest);
    // It places a node that comes, as it did.
    cluster.kvclient(&["add-node"]).output().success();
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout, b"value");
    // It is left for a strategy of the newest contract, and adopted again.
    cluster.kvclient(&["migrate", "--to", "hrw"]).output().success();
    assert_ne!(pinned(&cluster), digest);
    cluster.kvclient(&["migrate", "--to", old]).output().success();
    assert_eq!(pinned(&cluster), digest);
    assert_eq!(cluster.kvclient(&["get", "key"]).output().success().stdout, b"value");
}

#[test]
fn a_client_without_time_to_examine_a_strategy_says_so() {
    let cluster = Cluster::without_layout(Backend::Embedded, 2);
    let guest = write_guest(&cluster, "slow-together");
    let before = stored(&cluster);
    let put = ["--strategy", &guest, "--timeout", "1", "put", "key", "value"];
    // However fast the machine is, the examination takes longer than the client has.
    let put = cluster.kvclient(&put).env("FAILPOINTS", "client::before-examination=sleep(3000)");
    put.output().code(3).no_stdout().says(&["./slow-together.wasm was still being examined"]);
    assert_eq!(stored(&cluster), before, "Consul holds what it held");
    // With more time it is known what it lacks.
    let put = ["--strategy", &guest, "--timeout", "120", "put", "key", "value"];
    cluster.kvclient(&put).output().code(4).no_stdout().says(&["lacks within-fuel"]);
}
