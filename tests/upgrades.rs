//! What an older version has stored is served, changed and moved by this one: see `fixtures/`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use kv_testkit::harness::binaries::kvclient;
use kv_testkit::harness::dev::Dev;
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::run::Run;
use kv_testkit::wait::eventually;

/// A version from just before the code was divided into crates.
const BEFORE_THE_CRATES: &str = "06b42c7";

/// Values and versions, by keys.
type Records = BTreeMap<String, (Vec<u8>, String)>;

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version)
}

/// Puts what the older version has left into `directory`.
fn unpack(version: &str, directory: &Path) {
    let packed = File::open(fixture(version).join("cluster.tar.zst")).expect("it is there");
    let unpacked = zstd::Decoder::new(packed).expect("it can be unpacked");
    tar::Archive::new(unpacked).unpack(directory).expect("it can be unpacked");
}

/// What the older version's nodes served before their end.
fn recorded(version: &str) -> Records {
    let lines = fs::read_to_string(fixture(version).join("records.ndjson")).expect("it is there");
    let record = |line: &str| {
        let record = parse(line.as_bytes());
        let text = |name: &str| record[name].as_str().expect("it is text").to_owned();
        let digits = text("value_hex");
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("it is a byte");
        let value = (0..digits.len()).step_by(2).map(byte).collect();
        (text("key"), (value, text("version")))
    };
    lines.lines().map(record).collect()
}

fn client(dev: &Dev, args: &[&str]) -> Run {
    Run::new(kvclient(), &dev.directory).args(["--consul", dev.address()]).args(args)
}

/// What the nodes serve now, or will in a moment: a node that has not yet installed the layout by which a
/// rebalance has ended says that it is to be asked again.
fn served(dev: &Dev) -> Records {
    eventually("pages of all nodes", Duration::from_secs(60), || try_served(dev))
}

fn try_served(dev: &Dev) -> Result<Records, String> {
    let status = client(dev, &["--output", "json", "status"]).output().success().json();
    let mut records = Records::new();
    for node in status["nodes"].as_array().expect("there are nodes") {
        let address = node["address"].as_str().expect("it has an address");
        let peer = Peer::dealer(&format!("tcp://{address}"));
        let mut request = json!({"op": "SCAN", "versions": true});
        loop {
            let frames = peer.ask_frames(&[request.to_string().as_bytes()]);
            let page = parse(&frames[0]);
            let mut body = frames.get(1).map_or(&[][..], Vec::as_slice);
            if page["error"]["code"] == "retry" {
                return Err(page.to_string());
            }
            let items = page["collection"].as_array();
            for item in items.unwrap_or_else(|| panic!("it is no page: {page}")) {
                let (key, record) = record(item, &mut body);
                assert!(records.insert(key, record).is_none(), "two nodes serve {item}");
            }
            let Value::String(next) = &page["next"] else { break };
            request["after"] = json!(next);
        }
    }
    Ok(records)
}

/// A record of a page, whose value may be the next bytes of its `body`.
fn record(item: &Value, body: &mut &[u8]) -> (String, (Vec<u8>, String)) {
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    let value = match item["value_bytes"].as_u64() {
        Some(bytes) => {
            let bytes = usize::try_from(bytes).expect("it is short");
            body.split_off(..bytes).expect("it is in the body").to_vec()
        }
        None => text("value").expect("it has a value").into_bytes(),
    };
    (text("key").expect("it has a key"), (value, text("version").expect("it has a version")))
}

#[track_caller]
fn assert_same(served: &Records, expected: &Records) {
    for (key, record) in expected {
        assert!(served.get(key) == Some(record), "{key:?} is {:?}", served.get(key));
    }
    assert_eq!(served.len(), expected.len(), "there are others");
}

#[test]
fn the_cluster_of_an_older_version_is_served_changed_and_rebalanced() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    unpack(BEFORE_THE_CRATES, directory.path());
    let mut expected = recorded(BEFORE_THE_CRATES);
    let dev = Dev::start(directory.path(), 2);
    assert_same(&served(&dev), &expected);
    for deleted in ["key-0", "key-3"] {
        assert!(!expected.contains_key(deleted));
        assert_eq!(client(&dev, &["get", deleted]).output().status.code(), Some(1));
    }
    let key = "\u{e9}";
    let bytes = client(&dev, &["get", "bytes"]).output().success().stdout;
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());

    // It goes on from there, by the versions that the older one gave.
    let version = expected[key].1.clone();
    client(&dev, &["put", key, "anew", "--if-version", &version]).output().success();
    client(&dev, &["put", "key-0", "back", "--if-absent"]).output().success();
    client(&dev, &["put", "later", "of today"]).output().success();
    for deleted in ["key-4", "late-1"] {
        assert!(expected.remove(deleted).is_some());
        client(&dev, &["delete", deleted]).output().success();
    }
    let now = served(&dev);
    for (key, value) in [(key, "anew"), ("key-0", "back"), ("later", "of today")] {
        let record = now[key].clone();
        assert_eq!(record.0, value.as_bytes(), "{key}");
        expected.insert(key.to_owned(), record);
    }
    assert_same(&now, &expected);

    drop(dev);
    let dev = Dev::start(directory.path(), 2);
    assert_same(&served(&dev), &expected);

    let refused = client(&dev, &["add-node"]).output();
    assert_eq!(refused.status.code(), Some(4), "{refused}");
    refused.says(&["kvclient upgrade-layout"]);
    client(&dev, &["upgrade-layout"]).output().success().says(&["format 3", "older programs"]);
    client(&dev, &["upgrade-layout"]).output().says(&["has format 3 already"]);
    assert_same(&served(&dev), &expected);
    client(&dev, &["add-node"]).output().success().says(&["add node-2", "at rest"]);
    assert_same(&served(&dev), &expected);
    client(&dev, &["migrate", "--to", "hrw"]).output().success();
    assert_same(&served(&dev), &expected);
    client(&dev, &["fsck"]).output().success();
}
