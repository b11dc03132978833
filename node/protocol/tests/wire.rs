//! The messages, byte for byte, and their round trips.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::borrow::Cow;

use kv_protocol::limits::{
    BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, REQUEST_ID_BYTES_MAX, STREAM_RECORDS_MAX,
    VALUE_BYTES_MAX_DEFAULT,
};
use kv_protocol::partition::Partition;
use kv_protocol::refusal::{ErrorCode, Refusal};
use kv_protocol::reply::{Content, Counted, Done, Keys, MoveDigest, Page, Record, Records, Reply};
use kv_protocol::request::{
    Command, Condition, Context, Count, Digest, Fetch, Operation, Request, RequestId, Scan, Side,
    Style, Values,
};
use kv_protocol::version::Version;
use proptest::prelude::*;

fn decode(header: &str) -> Result<Request<'_>, ErrorCode> {
    Request::decode(header.as_bytes(), None, VALUE_BYTES_MAX_DEFAULT)
        .map_err(|error| error.refusal.code)
}

fn encode(content: Content) -> String {
    let (header, body) = Reply { id: None, content }.encode(Style::default());
    assert_eq!(body, None);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_fixed_requests_are_understood() {
    let command = |header| decode(header).unwrap().command;
    assert_eq!(
        command(r#"{"op":"PUT","key":"key","value":"value"}"#),
        Command::One(Operation::Put {
            key: "key".into(),
            value: Cow::Borrowed(b"value"),
            condition: Condition::None,
        })
    );
    assert_eq!(
        command(r#"{"op":"GET_ONE","key":"key"}"#),
        Command::One(Operation::Get { key: "key".into() })
    );
    assert_eq!(command(r#"{"op":"GET_ALL"}"#), Command::GetAll);
}

#[test]
fn the_fixed_replies_are_exact() {
    let version = Version { epoch: 1, sequence: 7 };
    let one = |done| encode(Content::One { key: "key".into(), done });
    let record = Record { value: b"value".to_vec(), version: Some(version) };
    assert_eq!(one(Done::Stored { version }), r#"{"key":"key","ok":true,"version":"1-7"}"#);
    assert_eq!(one(Done::Read(Some(record.clone()))), r#"{"key":"key","value":"value"}"#);
    assert_eq!(one(Done::Read(None)), r#"{"key":"key","value":null}"#);
    let items = vec![("key1".into(), record.clone()), ("key2".into(), record)];
    assert_eq!(
        encode(Content::Page(Page { items, ..Page::default() })),
        r#"{"collection":[{"key":"key1","value":"value"},{"key":"key2","value":"value"}]}"#
    );
    assert_eq!(encode(Content::Page(Page::default())), r#"{"collection":[]}"#);
    assert_eq!(
        encode(Content::Refused(Refusal::new(ErrorCode::NotOwner, "elsewhere").at_epoch(3))),
        r#"{"error":{"code":"not_owner","message":"elsewhere","epoch":3}}"#
    );
}

#[test]
fn bytes_that_are_not_text_travel_in_the_body() {
    let record = Record { value: vec![0xff, 0], version: None };
    let content = Content::One { key: "k".into(), done: Done::Read(Some(record)) };
    let (header, body) = Reply { id: Some(RequestId::Number(4)), content }.encode(Style::default());
    assert_eq!(header, br#"{"key":"k","value_bytes":2,"id":4}"#);
    assert_eq!(body, Some(vec![0xff, 0]));
}

#[test]
fn bad_requests_are_named() {
    use ErrorCode::{BadRequest, TooLarge, UnknownOp};
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    let nested = "[".repeat(100_000);
    for (header, code) in [
        ("", BadRequest),
        ("{", BadRequest),
        ("[]", BadRequest),
        ("null", BadRequest),
        (&nested, BadRequest),
        (r#"{"op":"PUT","key":"k","value":"v"} trailing"#, BadRequest),
        (r#"{"key":"k"}"#, BadRequest),
        (r#"{"op":7}"#, BadRequest),
        (r#"{"op":"put","key":"k","value":"v"}"#, UnknownOp),
        (r#"{"op":"DROP_ALL"}"#, UnknownOp),
        (r#"{"op":"PUT","value":"v"}"#, BadRequest),
        (r#"{"op":"PUT","key":"k"}"#, BadRequest),
        (r#"{"op":"PUT","key":"","value":"v"}"#, BadRequest),
        (r#"{"op":"PUT","key":7,"value":"v"}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":7}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":null}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":"v","value_bytes":1}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value_bytes":1}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value_bytes":-1}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value_bytes":4000000000}"#, TooLarge),
        (r#"{"op":"PUT","key":"k","value":"v","if_absnet":true}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":"v","if_version":"1"}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":"v","if_absent":true,"if_version":"1-1"}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":"v","if_version":null}"#, BadRequest),
        (r#"{"op":"PUT","key":"k","value":"v","if_absent":null}"#, BadRequest),
        (r#"{"op":"DELETE","key":"k","if_version":null}"#, BadRequest),
        (r#"{"op":"GET_ONE","key":"k","epoch":null}"#, BadRequest),
        (r#"["GET_ONE",null,null,null,null,null,null,"k"]"#, BadRequest),
        (r#"{"op":"BATCH","ops":[["GET_ONE","k"]]}"#, BadRequest),
        (r#"{"op":"GET_ONE","key":"k","value":"v"}"#, BadRequest),
        (r#"{"op":"GET_ALL","key":"k"}"#, BadRequest),
        (r#"{"op":"SCAN","limit":0}"#, BadRequest),
        (r#"{"op":"SCAN","ops":[]}"#, BadRequest),
        (r#"{"op":"BATCH"}"#, BadRequest),
        (r#"{"op":"BATCH","ops":[]}"#, BadRequest),
        (r#"{"op":"BATCH","ops":[{"op":"SCAN"}]}"#, UnknownOp),
        (r#"{"op":"DELETE","key":"k","if_absent":true}"#, BadRequest),
        (r#"{"op":"STATUS","epoch":-1}"#, BadRequest),
        (r#"{"op":"STATUS","cluster":"x"}"#, BadRequest),
        (&format!(r#"{{"op":"GET_ONE","key":"{long_key}"}}"#), TooLarge),
    ] {
        let shown: String = header.chars().take(80).collect();
        assert_eq!(decode(header).unwrap_err(), code, "{shown}");
    }
    assert_eq!(Request::decode(b"\xff", None, 1).unwrap_err().refusal.code, BadRequest);
}

#[test]
fn limits_are_obeyed_at_their_edge() {
    let key = "k".repeat(KEY_BYTES_MAX);
    assert!(decode(&format!(r#"{{"op":"GET_ONE","key":"{key}"}}"#)).is_ok());
    let value = |length| {
        Request::decode(br#"{"op":"PUT","key":"k","value_bytes":4}"#, Some(&[0; 4]), length).is_ok()
    };
    assert!(value(4) && !value(3));
    let inline =
        |length| Request::decode(br#"{"op":"PUT","key":"k","value":"four"}"#, None, length).is_ok();
    assert!(inline(4) && !inline(3));
    let batch = |count| {
        let ops = vec![r#"{"op":"GET_ONE","key":"k"}"#; count].join(",");
        decode(&format!(r#"{{"op":"BATCH","ops":[{ops}]}}"#)).is_ok()
    };
    assert!(batch(BATCH_OPERATIONS_MAX) && !batch(BATCH_OPERATIONS_MAX + 1));
    let id =
        |length| decode(&format!(r#"{{"op":"STATUS","id":"{}"}}"#, "i".repeat(length))).is_ok();
    assert!(id(REQUEST_ID_BYTES_MAX) && !id(REQUEST_ID_BYTES_MAX + 1));
}

/// The body of a stream: kind, lengths, what stands between them and the key, key and value.
fn streamed(kind: u8, key: &str, value_bytes: u32, rest: &[u8]) -> Vec<u8> {
    let key_bytes = (key.len() as u16).to_le_bytes();
    [&[kind][..], &key_bytes, &value_bytes.to_le_bytes(), key.as_bytes(), rest].concat()
}

fn decode_streamed(operations: usize, body: &[u8]) -> Result<Vec<Operation<'_>>, Refusal> {
    let header = format!(r#"{{"op":"BATCH","operations":{operations}}}"#);
    // The command borrows from the body alone.
    let header: &'static str = header.leak();
    match Request::decode(header.as_bytes(), Some(body), 4).map(|it| it.command) {
        Ok(Command::Batch(operations)) => Ok(operations),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.refusal),
    }
}

#[test]
fn the_streams_are_exact() {
    let version = Version { epoch: 1, sequence: 7 };
    let command = Command::Batch(vec![
        Operation::Put { key: "k".into(), value: b"val"[..].into(), condition: Condition::None },
        Operation::Get { key: "key".into() },
        Operation::Delete { key: "k".into(), condition: Condition::Version(version) },
        Operation::Put { key: "k".into(), value: b""[..].into(), condition: Condition::Absent },
    ]);
    let style = Style { versions: true, streams: true, ..Style::default() };
    let request = Request { id: None, context: Context::default(), style, command };
    let (header, body) = request.encode();
    assert_eq!(header, br#"{"op":"BATCH","versions":true,"operations":4}"#);
    let expected: &[&[u8]] = &[
        b"\x01\x01\0\x03\0\0\0kval",
        b"\x02\x03\0\0\0\0\0key",
        b"\x23\x01\0\0\0\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0k",
        b"\x11\x01\0\0\0\0\0k",
    ];
    assert_eq!(body.unwrap(), expected.concat());
    let record = |version| Ok(Done::Read(Some(Record { value: b"val".to_vec(), version })));
    let content = Content::Batch(vec![
        Ok(Done::Stored { version }),
        Ok(Done::Deleted { existed: true }),
        Ok(Done::Deleted { existed: false }),
        Ok(Done::Read(None)),
        record(Some(version)),
        record(None),
        Err(Refusal::new(ErrorCode::Corrupt, "m")),
    ]);
    let (header, body) = Reply { id: Some(RequestId::Number(4)), content }.encode(style);
    assert_eq!(header, br#"{"outcomes":7,"id":4}"#);
    let expected: &[&[u8]] = &[
        b"\x01\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0",
        b"\x02\x03\x04",
        b"\x05\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x03\0\0\0val",
        b"\x06\x03\0\0\0val",
        b"\x07\x20\0\0\0",
        br#"{"code":"corrupt","message":"m"}"#,
    ];
    assert_eq!(body.unwrap(), expected.concat());
}

#[test]
fn bad_streams_are_named() {
    use ErrorCode::{BadRequest, TooLarge};
    let get = streamed(2, "k", 0, b"");
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    let key = "k".repeat(KEY_BYTES_MAX);
    assert!(decode_streamed(1, &streamed(2, &key, 0, b"")).is_ok());
    assert!(decode_streamed(1, &streamed(1, "k", 4, b"four")).is_ok());
    assert!(decode_streamed(BATCH_OPERATIONS_MAX, &get.repeat(BATCH_OPERATIONS_MAX)).is_ok());
    for (count, body, code, named) in [
        (0, vec![], BadRequest, "at least one"),
        (1, vec![], BadRequest, "operation 0: the body frame is cut short"),
        (2, get.clone(), BadRequest, "operation 1: the body frame is cut short"),
        (1, get.repeat(2), BadRequest, "8 bytes more"),
        (1, streamed(2, "", 0, b""), BadRequest, "the key is empty"),
        (1, streamed(2, &long_key, 0, b""), TooLarge, "the length of the key is 1025"),
        (1, streamed(1, "k", 5, b"value"), TooLarge, "the value's length is 5, the limit is 4"),
        (1, streamed(1, "k", 4, b"val"), BadRequest, "cut short"),
        (1, streamed(2, "k", 1, b"v"), BadRequest, "kind"),
        (1, streamed(3, "k", 1, b"v"), BadRequest, "kind"),
        (1, streamed(2 + 16, "k", 0, b""), BadRequest, "kind"),
        (1, streamed(3 + 16, "k", 0, b""), BadRequest, "kind"),
        (1, streamed(1 + 32, "k", 0, b""), BadRequest, "cut short"),
        (1, streamed(1 + 48, "k", 0, &[0; 16]), BadRequest, "kind"),
        (1, streamed(1 + 64, "k", 0, b""), BadRequest, "kind"),
        (1, streamed(0, "k", 0, b""), BadRequest, "kind"),
        (1, streamed(4, "k", 0, b""), BadRequest, "kind"),
        (1, b"\x02\x01\0\0\0\0\0\xff".to_vec(), BadRequest, "UTF-8"),
        (
            BATCH_OPERATIONS_MAX + 1,
            get.repeat(BATCH_OPERATIONS_MAX + 1),
            TooLarge,
            "the number of operations is 1025",
        ),
    ] {
        let refusal = decode_streamed(count, &body).unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.contains(named), "{refusal} should say {named:?}");
    }
    for header in [
        r#"{"op":"BATCH","operations":1,"ops":[{"op":"GET_ONE","key":"k"}]}"#,
        r#"{"op":"GET_ONE","key":"k","operations":1}"#,
        r#"{"op":"BATCH","operations":-1}"#,
        r#"{"op":"BATCH","operations":4294967296}"#,
    ] {
        assert_eq!(decode(header).unwrap_err(), BadRequest, "{header}");
    }
}

#[test]
fn bad_replies_in_streams_are_refused() {
    let reply = |count: u32, body: &[u8]| {
        Reply::decode(format!(r#"{{"outcomes":{count}}}"#).as_bytes(), Some(body))
    };
    assert!(reply(2, b"\x03\x04").is_ok() && reply(0, b"").is_ok());
    for (count, body) in [
        (1, &b""[..]),
        (1, b"\x00"),
        (1, b"\x08"),
        (1, b"\x03\x04"),
        (u32::MAX, b"\x03"),
        (1, b"\x01\0\0"),
        (1, b"\x06\x04\0\0\0val"),
        (1, b"\x06\xff\xff\xff\xffval"),
        (1, b"\x07\x02\0\0\0{}"),
    ] {
        assert!(reply(count, body).is_err(), "{count} {body:?}");
    }
}

#[test]
fn a_refusal_can_be_matched_to_its_request() {
    for header in [r#"{"id":9,"op":"NO"}"#, r#"{"op":"PUT","key":7,"id":9}"#] {
        let error = Request::decode(header.as_bytes(), None, 1).unwrap_err();
        assert_eq!(error.id, Some(RequestId::Number(9)), "{header}");
    }
}

#[test]
fn a_body_that_is_not_accounted_for_is_refused() {
    for header in [r#"{"op":"STATUS"}"#, r#"{"op":"PUT","key":"k","value":"v"}"#] {
        let error = Request::decode(header.as_bytes(), Some(b"x"), 10).unwrap_err();
        assert_eq!(error.refusal.code, ErrorCode::BadRequest, "{header}");
    }
}

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

fn operation() -> impl Strategy<Value = Operation<'static>> {
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

fn request() -> impl Strategy<Value = Request<'static>> {
    let id = prop_oneof![
        Just(None),
        any::<u64>().prop_map(|id| Some(RequestId::Number(id))),
        "[a-z]{0,20}".prop_map(|id| Some(RequestId::Text(id))),
    ];
    let known = || proptest::option::of(uuid());
    let context = (known(), known(), any::<Option<u64>>())
        .prop_map(|(cluster, node, epoch)| Context { cluster, node, epoch });
    (id, context, style(), command()).prop_map(|(id, context, style, command)| {
        let streams = style.streams && matches!(command, Command::Batch(_));
        Request { id, context, style: Style { streams, ..style }, command }
    })
}

fn style() -> impl Strategy<Value = Style> {
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

fn done() -> impl Strategy<Value = Done> {
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

fn content() -> impl Strategy<Value = Content> {
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
        refusal().prop_map(Content::Refused),
    ]
}

proptest! {
    #[test]
    fn requests_round_trip(request in request()) {
        let (header, body) = request.encode();
        let decoded = Request::decode(&header, body.as_deref(), VALUE_BYTES_MAX_DEFAULT).unwrap();
        prop_assert_eq!(decoded, request);
    }

    #[test]
    fn replies_round_trip_in_every_style(content in content(), style in style()) {
        let reply = Reply { id: Some(RequestId::Number(1)), content };
        let (header, body) = reply.clone().encode(Style { versions: true, ..style });
        prop_assert_eq!(Reply::decode(&header, body.as_deref()).unwrap(), reply);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(header in any::<Vec<u8>>(), body in any::<Option<Vec<u8>>>()) {
        let _ = Request::decode(&header, body.as_deref(), 10);
        let _ = Reply::decode(&header, body.as_deref());
        let _ = Request::decode(br#"{"op":"BATCH","operations":3}"#, body.as_deref(), 10);
        let _ = Reply::decode(br#"{"outcomes":3}"#, body.as_deref());
    }

    #[test]
    fn a_damaged_stream_is_never_read_past_its_end(
        operations in proptest::collection::vec(operation(), 1..5),
        outcomes in proptest::collection::vec(done().prop_map(Ok), 1..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let style = Style { versions: true, streams: true, ..Style::default() };
        let count = operations.len();
        let command = Command::Batch(operations);
        let request = Request { id: None, context: Context::default(), style, command };
        let (header, body) = request.encode();
        let mut body = body.unwrap();
        let cut = at.index(body.len());
        let read = |body: &[u8]| {
            Request::decode(&header, Some(body), VALUE_BYTES_MAX_DEFAULT).map(|it| it.command.into_owned())
        };
        prop_assert!(read(&body[..cut]).is_err());
        prop_assert!(read(&[&body[..], &[byte]].concat()).is_err());
        body[cut] = byte;
        // What is still a stream has as many operations.
        if let Ok(Command::Batch(read)) = read(&body) {
            prop_assert_eq!(read.len(), count);
        }
        let reply = Reply { id: None, content: Content::Batch(outcomes) };
        let (header, body) = reply.encode(style);
        let mut body = body.unwrap();
        let cut = at.index(body.len());
        prop_assert!(Reply::decode(&header, Some(&body[..cut])).is_err());
        prop_assert!(Reply::decode(&header, Some(&[&body[..], &[byte]].concat())).is_err());
        body[cut] = byte;
        let _ = Reply::decode(&header, Some(&body));
    }

    #[test]
    fn no_damage_makes_a_reader_panic(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (mut header, body) = request.encode();
        let at = at.index(header.len());
        header[at] = byte;
        let _ = Request::decode(&header, body.as_deref(), VALUE_BYTES_MAX_DEFAULT);
        let _ = Reply::decode(&header, body.as_deref());
    }
}
