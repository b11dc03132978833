//! A plain ZeroMQ client, in any language, gets exactly the documented replies.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kv_core::limits::{BATCH_OPERATIONS_MAX, PAGE_ITEMS_MAX};
use kv_core::partition::key_hash;
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use kv_testkit::needs;
use serde_json::{Value, json};

on_both_backends!(the_fixed_payloads_are_answered_exactly);

fn one_node() -> Cluster {
    Cluster::start(Backend::Embedded, 1)
}

fn the_fixed_payloads_are_answered_exactly(backend: Backend) {
    let connects: [fn(&str) -> Peer; 2] = [Peer::req, Peer::dealer];
    let cluster = Cluster::start(backend, 1);
    let endpoint = cluster.node(0).endpoint();
    for peer in connects.map(|connect| connect(&endpoint)) {
        assert_eq!(peer.ask(r#"{"op":"GET_ONE","key":"key"}"#), r#"{"key":"key","value":null}"#);
        assert_eq!(peer.ask(r#"{"op":"GET_ALL"}"#), r#"{"collection":[]}"#);

        let reply = peer.ask(r#"{"op":"PUT","key":"key","value":"value"}"#);
        assert!(reply.starts_with(r#"{"key":"key","ok":true"#), "{reply}");
        assert_eq!(peer.ask(r#"{"op":"GET_ONE","key":"key"}"#), r#"{"key":"key","value":"value"}"#);
        assert_eq!(
            peer.ask(r#"{"op":"GET_ALL"}"#),
            r#"{"collection":[{"key":"key","value":"value"}]}"#
        );

        peer.ask(r#"{"op":"PUT","key":"key1","value":"value1"}"#);
        peer.ask(r#"{"op":"DELETE","key":"key"}"#);
        peer.ask(r#"{"op":"PUT","key":"key2","value":"value2"}"#);
        let mut items = [("key1", "value1"), ("key2", "value2")];
        items.sort_by_key(|(key, _)| key_hash(key));
        let items = items.map(|(key, value)| format!(r#"{{"key":"{key}","value":"{value}"}}"#));
        let expected = format!(r#"{{"collection":[{}]}}"#, items.join(","));
        assert_eq!(peer.ask(r#"{"op":"GET_ALL"}"#), expected);

        for key in ["key1", "key2"] {
            peer.ask(&format!(r#"{{"op":"DELETE","key":"{key}"}}"#));
        }
    }
}

#[needs(pyzmq)]
#[test]
fn the_binding_of_python_gets_the_same_replies() {
    let cluster = one_node();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/pyzmq_client.py");
    let output = Command::new("python3")
        .args([script, &cluster.node(0).endpoint()])
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_delimiter_is_mirrored_only_to_those_who_send_one() {
    let cluster = one_node();
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    let header = br#"{"op":"GET_ONE","key":"key"}"#;
    let reply = br#"{"key":"key","value":null}"#.to_vec();
    assert_eq!(peer.ask_frames(&[b"", header]), [Vec::new(), reply.clone()]);
    assert_eq!(peer.ask_frames(&[header]), [reply]);
}

#[test]
fn ids_are_echoed_to_requests_and_refusals() {
    let cluster = one_node();
    let peer = Peer::req(&cluster.node(0).endpoint());
    assert_eq!(
        peer.ask(r#"{"op":"GET_ONE","key":"key","id":7}"#),
        r#"{"key":"key","value":null,"id":7}"#
    );
    for id in [json!(0), json!(u64::MAX), json!(""), json!("a".repeat(64)), json!("\u{e4}")] {
        for op in ["GET_ALL", "STATUS", "NO_SUCH_OP"] {
            let reply = peer.ask_json(&json!({"op": op, "id": id}).to_string());
            assert_eq!(reply["id"], id, "{reply}");
        }
        // Also where the rest of the header is wrong.
        let reply = peer.ask_json(&json!({"op": "GET_ONE", "kye": "key", "id": id}).to_string());
        assert_eq!((&reply["id"], &reply["error"]["code"]), (&id, &json!("bad_request")));
    }
}

#[test]
fn requests_in_flight_are_all_answered_each_with_its_id() {
    const REQUESTS: u64 = 900;
    let cluster = one_node();
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    for id in 0..REQUESTS {
        // One key, so that the order is seen.
        let header = match id % 3 {
            0 => json!({"op": "PUT", "key": "key", "value": id.to_string(), "id": id}),
            1 => json!({"op": "GET_ONE", "key": "key", "id": id}),
            _ => json!({"op": "GET_ALL", "id": id}),
        };
        peer.send(&[header.to_string().as_bytes()]);
    }
    let mut answered = BTreeSet::new();
    for _ in 0..REQUESTS {
        let reply = parse(&peer.receive()[0]);
        assert!(reply.get("error").is_none(), "{reply}");
        let id = reply["id"].as_u64().expect("a reply has its request's id");
        if id % 3 == 1 {
            let written: u64 = reply["value"].as_str().expect("a value").parse().expect("a number");
            assert!(written >= id - 1, "the read {id} does not see the write before it: {reply}");
        }
        assert!(answered.insert(id), "{id} was answered twice");
    }
}

#[test]
fn values_that_are_not_text_travel_in_the_body() {
    let cluster = one_node();
    let peer = Peer::req(&cluster.node(0).endpoint());
    let bytes: Vec<u8> = (0..=255).collect();
    let put = br#"{"op":"PUT","key":"bytes","value_bytes":256}"#;
    let reply = peer.ask_frames(&[put, &bytes]);
    assert_eq!((reply.len(), &parse(&reply[0])["ok"]), (1, &json!(true)));
    let read = peer.ask_frames(&[br#"{"op":"GET_ONE","key":"bytes"}"#]);
    assert_eq!(read, [br#"{"key":"bytes","value_bytes":256}"#.to_vec(), bytes.clone()]);

    // Text travels there too for peers that ask for it, and nothing does not vanish.
    peer.ask(r#"{"op":"PUT","key":"text","value":"plain"}"#);
    peer.ask(r#"{"op":"PUT","key":"empty","value":""}"#);
    let read = peer.ask_frames(&[br#"{"op":"GET_ONE","key":"text","values":"body"}"#]);
    assert_eq!(read, [br#"{"key":"text","value_bytes":5}"#.to_vec(), b"plain".to_vec()]);
    assert_eq!(peer.ask(r#"{"op":"GET_ONE","key":"empty"}"#), r#"{"key":"empty","value":""}"#);

    let all = peer.ask_frames(&[br#"{"op":"GET_ALL"}"#]);
    let items = &parse(&all[0])["collection"];
    let item = items.as_array().expect("a list").iter().find(|item| item["key"] == "bytes");
    assert_eq!(item, Some(&json!({"key": "bytes", "value_bytes": 256})));
    assert_eq!(all[1], bytes);
}

#[test]
fn text_of_all_kinds_comes_back_as_it_went() {
    let cluster = one_node();
    let peer = Peer::req(&cluster.node(0).endpoint());
    for text in
        ["\u{0}\u{1f}\u{7f}", "\"\\/\r\n\t", "\u{e4}\u{20ac}\u{1f600}", "\u{feff}", "\u{2028}"]
    {
        let put = json!({"op": "PUT", "key": text, "value": text}).to_string();
        assert_eq!(peer.ask_json(&put)["ok"], true);
        let read = peer.ask_json(&json!({"op": "GET_ONE", "key": text}).to_string());
        assert_eq!(read, json!({"key": text, "value": text}));
    }
    // Escapes are another way to write the same key.
    peer.ask(r#"{"op":"PUT","key":"\u0061\u00e4\ud83d\ude00","value":"x"}"#);
    let read = peer.ask_json("{\"op\":\"GET_ONE\",\"key\":\"a\u{e4}\u{1f600}\"}");
    assert_eq!(read["value"], "x");
}

#[test]
fn a_batch_is_carried_out_in_order_with_an_outcome_for_each() {
    let cluster = one_node();
    let peer = Peer::req(&cluster.node(0).endpoint());
    let batch = json!({"op": "BATCH", "id": "b", "ops": [
        {"op": "PUT", "key": "a", "value_bytes": 3},
        {"op": "GET_ONE", "key": "a"},
        {"op": "PUT", "key": "b", "value": "text"},
        {"op": "PUT", "key": "a", "value_bytes": 2, "if_absent": true},
        {"op": "DELETE", "key": "b"},
        {"op": "GET_ONE", "key": "b"},
        {"op": "DELETE", "key": "b"},
    ]});
    // One after the other, without separators: also the value of the write that is refused.
    let reply = peer.ask_frames(&[batch.to_string().as_bytes(), b"\xff\x00\xfezz"]);
    let header = parse(&reply[0]);
    let results = header["results"].as_array().expect("a batch has results");
    assert_eq!(results.len(), 7, "{header}");
    assert_eq!(header["id"], "b");
    assert_eq!(results[0]["ok"], true);
    assert_eq!(results[1], json!({"value_bytes": 3}));
    assert_eq!(reply[1], b"\xff\x00\xfe");
    assert_eq!(results[2]["ok"], true);
    assert_eq!(results[3]["error"]["code"], "conflict");
    assert_eq!(results[3]["error"]["version"], results[0]["version"]);
    assert_eq!(results[4], json!({"ok": true, "existed": true}));
    assert_eq!(results[5], json!({"value": null}));
    assert_eq!(results[6], json!({"ok": true, "existed": false}));

    let ops = |count: usize| {
        let op = json!({"op": "GET_ONE", "key": "none"});
        json!({"op": "BATCH", "ops": vec![op; count]}).to_string()
    };
    let reply = peer.ask_json(&ops(BATCH_OPERATIONS_MAX));
    assert_eq!(reply["results"].as_array().map(Vec::len), Some(BATCH_OPERATIONS_MAX));
    assert_eq!(peer.refusal(&[ops(BATCH_OPERATIONS_MAX + 1).as_bytes()]), "too_large");
}

#[test]
fn conditions_hold_or_nothing_happens() {
    let cluster = one_node();
    let peer = Peer::req(&cluster.node(0).endpoint());
    let first = peer.ask_json(r#"{"op":"PUT","key":"k","value":"1","if_absent":true}"#);
    let version = first["version"].as_str().expect("a write tells the version").to_owned();
    let read = || peer.ask_json(r#"{"op":"GET_ONE","key":"k","versions":true}"#);
    assert_eq!(read(), json!({"key": "k", "value": "1", "version": version}));

    let reply = peer.ask_json(r#"{"op":"PUT","key":"k","value":"2","if_absent":true}"#);
    assert_eq!(reply["error"]["code"], "conflict");
    assert_eq!(reply["error"]["version"], version);
    let replace = |value: &str, version: &str| {
        peer.ask_json(
            &json!({"op": "PUT", "key": "k", "value": value, "if_version": version}).to_string(),
        )
    };
    let second = replace("2", &version)["version"].as_str().expect("it is stored").to_owned();
    assert_ne!(second, version);
    assert_eq!(replace("3", &version)["error"]["code"], "conflict", "the version is old");
    assert_eq!(read(), json!({"key": "k", "value": "2", "version": second}));

    let delete = |version: &str| {
        peer.ask_json(&json!({"op": "DELETE", "key": "k", "if_version": version}).to_string())
    };
    assert_eq!(delete(&version)["error"]["code"], "conflict");
    assert_eq!(delete(&second), json!({"key": "k", "ok": true, "existed": true}));
    assert_eq!(replace("4", &second)["error"]["code"], "conflict", "there is no record");
    let third = peer.ask_json(r#"{"op":"PUT","key":"k","value":"1","if_absent":true}"#);
    assert!(![&version, &second].contains(&&third["version"].to_string()), "versions are unique");
}

#[test]
fn a_scan_pages_through_everything_exactly_once() {
    let cluster = one_node();
    let peer = Peer::req(&cluster.node(0).endpoint());
    let records: BTreeMap<String, String> =
        (0..2500).map(|n| (format!("{}/{n}", ["a", "b"][n % 2]), format!("value {n}"))).collect();
    let all: Vec<_> = records.iter().collect();
    for chunk in all.chunks(BATCH_OPERATIONS_MAX) {
        let put =
            |(key, value): &(&String, &String)| json!({"op": "PUT", "key": key, "value": value});
        let ops: Vec<Value> = chunk.iter().map(put).collect();
        let reply = peer.ask_json(&json!({"op": "BATCH", "ops": ops}).to_string());
        let results = reply["results"].as_array().expect("a batch has results");
        assert!(results.iter().all(|result| result["ok"] == true));
    }
    let only = |prefix: &str| -> BTreeMap<String, String> {
        let ours = records.iter().filter(|(key, _)| key.starts_with(prefix));
        ours.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    assert_eq!(scan(&peer, &json!({}), PAGE_ITEMS_MAX), only(""));
    assert_eq!(scan(&peer, &json!({"limit": 7}), 7), only(""));
    assert_eq!(scan(&peer, &json!({"limit": 100_000}), PAGE_ITEMS_MAX), only(""));
    assert_eq!(scan(&peer, &json!({"prefix": "b/"}), PAGE_ITEMS_MAX), only("b/"));
    assert_eq!(scan(&peer, &json!({"prefix": "b/24"}), PAGE_ITEMS_MAX), only("b/24"));
    assert_eq!(scan(&peer, &json!({"prefix": "none"}), 0), BTreeMap::new());

    // Partition by partition it is the same.
    let mut found = BTreeMap::new();
    for partition in 0..4096 {
        found.append(&mut scan(&peer, &json!({"partition": partition}), PAGE_ITEMS_MAX));
    }
    assert_eq!(found, only(""));
    assert_eq!(peer.refusal(&[br#"{"op":"SCAN","partition":4096}"#]), "bad_request");
}

/// Reads all pages, none of which may have more than `page_max` items.
fn scan(peer: &Peer, members: &Value, page_max: usize) -> BTreeMap<String, String> {
    let mut request = members.clone();
    request["op"] = json!("SCAN");
    let mut found = BTreeMap::new();
    let mut last_hash = 0;
    loop {
        let page = peer.ask_json(&request.to_string());
        let items = page["collection"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
        assert!(items.len() <= page_max, "{} items in a page", items.len());
        for item in items {
            let key = item["key"].as_str().expect("an item has a key").to_owned();
            let value = item["value"].as_str().expect("an item has a value").to_owned();
            assert!(key_hash(&key) >= last_hash, "pages go by hash");
            last_hash = key_hash(&key);
            assert_eq!(found.insert(key, value), None, "it came before");
        }
        match page.get("next") {
            None => return found,
            Some(next) => request["after"] = next.clone(),
        }
    }
}

#[test]
fn what_a_client_believes_is_checked() {
    let cluster = Cluster::start(Backend::Embedded, 2);
    let peers: Vec<Peer> = cluster.nodes().iter().map(|node| Peer::req(&node.endpoint())).collect();
    let status = peers[0].ask_json(r#"{"op":"STATUS"}"#)["status"].clone();
    assert_eq!(status["node"], "node-0");
    assert_eq!(status["cluster_name"], cluster.name());
    assert_eq!(status["uuid"], cluster.node(0).uuid());
    assert_eq!(status["layout"]["epoch"], 1);
    let stranger = "00000000-0000-4000-8000-000000000000";
    for (belief, code) in [
        (json!({"cluster": stranger}), "wrong_cluster"),
        (json!({"node": stranger}), "wrong_node"),
        (json!({"incarnation": "99-0000000000000001"}), "wrong_node"),
        (json!({"incarnation": "1-0000000000000001"}), "wrong_node"),
        (json!({"incarnation": 1}), "bad_request"),
        (json!({"incarnation": null}), "bad_request"),
        (json!({"epoch": 0}), "stale_epoch"),
        (json!({"epoch": 2}), "retry"),
    ] {
        for request in [
            json!({"op": "GET_ONE", "key": "k"}),
            json!({"op": "PUT", "key": "k", "value": "v"}),
            json!({"op": "BATCH", "ops": [{"op": "DELETE", "key": "k"}]}),
            json!({"op": "SCAN"}),
            json!({"op": "GET_ALL"}),
        ] {
            let mut request = request;
            let members = request.as_object_mut().expect("it is an object");
            members.extend(belief.as_object().expect("it is an object").clone());
            // Whether an older layout will do depends on the key, so each operation is told.
            if request["op"] == "BATCH" && code == "stale_epoch" {
                let reply = peers[0].ask_json(&request.to_string());
                assert_eq!(reply["results"][0]["error"]["code"], code, "{request}");
                continue;
            }
            assert_eq!(peers[0].refusal(&[request.to_string().as_bytes()]), code, "{request}");
        }
    }
    let cluster_uuid = &status["layout"]["cluster"];
    let mut truth = json!({
        "op": "SCAN", "cluster": cluster_uuid, "node": status["uuid"], "epoch": 1,
        "incarnation": status["incarnation"],
    });
    assert_eq!(peers[0].ask_json(&truth.to_string()), json!({"collection": []}));
    // Who has not heard of the node's last start means it all the same.
    truth["incarnation"] = json!("0-0000000000000001");
    assert_eq!(peers[0].ask_json(&truth.to_string()), json!({"collection": []}));

    // Each key has one owner; the other one says whose it is.
    for n in 0..32 {
        let put = json!({"op": "PUT", "key": format!("key-{n}"), "value": "v"}).to_string();
        let replies: Vec<Value> = peers.iter().map(|peer| peer.ask_json(&put)).collect();
        let stored = replies.iter().filter(|reply| reply["ok"] == true).count();
        let refused: Vec<_> =
            replies.iter().filter(|reply| reply["error"]["code"] == "not_owner").collect();
        assert_eq!((stored, refused.len()), (1, 1), "{replies:?}");
        let owner = replies.iter().position(|reply| reply["ok"] == true).expect("one stored it");
        let message = refused[0]["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("node-{owner}")), "{message}");
    }
}

#[test]
fn without_a_layout_a_node_says_so() {
    let cluster = Cluster::without_layout(Backend::Embedded, 1);
    let peer = Peer::req(&cluster.node(0).endpoint());
    for request in [r#"{"op":"GET_ALL"}"#, r#"{"op":"PUT","key":"k","value":"v"}"#] {
        assert_eq!(peer.refusal(&[request.as_bytes()]), "no_layout");
    }
    assert_eq!(peer.ask_json(r#"{"op":"STATUS"}"#)["status"]["layout"], Value::Null);
}
