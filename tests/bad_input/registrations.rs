//! Registrations that a process which can write to Consul has made in a node's name: clients go on to the
//! node itself, no message advises to stop it, and the forgeries are named as that.

use crate::library_client::Library;
use kv_testkit::harness::catalog::registered;
use kv_testkit::harness::corpus::{assert_same_lines, ndjson, words};
use kv_testkit::harness::http::{Impostor, bytes, get_json};
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use serde_json::{Value, json};

on_both_backends!(a_registration_in_a_nodes_name_draws_no_client_away);

const KEYS: usize = 500;

/// Registers an instance with the metadata of node 0, but for those in `meta`.
fn forge(cluster: &Cluster, id: &str, port: u16, meta: &[(&str, &str)], check: &Value) {
    let services = get_json(&cluster.consul(), "/v1/agent/services").expect("there are services");
    let mut forged = services[format!("{}.node-0", cluster.name())]["Meta"].clone();
    for (name, value) in meta {
        forged[*name] = json!(value);
    }
    let mut service =
        json!({"ID": id, "Name": "kv", "Address": "127.0.0.1", "Port": port, "Meta": forged});
    if !check.is_null() {
        service["Check"] = check.clone();
    }
    let service = service.to_string();
    bytes(&cluster.consul(), "PUT", "/v1/agent/service/register", service.as_bytes());
}

fn a_registration_in_a_nodes_name_draws_no_client_away(backend: Backend) {
    let mut cluster = Cluster::start_with_own_consul(backend, 2);
    let lines = ndjson(&words()[..KEYS]);
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    let library = Library::connect(&cluster);
    let silent = Impostor::silent();
    let another = registered(&cluster)[&format!("{}.node-1", cluster.name())].port;
    // A newer run where nothing listens; the same run, before it by its id, where another node is, and where
    // a listener takes connections and says nothing; and one that is said to be down.
    let newer = [("incarnation", "999-0000000000000001")];
    forge(&cluster, "newer", 1, &newer, &Value::Null);
    forge(&cluster, "0-same", another, &[], &Value::Null);
    forge(&cluster, "0-silent", silent.port(), &[], &Value::Null);
    forge(&cluster, "critical", 1, &newer, &json!({"TTL": "1s", "Status": "critical"}));

    let export = cluster.kvclient(&["export"]).output().success();
    assert_same_lines(export.stdout_text(), &lines, "all is read");
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    let status = cluster.kvclient(&["status"]).output().success();
    status.says(&["newer", "0-same", "0-silent", "critical", "forged or a mistake"]);
    let status = cluster.kvclient(&["status", "--output", "json"]).output().success().json();
    let nodes = status["nodes"].as_array().expect("there are nodes");
    let real: Vec<_> = nodes.iter().map(|it| (&it["id"], &it["health"], &it["is_twin"])).collect();
    let passing = (json!("passing"), json!(false));
    let ids = [json!("node-0"), json!("node-1")];
    let expected: Vec<_> = ids.iter().map(|id| (id, &passing.0, &passing.1)).collect();
    assert_eq!(real, expected, "{status}");
    let foreign = status["left_behind"].as_array().expect("it is a list");
    assert!(foreign.len() == 4 && foreign.iter().all(|it| it["is_foreign"] == true), "{status}");

    // The node is found where it is after it was started anew, and its data moves.
    cluster.node_mut(0).kill();
    cluster.node_mut(0).restart();
    for (key, value) in &words()[..20] {
        assert_eq!(library.get(key).expect("it is read").as_deref(), Some(value.as_bytes()));
    }
    cluster.kvclient(&["migrate", "--to", "consistent-hash"]).output().success();
    cluster.kvclient(&["remove-node", "node-1"]).output().success();
    let export = cluster.kvclient(&["export"]).output().success();
    assert_same_lines(export.stdout_text(), &lines, "all is there");
}
