//! Batches that travel as streams, and their limits.

use kv_core::guard::Context;
use kv_core::limits::{BATCH_OPERATIONS_MAX, KEY_BYTES_MAX};
use kv_core::operation::{Condition, Done, Operation, Record};
use kv_core::refusal::{ErrorCode, Refusal};
use kv_core::version::Version;
use kv_protocol::reply::{Content, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style};

use super::headers::decode;

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
