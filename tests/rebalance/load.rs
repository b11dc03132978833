//! Clients write, read and delete without pause while nodes come and go and strategies change.
//!
//! `KV_LOAD_KEYS=200000` makes it as large as a small production cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kv_testkit::harness::{Backend, Cluster, on_both_backends};
use kvclient::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{assert_holds, members, status};
use crate::library_client;

on_both_backends!(no_operation_fails_or_errs_while_everything_moves);

/// How many keys there are, unless the environment says otherwise.
const KEYS_DEFAULT: usize = 16_000;
/// How many clients work at the same time, each on keys of its own.
const CLIENTS: usize = 8;
/// How many operations each of them has under way.
const TASKS: usize = 4;

/// What a task knows that the store holds of its keys.
type Record = BTreeMap<String, String>;

fn no_operation_fails_or_errs_while_everything_moves(backend: Backend) {
    let keys = std::env::var("KV_LOAD_KEYS").map_or(KEYS_DEFAULT, |text| {
        text.parse().unwrap_or_else(|_| panic!("KV_LOAD_KEYS is {text:?}, expected a number"))
    });
    let mut cluster = Cluster::start(backend, 4);
    let records = split(keys);
    let lines: String = records.iter().flatten().map(line).collect();
    cluster.kvclient(&["import"]).stdin(lines).output().success();

    let stop = Arc::new(AtomicBool::new(false));
    let operations = Arc::new(AtomicU64::new(0));
    let runtime = Runtime::new().expect("a runtime can be made");
    let mut tasks = Vec::new();
    let mut records = records.into_iter();
    for client in 0..CLIENTS {
        let connection = runtime.block_on(library_client::connect(&cluster));
        for record in records.by_ref().take(TASKS) {
            let (stop, operations) = (Arc::clone(&stop), Arc::clone(&operations));
            let seed = (client * TASKS + record.len()) as u64;
            tasks.push(runtime.spawn(work(connection.clone(), record, seed, stop, operations)));
        }
    }
    cluster.add_nodes(2);
    for change in [
        &["add-node", "--count", "2"][..],
        &["remove-node", "node-1"],
        &["migrate", "--to", "consistent-hash"],
        &["migrate", "--to", "hrw"],
    ] {
        let before = operations.load(Ordering::Relaxed);
        cluster.kvclient(change).output().success();
        let during = operations.load(Ordering::Relaxed) - before;
        println!("{during} operations during {change:?}");
        assert!(during > 0, "the clients worked on during {change:?}");
    }
    stop.store(true, Ordering::Relaxed);
    let expected: Vec<Record> = tasks
        .into_iter()
        .map(|task| runtime.block_on(task).unwrap_or_else(|error| panic!("a client: {error}")))
        .collect();

    assert_eq!(members(&cluster), ["node-0", "node-2", "node-3", "node-4", "node-5"]);
    assert_eq!(status(&cluster)["layout"]["strategy"], "hrw");
    let lines: String = expected.iter().flatten().map(line).collect();
    assert_holds(&cluster, &lines);
}

/// The keys of each task, with their first values.
fn split(keys: usize) -> Vec<Record> {
    let tasks = CLIENTS * TASKS;
    let record = |task| {
        let own = (0..keys).filter(|number| number % tasks == task);
        own.map(|number| (format!("key-{number:07}"), format!("first-{number}"))).collect()
    };
    (0..tasks).map(record).collect()
}

fn line((key, value): (&String, &String)) -> String {
    format!("{}\n", json!({ "key": key, "value": value }))
}

/// Works on keys that no other client touches, so that every answer is known beforehand.
async fn work(
    client: Client,
    mut record: Record,
    seed: u64,
    stop: Arc<AtomicBool>,
    operations: Arc<AtomicU64>,
) -> Record {
    let mut random = StdRng::seed_from_u64(seed);
    let keys: Vec<String> = record.keys().cloned().collect();
    while !stop.load(Ordering::Relaxed) {
        let key = &keys[random.random_range(0..keys.len())];
        match random.random_range(0..10) {
            0..4 => {
                let value = format!("value-{}", random.random::<u64>());
                let stored = client.put(key.clone(), value.clone().into_bytes()).await;
                stored.unwrap_or_else(|error| panic!("put {key}: {error}"));
                record.insert(key.clone(), value);
            }
            4..6 => {
                let deleted = client.delete(key.clone()).await;
                let existed = deleted.unwrap_or_else(|error| panic!("delete {key}: {error}"));
                assert_eq!(existed, record.remove(key).is_some(), "delete {key}");
            }
            _ => {
                let read = client.get(key.clone()).await;
                let read = read.unwrap_or_else(|error| panic!("get {key}: {error}"));
                let value = read.map(|it| String::from_utf8_lossy(&it.value).into_owned());
                assert_eq!(value.as_ref(), record.get(key), "get {key}");
            }
        }
        operations.fetch_add(1, Ordering::Relaxed);
    }
    record
}
