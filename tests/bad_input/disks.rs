//! Disks that are full.

use crate::harness::peer::Peer;
use crate::harness::{Backend, Cluster};

#[test]
fn a_full_disk_refuses_writes_and_serves_on() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    for key in ["kept", "removed"] {
        cluster.kvclient(&["put", key, "value"]).output().success();
    }
    cluster.node_mut(0).terminate();
    // More than any disk has.
    cluster.node_mut(0).restart_with(&["--disk-reserve-bytes", &(1_u64 << 62).to_string()]);
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(peer.refusal(&[br#"{"op":"PUT","key":"new","value":"v"}"#]), "disk_full");
    assert_eq!(peer.refusal(&[br#"{"op":"PUT","key":"kept","value":"v"}"#]), "disk_full");
    let batch = r#"{"op":"BATCH","ops":[{"op":"PUT","key":"new","value":"v"},
        {"op":"GET_ONE","key":"kept"},{"op":"DELETE","key":"removed"}]}"#;
    let results = peer.ask_json(batch)["results"].clone();
    assert_eq!(results[0]["error"]["code"], "disk_full");
    assert_eq!(results[1]["value"], "value");
    assert_eq!(results[2]["existed"], true);
    let output = cluster.kvclient(&["put", "new", "v"]).output();
    output.code(4).no_stdout().says(&["node-0", "reads and deletes go on"]);
    let output = cluster.kvclient(&["export"]).output().success();
    assert_eq!(output.stdout_text(), "{\"key\":\"kept\",\"value\":\"value\"}\n");

    cluster.node_mut(0).terminate();
    cluster.node_mut(0).restart();
    cluster.kvclient(&["put", "new", "v"]).output().success();
}
