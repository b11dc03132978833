//! What the protocol costs for each operation: reading and writing headers, and finding a key's owner.
//!
//! `cargo bench -p kv-protocol --bench protocol`

use std::borrow::Cow;
use std::hint::black_box;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use kv_core::guard::Context;
use kv_core::layout::Table;
use kv_core::limits::{PARTITIONS_DEFAULT, VALUE_BYTES_MAX_DEFAULT};
use kv_core::operation::{Condition, Done, Operation, Record};
use kv_core::partition::{PartitionCount, key_hash};
use kv_core::version::Version;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style, Values};
use uuid::Uuid;

// Every allocation on this path is paid for each operation, so they are counted.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// The bytes of a value.
const VALUE_BYTES: usize = 100;
/// The operations of a message. One is a message without a batch.
const OPERATIONS: [usize; 2] = [1, 64];
const MEMBERS: usize = 8;
const KEY: &str = "user000000012345";

fn main() {
    divan::main();
}

#[divan::bench(args = OPERATIONS)]
fn get_request_encode(bencher: Bencher<'_, '_>, operations: usize) {
    let request = request(operations, get);
    bencher.counter(ItemsCount::new(operations)).bench(|| request.encode());
}

#[divan::bench(args = OPERATIONS)]
fn get_request_decode(bencher: Bencher<'_, '_>, operations: usize) {
    decode(bencher, &request(operations, get), operations);
}

#[divan::bench(args = OPERATIONS)]
fn put_request_encode(bencher: Bencher<'_, '_>, operations: usize) {
    let request = request(operations, put);
    bencher.counter(ItemsCount::new(operations)).bench(|| request.encode());
}

#[divan::bench(args = OPERATIONS)]
fn put_request_decode(bencher: Bencher<'_, '_>, operations: usize) {
    decode(bencher, &request(operations, put), operations);
}

#[divan::bench(args = OPERATIONS)]
fn get_reply_encode(bencher: Bencher<'_, '_>, operations: usize) {
    encode_reply(bencher, &reply(operations, read), operations);
}

#[divan::bench(args = OPERATIONS)]
fn get_reply_decode(bencher: Bencher<'_, '_>, operations: usize) {
    decode_reply(bencher, reply(operations, read), operations);
}

#[divan::bench(args = OPERATIONS)]
fn put_reply_encode(bencher: Bencher<'_, '_>, operations: usize) {
    encode_reply(bencher, &reply(operations, stored), operations);
}

#[divan::bench(args = OPERATIONS)]
fn put_reply_decode(bencher: Bencher<'_, '_>, operations: usize) {
    decode_reply(bencher, reply(operations, stored), operations);
}

#[divan::bench(args = [16, 100, 1024])]
fn partition_hash(bencher: Bencher<'_, '_>, key_bytes: usize) {
    let key = "k".repeat(key_bytes);
    bencher.bench(|| key_hash(black_box(&key)));
}

#[divan::bench]
fn partition_hash_and_owner(bencher: Bencher<'_, '_>) {
    let partitions = PartitionCount::new(PARTITIONS_DEFAULT).expect("it is a power of two");
    let members = u32::try_from(MEMBERS).expect("they are few");
    let owners: Vec<u32> = (0..partitions.get()).map(|partition| partition % members).collect();
    let table = Table::new(&owners, partitions, 1, MEMBERS).expect("all owners are members");
    bencher.bench(|| table.owner(partitions.partition_of(black_box(KEY))));
}

fn decode(bencher: Bencher<'_, '_>, request: &Request<'_>, operations: usize) {
    let (header, body) = request.encode();
    let body = body.as_deref();
    assert_eq!(
        Request::decode(&header, body, VALUE_BYTES_MAX_DEFAULT).expect("it was encoded"),
        *request
    );
    bencher
        .counter(ItemsCount::new(operations))
        .bench(|| Request::decode(black_box(&header), black_box(body), VALUE_BYTES_MAX_DEFAULT));
}

fn encode_reply(bencher: Bencher<'_, '_>, reply: &Reply, operations: usize) {
    // Encoding takes the reply, and its values with it.
    bencher
        .counter(ItemsCount::new(operations))
        .with_inputs(|| reply.clone())
        .bench_values(|reply| reply.encode(STYLE));
}

fn decode_reply(bencher: Bencher<'_, '_>, reply: Reply, operations: usize) {
    let (header, body) = reply.clone().encode(STYLE);
    let body = body.as_deref();
    assert_eq!(Reply::decode(&header, body).expect("it was encoded"), reply);
    bencher
        .counter(ItemsCount::new(operations))
        .bench(|| Reply::decode(black_box(&header), black_box(body)));
}

/// How the client library wants its replies.
const STYLE: Style = Style { values: Values::Body, versions: true, streams: true };

fn request(operations: usize, operation: fn(String) -> Operation<'static>) -> Request<'static> {
    let command = if operations == 1 {
        Command::One(operation(KEY.to_owned()))
    } else {
        Command::Batch((0..operations).map(|number| operation(key(number))).collect())
    };
    let context = Context {
        cluster: Some(Uuid::from_u128(1)),
        node: Some(Uuid::from_u128(2)),
        incarnation: Some(kv_core::incarnation::Incarnation { number: 7, nonce: 0xfeed }),
        epoch: Some(3),
    };
    // An operation by itself is no stream.
    let style = Style { streams: operations > 1, ..STYLE };
    Request { id: Some(RequestId::Number(123_456)), context, style, command }
}

fn get(key: String) -> Operation<'static> {
    Operation::Get { key: Cow::Owned(key) }
}

fn put(key: String) -> Operation<'static> {
    let value = Cow::Owned(vec![b'v'; VALUE_BYTES]);
    Operation::Put { key: Cow::Owned(key), value, condition: Condition::None }
}

fn reply(operations: usize, done: fn() -> Done) -> Reply {
    let content = if operations == 1 {
        Content::One { key: KEY.to_owned(), done: done() }
    } else {
        Content::Batch((0..operations).map(|_| Ok(done())).collect())
    };
    Reply { id: Some(RequestId::Number(123_456)), content }
}

fn read() -> Done {
    Done::Read(Some(Record { value: vec![b'v'; VALUE_BYTES], version: Some(VERSION) }))
}

fn stored() -> Done {
    Done::Stored { version: VERSION }
}

const VERSION: Version = Version { epoch: 3, sequence: 123_456 };

fn key(number: usize) -> String {
    format!("user{number:012}")
}
