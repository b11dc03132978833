//! An acknowledged write survives `kill -9` of its node at any time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::library_client::Library;
use kv_testkit::harness::corpus::{Line, assert_same_lines, ndjson};
use kv_testkit::harness::peer::{Peer, parse};
use kv_testkit::harness::{Backend, Cluster, eventually, on_both_backends};
use kvclient::ClientError;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

on_both_backends!(
    acknowledged_writes_survive_kills,
    an_import_that_met_a_kill_is_completed_by_another,
);

/// Names the seed of a run that is to be repeated.
const SEED_VARIABLE: &str = "KV_TEST_SEED";
const NODES: usize = 3;
const CLIENTS: u64 = 4;
const WRITERS_OF_CLIENT: u64 = 8;
const KEYS_OF_WRITER: u64 = 20;
const KILLS: usize = 5;
/// How long the writers may take to get on, however busy the machine is.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// The value that a key may hold; `None` if it may have no record.
type State = Option<String>;

/// What one key's only writer knows of it.
#[derive(Debug, Default)]
struct Known {
    /// The state that was acknowledged last.
    acknowledged: State,
    /// The states that were asked for since then without an answer.
    possible: Vec<State>,
}

impl Known {
    fn allows(&self, state: &State) -> bool {
        *state == self.acknowledged || self.possible.contains(state)
    }
}

type Ledger = Mutex<BTreeMap<String, Known>>;

fn seed() -> u64 {
    let given = std::env::var(SEED_VARIABLE).ok();
    let given = given.map(|seed| seed.parse().expect("the seed is a number"));
    let seed = given.unwrap_or_else(rand::random);
    println!("to repeat this run: {SEED_VARIABLE}={seed}");
    seed
}

fn acknowledged_writes_survive_kills(backend: Backend) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut cluster = Cluster::start(backend, NODES);
    let ledger = Ledger::default();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let clients: Vec<Library> = (0..CLIENTS).map(|_| Library::connect(&cluster)).collect();
    std::thread::scope(|scope| {
        // Also where an assertion fails, the writers must end, or the scope would not.
        let _stopper = StopOnDrop(&stop);
        for (number, client) in (0..).zip(&clients) {
            let seed = random.random();
            let (ledger, stop, done) = (&ledger, &stop, &done);
            scope.spawn(move || write_until(stop, client, number, seed, ledger, done));
        }
        for _ in 0..KILLS {
            let wanted = done.load(Ordering::Relaxed) + random.random_range(100..1500);
            eventually("more writes", PROGRESS_WITHIN, || {
                let done = done.load(Ordering::Relaxed);
                if done >= wanted { Ok(()) } else { Err(format!("{done} of {wanted}")) }
            });
            let victim = random.random_range(0..NODES);
            cluster.node_mut(victim).kill();
            cluster.node_mut(victim).restart();
        }
    });
    drop(clients);
    println!("{} writes were acknowledged", done.load(Ordering::Relaxed));
    let ledger = ledger.into_inner().expect("no writer panicked");
    verify(&cluster, &ledger);
    // The values that were read are not only in the memory of the nodes that answered.
    for number in 0..NODES {
        cluster.node_mut(number).kill();
    }
    for number in 0..NODES {
        cluster.node_mut(number).restart();
    }
    verify(&cluster, &ledger);
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Writes with one client from many tasks, each of which has keys of its own.
fn write_until(
    stop: &AtomicBool,
    library: &Library,
    number: u64,
    seed: u64,
    ledger: &Ledger,
    done: &AtomicU64,
) {
    let writers = (0..WRITERS_OF_CLIENT).map(|writer| async move {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(writer));
        let mut count = 0_u64;
        while !stop.load(Ordering::Acquire) {
            let key = format!("{number}/{writer}/{}", random.random_range(0..KEYS_OF_WRITER));
            // Deletes and overwrites, and values that need more than one page.
            let state: State = (!random.random_ratio(1, 5)).then(|| {
                let length = if random.random_ratio(1, 50) { 100_000 } else { 20 };
                format!("{count}{}", "x".repeat(random.random_range(0..length)))
            });
            count += 1;
            let outcome = match &state {
                Some(value) => library.client.put(&*key, &**value).await.map(drop),
                None => library.client.delete(&*key).await.map(drop),
            };
            let mut ledger = ledger.lock().expect("no writer panicked");
            let known = ledger.entry(key).or_default();
            match outcome {
                Ok(()) => {
                    *known = Known { acknowledged: state, possible: Vec::new() };
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(ClientError::OutcomeUnknown { .. }) => known.possible.push(state),
                // After any other error it was certainly not done.
                Err(_) => {}
            }
        }
    });
    library.wait_for(all(writers));
}

async fn all(futures: impl Iterator<Item: Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Checks that every key holds what it may hold, and that there is no other.
#[track_caller]
fn verify(cluster: &Cluster, ledger: &BTreeMap<String, Known>) {
    let library = Library::connect(cluster);
    let mut unknown = 0;
    for (key, known) in ledger {
        let found = library.get(key).unwrap_or_else(|error| panic!("{key}: {error}"));
        let found = found.map(|value| String::from_utf8(value).expect("only text was stored"));
        unknown += usize::from(!known.possible.is_empty());
        assert!(
            known.allows(&found),
            "{key} holds {:?}, but {:?} was acknowledged, and since then {:?} were tried",
            short(&found),
            short(&known.acknowledged),
            known.possible.iter().map(short).collect::<Vec<_>>()
        );
    }
    println!("{} keys are right; of {unknown} the last outcome was unknown", ledger.len());
    let output = cluster.kvclient(&["get-all"]).output().success();
    for line in output.stdout_text().lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let key = record["key"].as_str().expect("a record has a key");
        assert!(ledger.contains_key(key), "nobody wrote {key}");
    }
    // The nodes know how much they have.
    cluster.kvclient(&["fsck"]).output().success();
}

fn short(state: &State) -> Option<String> {
    let value = state.as_ref()?;
    Some(format!("{} ({} bytes)", value.trim_end_matches('x'), value.len()))
}

#[test]
fn a_read_waits_for_no_other_keys_write_and_shows_nothing_of_what_is_not_durable() {
    let mut cluster = Cluster::start(Backend::Embedded, 1);
    for key in ["a", "b"] {
        cluster.kvclient(&["put", key, "old"]).output().success();
    }
    cluster.node_mut(0).restart_with_env("FAILPOINTS", "node::commit::before=sleep(3000)");
    let peer = Peer::dealer(&cluster.node(0).endpoint());
    peer.send(&[br#"{"op":"PUT","key":"a","value":"new","id":1}"#]);
    // Its own key is being written, so it waits for that.
    peer.send(&[br#"{"op":"GET_ONE","key":"a","id":2}"#]);
    peer.send(&[br#"{"op":"GET_ONE","key":"b","id":3}"#]);
    // Both keys, as a stream, which waits for nothing.
    let operations = [&b"\x02\x01\0\0\0\0\0a"[..], b"\x02\x01\0\0\0\0\0b"].concat();
    peer.send(&[br#"{"op":"BATCH","operations":2,"id":4}"#, &operations]);
    // Neither is held by the other: different readers bring them, in any order.
    let mut early = [peer.receive(), peer.receive()];
    early.sort_by_key(|reply| parse(&reply[0])["id"].as_u64());
    let [other_key, both_keys] = &early;
    assert_eq!(parse(&other_key[0]), json!({"key": "b", "value": "old", "id": 3}));
    assert_eq!(parse(&both_keys[0]), json!({"outcomes": 2, "id": 4}));
    assert_eq!(both_keys[1], b"\x06\x03\0\0\0old".repeat(2));
    let written = parse(&peer.receive()[0]);
    assert_eq!((&written["id"], &written["ok"]), (&json!(1), &json!(true)), "{written}");
    assert_eq!(parse(&peer.receive()[0]), json!({"key": "a", "value": "new", "id": 2}));
    // Values that were read meanwhile are not remembered.
    let read = peer.ask_frames(&[br#"{"op":"BATCH","operations":2,"id":5}"#, &operations]);
    assert_eq!(read[1], b"\x06\x03\0\0\0new\x06\x03\0\0\0old");
}

/// The engine takes far longer than a client waits, and more is written than may wait for it.
#[test]
fn writes_slow_down_where_the_engine_cannot_keep_up() {
    const RECORDS: usize = 3000;
    let mut cluster = Cluster::empty(Backend::Embedded);
    cluster.add_node(&["--id", "node-0", "--port", "0", "--segment-bytes", "65536"]);
    cluster.create_layout(&[]);
    let failpoint = "node::checkpoint::before-flush=1*sleep(25000)";
    cluster.node_mut(0).restart_with_env("FAILPOINTS", failpoint);
    let library = Library::connect(&cluster);
    library.wait_for(async {
        for number in 0..RECORDS {
            let put = library.client.put(format!("key-{number}"), vec![b'v'; 100]).await;
            put.unwrap_or_else(|error| panic!("{number}: {error}"));
        }
    });
}

fn an_import_that_met_a_kill_is_completed_by_another(backend: Backend) {
    const RECORDS: usize = 20_000;
    let mut cluster = Cluster::start(backend, 2);
    let lines: Vec<Line> =
        (0..RECORDS).map(|n| (format!("key-{n}"), format!("value {n}"))).collect();
    let lines = ndjson(&lines);
    let import = cluster.kvclient(&["import"]).stdin(lines.clone());
    let (killed, first) = std::thread::scope(|scope| {
        let import = scope.spawn(move || import.output());
        let endpoint = cluster.node(0).endpoint();
        let peer = Peer::req(&endpoint);
        eventually("the middle of the import", PROGRESS_WITHIN, || {
            let status = peer.ask_json(r#"{"op":"STATUS"}"#);
            let keys = status["status"]["keys"].as_u64().expect("a node counts its keys");
            if keys > 1000 { Ok(()) } else { Err(format!("{keys} keys")) }
        });
        let killed = !import.is_finished();
        cluster.node_mut(0).kill();
        cluster.node_mut(0).restart();
        (killed, import.join().expect("the import does not panic"))
    });
    println!("killed in the middle: {killed}");
    // Either it got over it, or it says that the outcome of some is unknown.
    match first.status.code() {
        Some(0) => {}
        Some(3) => {
            let text = first.stderr_text();
            assert!(text.contains("line ") && text.contains("records stored: "), "{text}");
        }
        _ => panic!("{first}"),
    }
    cluster.kvclient(&["import"]).stdin(lines.clone()).output().success();
    let output = cluster.kvclient(&["export"]).output().success();
    assert_same_lines(output.stdout_text(), &lines, "every record is there, unchanged");
}
