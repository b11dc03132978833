//! The client against nodes whose answers have no end: what it holds of them is bounded.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::raw_node::RawNode;
use crate::scripted_node::{client_of, encoded, id_of};
use kv_core::limits::{FRAME_BYTES_MAX, VALUE_BYTES_MAX_CEILING};
use kv_core::operation::{Done, Record};
use kv_core::partition::PartitionCount;
use kv_protocol::reply::Content;
use kv_protocol::request::{Command, Request};
use kv_testkit::zmtp::{MORE, frame, head_of_long_frame, part};
use kv_transport::limits::{
    MESSAGE_FRAMES_MAX, UNFINISHED_BYTES_MAX, UNFINISHED_BYTES_TOTAL_MAX, UNFINISHED_LOOK_INTERVAL,
};
use kvclient::ClientError;
use tokio::sync::Mutex;

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(60);
/// How long an operation is tried that cannot succeed.
const SOON: Duration = Duration::from_secs(3);

/// How much of an endless answer is sent at most, in bytes: several times what is to be held of it, and no
/// more than a machine has where it is held all the same.
const ENDLESS_BYTES: u64 = 2 << 30;
/// By how much a client may grow beside an endless message of frames that are not looked at in bytes.
const FRAMES_GROWTH_MAX: u64 = 64 << 20;

/// Held by each test, since the process's memory is looked at, which they share.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The right answer where every key has the same value.
fn answer(request: &Request<'_>, value: &[u8]) -> Vec<u8> {
    let record = || Done::Read(Some(Record { value: value.to_vec(), version: None }));
    let content = match &request.command {
        Command::Batch(operations) => {
            Content::Batch(operations.iter().map(|_| Ok(record())).collect())
        }
        Command::One(operation) => Content::One { key: operation.key().into(), done: record() },
        other => panic!("the client does not ask this here: {other:?}"),
    };
    let frames = encoded(Some(id_of(request)), content);
    let last = frames.len() - 1;
    frames
        .iter()
        .enumerate()
        .flat_map(|(at, bytes)| frame(if at < last { MORE } else { 0 }, bytes))
        .collect()
}

/// What comes of a read and a write that are answered with blocks of frames without end, and how many bytes
/// of them the client took.
async fn after_endless(
    block: Vec<u8>,
    bytes_max: u64,
    timeout: Duration,
) -> ([ClientError; 2], u64) {
    let most = Arc::new(AtomicU64::new(0));
    let sent_most = Arc::clone(&most);
    let node = RawNode::start(move |stream, _, _| {
        let mut sent = 0;
        while sent < bytes_max && stream.write_all(&block).is_ok() {
            sent += block.len() as u64;
            sent_most.fetch_max(sent, Ordering::Relaxed);
        }
    });
    let client = client_of(&[node.port()], timeout);
    let errors = [client.get("k").await.unwrap_err(), client.put("k", "v").await.unwrap_err()];
    (errors, most.load(Ordering::Relaxed))
}

#[tokio::test]
async fn an_answer_without_an_end_costs_its_node_the_connection() {
    let _alone = ALONE.lock().await;
    // So few frames that it is their bytes that are too many.
    let block = part(&vec![b'x'; FRAME_BYTES_MAX / 2]);
    let ([read, write], sent) = after_endless(block, ENDLESS_BYTES, LONG).await;
    assert!(matches!(read, ClientError::InvalidReply { .. }), "{read:?}");
    assert!(matches!(write, ClientError::OutcomeUnknown { .. }), "{write:?}");
    for error in [read, write] {
        let text = error.to_string();
        assert!(text.contains("node-0 (127.0.0.1:") && text.contains("no end"), "{text}");
    }
    assert!(sent < ENDLESS_BYTES, "all of it was taken");
}

#[tokio::test]
async fn an_answer_of_endless_frames_costs_its_node_the_connection() {
    let _alone = ALONE.lock().await;
    // Other tests of this process may have had more before.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    for block in [part(b"").repeat(32 << 10), part(&[b'x'; 4 << 10]).repeat(256)] {
        let before = memory_peak_bytes();
        // A read is tried again, and comes to the same end each time.
        let ([read, write], sent) = after_endless(block, ENDLESS_BYTES, SOON).await;
        assert!(matches!(read, ClientError::Unavailable { .. }), "{read:?}");
        assert!(matches!(write, ClientError::OutcomeUnknown { .. }), "{write:?}");
        assert!(sent < ENDLESS_BYTES, "all of it was taken");
        let grown = memory_peak_bytes().saturating_sub(before);
        assert!(grown < FRAMES_GROWTH_MAX, "the client grew by {grown} bytes");
    }
}

/// A node may divide its answer as it likes, up to the most frames.
#[tokio::test]
async fn an_answer_of_as_many_frames_as_there_may_be_is_looked_at() {
    let _alone = ALONE.lock().await;
    let node = RawNode::start(|stream, _, _| {
        let parts = part(b"{}").repeat(MESSAGE_FRAMES_MAX - 1);
        let _ = stream.write_all(&[parts, frame(0, b"")].concat());
    });
    let error = client_of(&[node.port()], LONG).get("k").await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidReply { .. }), "{error:?}");
    let frames = format!("it has {MESSAGE_FRAMES_MAX} frames");
    assert!(error.to_string().contains(&frames), "{error}");
}

/// The most memory that this process has had, in bytes.
fn memory_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Writes `bytes` so slowly that they are looked at many times.
fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    for piece in bytes.chunks(bytes.len().div_ceil(20)) {
        if stream.write_all(piece).is_err() {
            return;
        }
        std::thread::sleep(UNFINISHED_LOOK_INTERVAL / 2);
    }
}

#[tokio::test]
async fn the_largest_answer_may_take_its_time() {
    let _alone = ALONE.lock().await;
    let node = RawNode::start(|stream, request, _| {
        drip(stream, &answer(request, &vec![7; VALUE_BYTES_MAX_CEILING]));
    });
    let record = client_of(&[node.port()], LONG).get("k").await.unwrap().unwrap();
    assert!(record.value == vec![7; VALUE_BYTES_MAX_CEILING]);
}

#[tokio::test]
async fn answers_of_many_nodes_are_bounded_together() {
    let _alone = ALONE.lock().await;
    const NODES: usize = 8;
    // Each is within the limit of one, and only all together are beyond that of all.
    const PART: usize = 4 << 20;
    const HELD: u64 = (PART + FRAME_BYTES_MAX - (1 << 20)) as u64;
    const {
        assert!(
            HELD < UNFINISHED_BYTES_MAX && (NODES as u64 - 1) * HELD < UNFINISHED_BYTES_TOTAL_MAX
        );
    };
    const { assert!(NODES as u64 * HELD > UNFINISHED_BYTES_TOTAL_MAX) };
    let script = |stream: &mut TcpStream, request: &Request<'_>, connection: usize| {
        if connection > 0 {
            let _ = stream.write_all(&answer(request, b"v"));
            return;
        }
        let part = part(&vec![b'x'; PART]);
        let unfinished = vec![b'x'; FRAME_BYTES_MAX - (1 << 20)];
        for bytes in [&part, &head_of_long_frame(FRAME_BYTES_MAX as u64), &unfinished] {
            let _ = stream.write_all(bytes);
        }
    };
    let nodes: Vec<RawNode> = (0..NODES).map(|_| RawNode::start(script)).collect();
    let ports: Vec<u16> = nodes.iter().map(RawNode::port).collect();
    let client = client_of(&ports, LONG);
    let count = PartitionCount::new(NODES as u32).unwrap();
    let key_of = |partition: usize| {
        let mut keys = (0..).map(|number| format!("key-{number}"));
        keys.find(|key| count.partition_of(key).0 as usize == partition).unwrap()
    };
    let writes = (0..NODES).map(|partition| Box::pin(client.put(key_of(partition), "v")));
    let (write, partition, _) = futures::future::select_all(writes).await;
    let error = write.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert!(error.to_string().contains("together"), "{error}");
    // The connection that was given up is made again.
    assert_eq!(client.get(key_of(partition)).await.unwrap().unwrap().value, b"v");
}
