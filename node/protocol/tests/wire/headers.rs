//! Requests and replies that stand in JSON, and their limits.

use std::borrow::Cow;

use kv_core::limits::{
    BATCH_OPERATIONS_MAX, DIGEST_RECORDS_MAX, HOLDS_PARTITIONS_MAX, KEPT_RANGES_MAX, KEY_BYTES_MAX,
    PAGE_ITEMS_MAX, PARTITIONS_MAX, REPLY_TEXT_BYTES_MAX, REQUEST_ID_BYTES_MAX,
    VALUE_BYTES_MAX_DEFAULT,
};
use kv_core::operation::{Condition, Done, Operation, Record};
use kv_core::refusal::{ErrorCode, Refusal, too_large};
use kv_core::version::Version;
use kv_protocol::reply::{Content, Kept, Page, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style};

pub(super) fn decode(header: &str) -> Result<Request<'_>, ErrorCode> {
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

#[test]
fn lists_are_read_up_to_their_limits_and_counted_beyond() {
    let partitions = PARTITIONS_MAX as usize;
    for (name, element, most) in [
        ("results", r#"{"ok":true,"version":"1-1"}"#, BATCH_OPERATIONS_MAX),
        ("collection", r#"{"key":"k","value":"v"}"#, PAGE_ITEMS_MAX),
        ("keys", "\"k\"", DIGEST_RECORDS_MAX),
        ("digests", "[0,1,2]", partitions),
        ("sizes", "[0,1,2]", partitions),
    ] {
        let read = |count| {
            let list = vec![element; count].join(",");
            Reply::decode(format!("{{\"{name}\":[{list}]}}").as_bytes(), None)
        };
        assert!(read(most).is_ok(), "{name}");
        let error = read(most + 3).unwrap_err().to_string();
        let expected = format!("\"{name}\" has {} elements, expected at most {most}", most + 3);
        assert!(error.ends_with(&expected), "{error}");
    }
    let count = |count: usize| {
        let list: Vec<String> = (0..count).map(|it| it.to_string()).collect();
        let header = format!(r#"{{"op":"COUNT","partitions":[{}]}}"#, list.join(","));
        Request::decode(header.as_bytes(), None, 1).map(|_| ()).map_err(|it| it.refusal)
    };
    assert_eq!(count(partitions), Ok(()));
    let refusal = too_large("the number of partitions", partitions + 1, partitions);
    assert_eq!(count(partitions + 1), Err(refusal));
}

#[test]
fn an_error_does_not_repeat_all_that_it_is_about() {
    let long = "x".repeat(1 << 20);
    for header in [
        format!(r#"{{"op":"STATUS","{long}":1}}"#),
        format!(r#"{{"op":"STATUS","epoch":"{long}"}}"#),
        format!(r#"{{"op":"{long}"}}"#),
        format!(r#"{{"op":"{long}","ops":[]}}"#),
        format!(r#"{{"op":"SCAN","values":"{long}"}}"#),
        format!(r#"{{"op":"DELETE","key":"k","if_version":"{long}"}}"#),
        format!(r#"{{"op":"STATUS","id":"{long}"}}"#),
    ] {
        let error = Request::decode(header.as_bytes(), None, 1).unwrap_err();
        assert!(error.refusal.message.len() < 1000, "{}", &header[..30]);
        assert_eq!(error.id, None);
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

#[test]
fn so_many_partitions_are_asked_about_at_once_and_no_more() {
    let ask = |count: usize| {
        let partitions: Vec<usize> = (0..count).collect();
        let header = serde_json::json!({ "op": "HOLDS", "partitions": partitions }).to_string();
        decode(&header).map(|_| ())
    };
    assert_eq!(ask(HOLDS_PARTITIONS_MAX), Ok(()));
    assert_eq!(ask(HOLDS_PARTITIONS_MAX + 1), Err(ErrorCode::TooLarge));
    assert_eq!(decode(r#"{"op":"HOLDS","partitions":[2,1]}"#), Err(ErrorCode::BadRequest));
}

#[test]
fn texts_of_a_reply_are_cut_off_and_its_keys_have_a_limit() {
    let message_of = |content| match content {
        Content::Refused(refusal) => refusal.message,
        Content::Batch(mut outcomes) => outcomes.remove(0).unwrap_err().message,
        other => panic!("{other:?}"),
    };
    let longest = "ä".repeat(REPLY_TEXT_BYTES_MAX / 2);
    for (said, read) in [(longest.clone(), longest.clone()), ("ä".repeat(1 << 20), longest + "…")]
    {
        let refusal = Refusal::new(ErrorCode::Storage, said);
        let batch = Content::Batch(vec![Err(refusal.clone())]);
        for streams in [false, true] {
            for content in [Content::Refused(refusal.clone()), batch.clone()] {
                let style = Style { streams, ..Style::default() };
                let (header, body) = Reply { id: None, content }.encode(style);
                let reply = Reply::decode(&header, body.as_deref()).unwrap();
                assert_eq!(message_of(reply.content), read);
            }
        }
    }
    for around in [
        [r#"{"value":null,"key":""#, "\"}"],
        [r#"{"collection":[{"value":"v","key":""#, "\"}]}"],
        [r#"{"collection":[],"deleted":[""#, "\"]}"],
        [r#"{"collection":[],"next":""#, "\"}"],
        [r#"{"digests":[],"written":[""#, "\"]}"],
        [r#"{"keys":[""#, "\"]}"],
    ] {
        let read = |bytes| Reply::decode(around.join(&"k".repeat(bytes)).as_bytes(), None);
        assert!(read(KEY_BYTES_MAX).is_ok(), "{around:?}");
        let error = read(KEY_BYTES_MAX + 1).unwrap_err().to_string();
        let expected = format!("{} bytes, the limit is {KEY_BYTES_MAX}", KEY_BYTES_MAX + 1);
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn what_a_status_says_is_bounded() {
    let kept = |ranges: usize, reason: &str| {
        let kept = serde_json::json!({
            "not_handed_over": 1, "unconfirmed": 1, "ranges": vec![[1, 2]; ranges], "reason": reason,
        });
        serde_json::from_value::<Kept>(kept).unwrap()
    };
    let within = kept(KEPT_RANGES_MAX, "because");
    assert_eq!((within.ranges.len(), &within.reason[..]), (KEPT_RANGES_MAX, "because"));
    let beyond = kept(KEPT_RANGES_MAX + 1, &"b".repeat(REPLY_TEXT_BYTES_MAX + 1));
    let cut_off = "b".repeat(REPLY_TEXT_BYTES_MAX) + "…";
    assert_eq!((beyond.ranges.len(), beyond.reason), (KEPT_RANGES_MAX, cut_off));
}
