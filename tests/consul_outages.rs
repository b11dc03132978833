//! Consul may be absent, slow, failing, or come back empty: nothing is lost, and every program says so.

use std::time::Duration;

use crate::library_client::Library;
use kv_testkit::harness::catalog::{layout, stored, wait_for_nodes};
use kv_testkit::harness::corpus::{assert_same_lines, ndjson, words};
use kv_testkit::harness::http::{Impostor, bytes};
use kv_testkit::harness::peer::Peer;
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use serde_json::json;

on_both_backends!(
    an_empty_consul_gets_everything_back_from_the_nodes,
    nodes_that_start_with_an_empty_consul_restore_it,
    without_consul_the_cluster_goes_on_serving,
    a_consul_that_is_put_back_is_put_right_at_once,
);

/// How long the nodes may take to notice that Consul is back: a check's interval and some back-off.
const RESTORED_WITHIN: Duration = Duration::from_secs(60);

fn an_empty_consul_gets_everything_back_from_the_nodes(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 2);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let (before, kept) = (layout(&cluster).expect("there is a layout"), stored(&cluster));

    cluster.own_consul().restart_empty();
    // A client that comes at the worst moment must not take this for a new cluster.
    eventually("the value after Consul's loss", RESTORED_WITHIN, || {
        let output = cluster.kvclient(&["get", "key"]).output();
        match output.status.code() {
            Some(0) => {
                assert_eq!(output.stdout_text(), "value");
                Ok(())
            }
            Some(3) => Err(output.to_string()),
            _ => panic!("a client may wait, and nothing else:\n{output}"),
        }
    });
    assert_eq!(layout(&cluster), Some(before));
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
    // The claims on the ids come back when a node starts; everything else is as it was.
    let documents = |stored: std::collections::BTreeMap<String, Vec<u8>>| {
        stored.into_iter().filter(|(key, _)| !key.starts_with("nodes/")).collect::<Vec<_>>()
    };
    assert_eq!(documents(stored(&cluster)), documents(kept));
}

fn nodes_that_start_with_an_empty_consul_restore_it(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 2);
    cluster.kvclient(&["put", "key", "value"]).output().success();
    let before = layout(&cluster).expect("there is a layout");
    for number in 0..2 {
        cluster.node_mut(number).terminate();
    }
    cluster.own_consul().restart_empty();
    assert_eq!(layout(&cluster), None);
    cluster.node_mut(0).restart();
    assert_eq!(layout(&cluster), Some(before.clone()));
    // A newcomer does not take the place of the member that is still away.
    let number = cluster.add_node(&["--id", "node-2", "--port", "0"]);
    cluster.node_mut(1).restart();
    assert_eq!(layout(&cluster), Some(before));
    let output = cluster.kvclient(&["get", "key"]).output().success();
    assert_eq!(output.stdout_text(), "value");
    let status = Peer::req(&cluster.node(number).endpoint()).ask_json(r#"{"op":"STATUS"}"#);
    assert_eq!(status["status"]["layout"]["partitions_owned"], 0);
}

fn without_consul_the_cluster_goes_on_serving(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 2);
    let library = Library::connect(&cluster);
    library.put("before", "value").expect("Consul is there");

    cluster.own_consul().stop();
    for n in 0..50 {
        let key = format!("key-{n}");
        library.put(&key, "value").expect("a client that has a layout needs no Consul");
        let read = library.get(&key).expect("a client that has a layout needs no Consul");
        assert_eq!(read.as_deref(), Some(&b"value"[..]));
    }
    cluster.kvclient(&["get", "before"]).output().code(3).no_stdout().says(&[
        "cannot reach Consul at",
        &cluster.consul(),
        "--consul",
    ]);
    let args = ["--id", "node-2", "--port", "0", "--start-timeout", "1"];
    let unreachable = ["cannot reach Consul at", &cluster.consul()];
    cluster.kvnode(&args).output().code(3).no_stdout().says(&unreachable);
    // Stopping does not depend on Consul either.
    assert_eq!(cluster.node_mut(1).terminate().code(), Some(0));

    cluster.own_consul().restart_empty();
    cluster.node_mut(1).restart();
    wait_for_nodes(&cluster, &[("node-0", "passing"), ("node-1", "passing")]);
    let read = library.get("before").expect("everything is back");
    assert_eq!(read.as_deref(), Some(&b"value"[..]));
}

/// An operator restores an old snapshot of Consul while the cluster lives.
fn a_consul_that_is_put_back_is_put_right_at_once(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 2);
    let lines = ndjson(&words()[..500]);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    let (address, key) = (cluster.consul(), format!("/v1/kv/kv/{}/layout", cluster.name()));
    // The embedded agent has no snapshots; there the document alone is put back.
    let path = match backend {
        Backend::Embedded => key.clone(),
        Backend::RealConsul => "/v1/snapshot".to_owned(),
    };
    let raw = if backend == Backend::Embedded { format!("{path}?raw") } else { path.clone() };
    let snapshot = bytes(&address, "GET", &raw, b"");
    cluster.add_nodes(1);
    cluster.kvclient(&["add-node"]).output().success();
    let newest = layout(&cluster).expect("there is a layout");
    let moved = words().into_iter().take(500).map(|(key, _)| key).find(|key| {
        let output = cluster.kvclient(&["locate", key, "--output", "json"]).output().success();
        output.json()["node"] == "node-2"
    });
    let moved = moved.expect("something has moved");

    bytes(&address, "PUT", &path, &snapshot);
    // That is far less than Consul holds a query.
    let get = cluster.kvclient(&["--timeout", "20", "get", &moved]);
    get.output().success();
    assert_eq!(layout(&cluster), Some(newest.clone()));
    // Consul has lost the registration of the node that came later, too.
    let all = ["node-0", "node-1", "node-2"].map(|node| (node, "passing"));
    bytes(&address, "PUT", &path, &snapshot);
    wait_for_nodes(&cluster, &all);
    cluster.kvclient(&["fsck"]).output().success();
    bytes(&address, "PUT", &path, &snapshot);
    wait_for_nodes(&cluster, &all);
    cluster.kvclient(&["remove-node", "node-0"]).output().success();
    let export = cluster.kvclient(&["export"]).output().success();
    assert_same_lines(export.stdout_text(), &lines, "nothing is lost");
}

#[test]
fn a_consul_that_is_none_gets_a_clear_error() {
    let cluster = Cluster::empty(Backend::Embedded);
    let cases: [(Impostor, &[&str]); 3] = [
        (Impostor::failing(), &["Consul answered GET", "status 500", "No leader"]),
        (Impostor::strange(), &["is not one of Consul's", "something else listening"]),
        // It is the client's own patience that ends, or that for one request.
        (Impostor::silent(), &["Consul at http://127.0.0.1:"]),
    ];
    // At the same time, since some of it is waiting.
    std::thread::scope(|scope| {
        for (impostor, words) in &cases {
            let (cluster, at) = (&cluster, ["--consul", impostor.address()]);
            scope.spawn(move || {
                let node = [&at[..], &["--id", "node-0", "--port", "0", "--start-timeout", "1"]];
                let node = cluster.kvnode_anywhere(&node.concat()).output();
                node.code(3).no_stdout().says(words);
            });
            for command in [&["get", "key"][..], &["put", "key", "value"], &["status"], &["init"]] {
                scope.spawn(move || {
                    let client = [&at[..], &["--timeout", "1"], command].concat();
                    let client = cluster.kvclient_anywhere(&client).output();
                    client.code(3).no_stdout().says(words);
                });
            }
        }
    });
}

#[test]
fn without_any_consul_everybody_says_what_to_do() {
    let cluster = Cluster::empty(Backend::Embedded);
    // A port that was free a moment ago, where no process listens.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
        .to_string();
    let words = ["cannot reach Consul at", &address, "kvnode dev"];
    let args = ["--consul", &address, "--id", "node-0", "--port", "0", "--start-timeout", "1"];
    cluster.kvnode_anywhere(&args).output().code(3).no_stdout().says(&words);
    let args = ["--consul", &address, "get", "key"];
    cluster.kvclient_anywhere(&args).output().code(3).no_stdout().says(&words);
    // The variable of Consul's ecosystem counts as well.
    let run = cluster.kvclient_anywhere(&["status"]).env("CONSUL_HTTP_ADDR", &address);
    run.output().code(3).no_stdout().says(&words);
    let json = cluster.kvclient_anywhere(&["--consul", &address, "--output", "json", "get", "key"]);
    let output = json.output().code(3).no_stdout();
    let error = kv_testkit::harness::peer::parse(&output.stderr);
    assert_eq!(error["error"]["code"], json!("consul"));

    for wrong in ["ftp://consul", "localhost:port", "http://"] {
        let args = ["--consul", wrong, "--id", "node-0", "--port", "0"];
        cluster.kvnode_anywhere(&args).output().code(2).no_stdout();
        cluster.kvclient_anywhere(&["--consul", wrong, "status"]).output().code(2).no_stdout();
    }
}
