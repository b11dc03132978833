//! Messages of all kinds.

use std::borrow::Cow;

use kv_core::guard::Context;
use kv_core::incarnation::Incarnation;
use kv_core::layout::Side;
use kv_core::limits::{KEY_BYTES_MAX, STREAM_RECORDS_MAX};
use kv_core::operation::{Condition, Done, Operation, Record};
use kv_core::partition::Partition;
use kv_core::refusal::{ErrorCode, Refusal};
use kv_core::version::Version;
use kv_protocol::reply::{Content, Counted, Keys, MoveDigest, Page, Records};
use kv_protocol::request::{
    Command, Count, Digest, Fetch, Request, RequestId, Scan, Style, Values,
};
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    any::<(u64, u64)>().prop_map(|(epoch, sequence)| Version { epoch, sequence })
}

fn key() -> impl Strategy<Value = String> {
    "\\PC{1,40}".prop_filter("keys are bounded", |key| key.len() <= KEY_BYTES_MAX)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::None),
        Just(Condition::Absent),
        version().prop_map(Condition::Version),
    ]
}

pub(super) fn operation() -> impl Strategy<Value = Operation<'static>> {
    prop_oneof![
        (key(), any::<Vec<u8>>(), condition()).prop_map(|(key, value, condition)| {
            Operation::Put { key: key.into(), value: value.into(), condition }
        }),
        key().prop_map(|key| Operation::Get { key: key.into() }),
        (key(), proptest::option::of(version())).prop_map(|(key, version)| Operation::Delete {
            key: key.into(),
            condition: version.map_or(Condition::None, Condition::Version),
        }),
    ]
}

fn command() -> impl Strategy<Value = Command<'static>> {
    prop_oneof![
        operation().prop_map(Command::One),
        proptest::collection::vec(operation(), 1..20).prop_map(Command::Batch),
        Just(Command::GetAll),
        Just(Command::Status),
        (any::<Option<u32>>(), any::<bool>(), cursor(), "\\PC{0,20}", 1_u32..2000).prop_map(
            |(partition, alone, after, prefix, limit)| {
                let partition = partition.map(Partition);
                let (partition, from) = if alone { (partition, None) } else { (None, partition) };
                Command::Scan(Scan {
                    partition,
                    from,
                    after,
                    prefix: prefix.into(),
                    limit: Some(limit),
                })
            }
        ),
        (uuid(), cursor()).prop_map(|(to, after)| Command::Fetch(Fetch { to, after })),
        (any::<Vec<u8>>(), 0..=STREAM_RECORDS_MAX as u32)
            .prop_map(|(stream, records)| Command::Copy { records, stream: stream.into() }),
        (uuid(), side(), cursor(), cursor()).prop_map(
            |(peer, side, after, until)| Command::Digest(Digest { peer, side, after, until })
        ),
        proptest::collection::btree_set(any::<u32>().prop_map(Partition), 0..9)
            .prop_map(|it| Command::Count(Count { partitions: it.into_iter().collect() })),
        cursor().prop_map(|after| Command::Stored { after }),
        proptest::collection::btree_set(any::<u32>().prop_map(Partition), 0..9)
            .prop_map(|it| Command::Holds { partitions: it.into_iter().collect() }),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Destination)]
}

fn cursor() -> impl Strategy<Value = Option<Cow<'static, str>>> {
    proptest::option::of(key().prop_map(Into::into))
}

fn uuid() -> impl Strategy<Value = uuid::Uuid> {
    any::<u128>().prop_map(uuid::Uuid::from_u128)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<(u64, u64)>().prop_map(|(number, nonce)| Incarnation { number, nonce })
}

pub(super) fn request() -> impl Strategy<Value = Request<'static>> {
    let id = prop_oneof![
        Just(None),
        any::<u64>().prop_map(|id| Some(RequestId::Number(id))),
        "[a-z]{0,20}".prop_map(|id| Some(RequestId::Text(id))),
    ];
    let known = || proptest::option::of(uuid());
    let run = proptest::option::of(incarnation());
    let context = (known(), known(), run, any::<Option<u64>>()).prop_map(
        |(cluster, node, incarnation, epoch)| Context { cluster, node, incarnation, epoch },
    );
    (id, context, style(), command()).prop_map(|(id, context, style, command)| {
        let streams = style.streams && matches!(command, Command::Batch(_));
        Request { id, context, style: Style { streams, ..style }, command }
    })
}

pub(super) fn style() -> impl Strategy<Value = Style> {
    any::<(bool, bool, bool)>().prop_map(|(body, versions, streams)| Style {
        values: if body { Values::Body } else { Values::Inline },
        versions,
        streams,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (any::<Vec<u8>>(), version())
        .prop_map(|(value, version)| Record { value, version: Some(version) })
}

pub(super) fn done() -> impl Strategy<Value = Done> {
    prop_oneof![
        version().prop_map(|version| Done::Stored { version }),
        any::<bool>().prop_map(|existed| Done::Deleted { existed }),
        proptest::option::of(record()).prop_map(Done::Read),
    ]
}

fn keys() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(key(), 0..5)
}

fn next() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(key())
}

fn triples() -> impl Strategy<Value = Vec<(Partition, u64, u64)>> {
    proptest::collection::vec((any::<u32>().prop_map(Partition), any::<u64>(), any::<u64>()), 0..5)
}

pub(super) fn content() -> impl Strategy<Value = Content> {
    let refusal = || {
        any::<(String, Option<u64>)>().prop_map(|(message, epoch)| Refusal {
            epoch,
            ..Refusal::new(ErrorCode::Corrupt, message)
        })
    };
    prop_oneof![
        (key(), done()).prop_map(|(key, done)| Content::One { key, done }),
        proptest::collection::vec(prop_oneof![done().prop_map(Ok), refusal().prop_map(Err)], 0..20)
            .prop_map(Content::Batch),
        (proptest::collection::vec((key(), record()), 0..20), keys(), next())
            .prop_map(|(items, deleted, next)| Content::Page(Page { items, deleted, next })),
        (any::<u32>(), any::<Vec<u8>>(), next()).prop_map(|(records, stream, next)| {
            Content::Records(Records { records, stream, next })
        }),
        any::<u32>().prop_map(|copied| Content::Copied { copied }),
        (triples(), keys(), next()).prop_map(|(partitions, written, next)| {
            let partitions = partitions.into_iter().map(Into::into).collect();
            Content::Digest(MoveDigest { partitions, written, next })
        }),
        (triples(), any::<Option<u32>>()).prop_map(|(partitions, next)| {
            let partitions = partitions.into_iter().map(Into::into).collect();
            Content::Count(Counted { partitions, next: next.map(Partition) })
        }),
        (keys(), next()).prop_map(|(keys, next)| Content::Keys(Keys { keys, next })),
        proptest::collection::vec(any::<u32>().prop_map(Partition), 0..9).prop_map(Content::Held),
        refusal().prop_map(Content::Refused),
    ]
}
