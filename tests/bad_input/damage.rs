//! Damage to what a node has on its disk.
//!
//! A node never hands out what it did not store, and never takes a loss for "no record": it says `corrupt`
//! for damaged records and serves the rest, or it says why it does not start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kv_core::limits::BATCH_OPERATIONS_MAX;
use kv_testkit::files::copy_directory;
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Enough for the engine to have several leaves.
const KEYS: usize = 700;
const VALUE_BYTES: usize = 1000;

/// A stopped node with records that no compression makes unrecognisable on its disk.
struct Scene {
    cluster: Cluster,
    records: BTreeMap<String, Vec<u8>>,
}

/// What became of the records.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    unchanged: usize,
    corrupt: Vec<String>,
    /// Those that are another value now, or said not to be there.
    wrong: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let record = |n: usize| {
            let mut value = vec![0_u8; VALUE_BYTES];
            random.fill(&mut value[..]);
            (format!("key-{n}"), value)
        };
        let records: BTreeMap<String, Vec<u8>> = (0..KEYS).map(record).collect();
        let mut cluster = Cluster::start(Backend::Embedded, 1);
        let peer = Peer::req(&cluster.node(0).endpoint());
        let ops: Vec<Value> = records
            .iter()
            .map(|(key, value)| json!({"op": "PUT", "key": key, "value_bytes": value.len()}))
            .collect();
        assert!(ops.len() <= BATCH_OPERATIONS_MAX);
        let body: Vec<u8> = records.values().flatten().copied().collect();
        let header = json!({"op": "BATCH", "ops": ops}).to_string();
        let reply = parse(&peer.ask_frames(&[header.as_bytes(), &body])[0]);
        let results = reply["results"].as_array().expect("a batch has results");
        assert!(results.iter().all(|result| result["ok"] == true));
        cluster.node_mut(0).terminate();
        Self { cluster, records }
    }

    fn store(&self) -> PathBuf {
        self.cluster.node(0).directory().join("store")
    }

    fn peer(&self) -> Peer {
        Peer::req(&self.cluster.node(0).endpoint())
    }

    /// Reads every record.
    #[track_caller]
    fn look(&self) -> Found {
        let peer = self.peer();
        let mut found = Found::default();
        for (key, value) in &self.records {
            let get = json!({"op": "GET_ONE", "key": key, "values": "body"}).to_string();
            let reply = peer.ask_frames(&[get.as_bytes()]);
            let header = parse(&reply[0]);
            match header["error"]["code"].as_str() {
                None if reply.get(1) == Some(value) => found.unchanged += 1,
                Some("corrupt") => found.corrupt.push(key.clone()),
                _ => found.wrong.push(header.to_string()),
            }
        }
        found
    }
}

#[test]
fn a_damaged_record_is_called_so_and_the_rest_is_served() {
    let mut scene = Scene::new();
    let victim = "key-300";
    let value = scene.records[victim].clone();
    let flipped: usize = files(&scene.store()).iter().map(|file| flip_in(file, &value)).sum();
    assert!(flipped > 0, "the value stands in a file as it is");
    scene.cluster.node_mut(0).restart();

    let found = scene.look();
    assert!(found.corrupt.contains(&victim.to_owned()), "{found:?}");
    assert!(found.unchanged > KEYS / 2 && found.wrong.is_empty(), "{found:?}");
    assert_eq!(scene.look(), found, "it does not get worse by looking");
    let peer = scene.peer();
    let put = |key: &str| json!({"op": "PUT", "key": key, "value": "new"}).to_string();
    assert_eq!(peer.refusal(&[put(victim).as_bytes()]), "corrupt", "it is not silently replaced");
    for request in [r#"{"op":"GET_ALL"}"#, r#"{"op":"SCAN"}"#] {
        assert_eq!(peer.refusal(&[request.as_bytes()]), "corrupt", "no scan passes over it");
    }
    let sound = scene.records.keys().find(|key| !found.corrupt.contains(key)).expect("most are");
    assert_eq!(peer.ask_json(&put(sound))["ok"], true);
    assert_eq!(peer.ask_json(&json!({"op": "GET_ONE", "key": sound}).to_string())["value"], "new");

    let cluster = &scene.cluster;
    let output = cluster.kvclient(&["get", victim]).output().code(4).no_stdout();
    output.says(&["node-0", "damaged"]);
    cluster.kvclient(&["export", "all.ndjson"]).output().code(4).says(&["damaged"]);
    assert!(!cluster.directory().join("all.ndjson").exists(), "there is no export that lacks some");
    assert!(!cluster.node(0).log().contains("panicked"));
}

#[test]
fn damage_to_leaves_never_changes_or_hides_a_record() {
    damage_each(|name| name.starts_with("slabs"));
}

#[test]
fn damage_to_the_engines_bookkeeping_never_changes_or_hides_a_record() {
    damage_each(|name| !name.starts_with("slabs"));
}

/// Damages each file of a store that is `chosen` by its name, in several ways, one at a time.
fn damage_each(chosen: fn(&Path) -> bool) {
    let mut scene = Scene::new();
    let intact = scene.cluster.directory().join("intact");
    copy_directory(&scene.store(), &intact);
    let mut problems = Vec::new();
    for file in files(&intact) {
        let name = file.strip_prefix(&intact).expect("it lies there").to_owned();
        if !chosen(&name) {
            continue;
        }
        let bytes = fs::read(&file).expect("it can be read");
        for (damage, bytes) in damaged(&bytes) {
            let what = format!("{}: {damage}", name.display());
            fs::remove_dir_all(scene.store()).expect("the store can be removed");
            copy_directory(&intact, &scene.store());
            fs::write(scene.store().join(&name), bytes).expect("it can be written");
            match scene.start_and_look() {
                Ok(seen) => println!("{what}: {seen}"),
                Err(problem) => problems.push(format!("{what}: {problem}")),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

impl Scene {
    /// Starts the node and reads every record, where it starts.
    ///
    /// # Errors
    /// What the node must not do.
    fn start_and_look(&mut self) -> Result<String, String> {
        let started = self.cluster.node_mut(0).try_restart();
        let found = started.map(|()| self.look());
        if found.is_ok() {
            self.cluster.node_mut(0).terminate();
        }
        let log = self.cluster.node_mut(0).process().log();
        if log.contains("panicked") {
            return Err("the node panicked".to_owned());
        }
        match found {
            Ok(Found { wrong, .. }) if !wrong.is_empty() => {
                Err(format!("{} records are wrong, such as {}", wrong.len(), wrong[0]))
            }
            Ok(found) => Ok(format!("{} of {KEYS} unchanged", found.unchanged)),
            Err(status) if !matches!(status.code(), Some(1 | 4)) => Err(format!("it {status}")),
            Err(_) if !log.contains("kvnode: ") => Err("it does not say why it ends".to_owned()),
            Err(_) => Ok("it does not start".to_owned()),
        }
    }
}

/// Ways to damage a file.
fn damaged(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flip = |at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    vec![
        ("its first byte is flipped", flip(0)),
        ("a byte in the middle is flipped", flip(bytes.len() / 2)),
        ("its last byte is flipped", flip(bytes.len() - 1)),
        ("its second half is gone", bytes[..bytes.len() / 2].to_vec()),
    ]
}

/// Flips one bit wherever `content` stands in the file, and returns how often it does.
fn flip_in(file: &Path, content: &[u8]) -> usize {
    let mut bytes = fs::read(file).expect("it can be read");
    let places: Vec<usize> = (0..bytes.len().saturating_sub(content.len() - 1))
        .filter(|at| bytes[*at] == content[0] && bytes[*at..].starts_with(content))
        .collect();
    for place in &places {
        bytes[place + content.len() / 2] ^= 1;
    }
    if !places.is_empty() {
        fs::write(file, bytes).expect("it can be written");
    }
    places.len()
}

/// All files with something in them, however deep.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if fs::metadata(&path).expect("it is there").len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}
