//! The client and a partition on its way from one node to another, at real sockets.

use std::time::Duration;

use crate::scripted_node::{Answer, CLUSTER, Heard, ScriptedNode, carry_out, moving_client, uuid};
use futures::TryStreamExt;
use kv_core::operation::{Done, Operation, Outcome, Record};
use kv_core::refusal::{ErrorCode, Refusal};
use kv_core::version::Version;
use kv_protocol::record_stream::records;
use kv_protocol::reply::{Content, Page};
use kv_protocol::request::{Command, Request};
use kvclient::{Client, ClientError, Condition};

const TIMEOUT: Duration = Duration::from_millis(600);

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

/// The epoch in which the window is open.
const EPOCH: u64 = 4;

/// The version that the source has given.
const VERSION: Version = Version { epoch: 1, sequence: 9 };

fn refused(code: ErrorCode) -> Content {
    Content::Refused(Refusal::new(code, "as the script says"))
}

fn old(key: &str) -> Done {
    Done::Read(Some(Record { value: format!("old {key}").into(), version: Some(VERSION) }))
}

/// What a source does: it gives the frozen records, and takes no writes.
fn source(request: &Request<'_>) -> Content {
    assert_eq!(request.context.node, Some(uuid(0)));
    let outcome = |operation: &Operation<'_>| match operation {
        Operation::Get { key } if key.starts_with("none") => Ok(Done::Read(None)),
        Operation::Get { key } => Ok(old(key)),
        _ => Err(Refusal::new(ErrorCode::NotOwner, "it does not take writes")),
    };
    content(request, outcome)
}

/// What a destination does that has these keys: it takes what is copied.
fn destination(request: &Request<'_>, keys: &mut Vec<String>) -> Content {
    assert_eq!(request.context.node, Some(uuid(1)));
    if let Command::Copy { stream, .. } = &request.command {
        let copied = records(stream).map(|record| record.unwrap().key.to_owned());
        keys.extend(copied);
        return Content::Copied { copied: 1 };
    }
    let done = |operation: &Operation<'_>| match carry_out_one(operation) {
        Done::Stored { .. } if is_overwrite(operation) => Ok(carry_out_one(operation)),
        done if keys.iter().any(|key| key == operation.key()) => Ok(done),
        _ => Err(Refusal::new(ErrorCode::NotCopied, "there is no record yet")),
    };
    content(request, done)
}

fn is_overwrite(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Put { condition: Condition::None, .. })
}

fn carry_out_one(operation: &Operation<'_>) -> Done {
    match operation {
        Operation::Put { .. } => Done::Stored { version: VERSION },
        Operation::Get { key } => {
            Done::Read(Some(Record { value: format!("new {key}").into(), version: Some(VERSION) }))
        }
        Operation::Delete { .. } => Done::Deleted { existed: true },
    }
}

fn content(request: &Request<'_>, outcome: impl Fn(&Operation<'_>) -> Outcome) -> Content {
    assert_eq!(request.context.cluster, Some(CLUSTER));
    assert_eq!(request.context.epoch, Some(EPOCH), "all in the epoch of the window");
    match &request.command {
        Command::One(operation) => match outcome(operation) {
            Ok(done) => Content::One { key: operation.key().to_owned(), done },
            Err(refusal) => Content::Refused(refusal),
        },
        Command::Batch(operations) => Content::Batch(operations.iter().map(outcome).collect()),
        other => panic!("the client does not ask this here: {other:?}"),
    }
}

/// A source that does as it should.
fn good_source() -> ScriptedNode {
    ScriptedNode::start(|request, _| Answer::Content(source(request)))
}

/// A destination that does as it should, and has these keys.
fn good_destination(keys: &'static [&'static str]) -> ScriptedNode {
    let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    ScriptedNode::start(move |request, _| Answer::Content(destination(request, &mut keys)))
}

/// A client for whom the window is open.
fn open_client(nodes: [&ScriptedNode; 2], timeout: Duration) -> Client {
    moving_client(nodes, timeout, |prepared| prepared.open().unwrap())
}

fn operations([source, destination]: [ScriptedNode; 2]) -> [Vec<String>; 2] {
    [source, destination].map(|node| {
        let Heard { operations, .. } = node.stop();
        operations
    })
}

#[tokio::test]
async fn a_read_falls_back_to_the_source() {
    let nodes = [good_source(), good_destination(&["there"])];
    let client = open_client(nodes.each_ref(), LONG);
    let value = async |key: &str| client.get(key).await.unwrap().map(|record| record.value);
    assert_eq!(value("there").await, Some(b"new there".to_vec()));
    assert_eq!(value("k").await, Some(b"old k".to_vec()));
    assert_eq!(value("none").await, None);
    let [at_source, at_destination] = operations(nodes);
    assert_eq!(at_source, ["GET k", "GET none"]);
    assert_eq!(at_destination, ["GET there", "GET k", "GET none"], "nothing was copied for a read");
}

#[tokio::test]
async fn a_write_without_a_condition_concerns_only_the_destination() {
    let nodes = [good_source(), good_destination(&[])];
    open_client(nodes.each_ref(), LONG).put("k", "v").await.unwrap();
    assert_eq!(operations(nodes), [vec![], vec!["PUT k".to_owned()]]);
}

#[tokio::test]
async fn a_write_that_depends_on_a_record_promotes_it() {
    let nodes = [good_source(), good_destination(&["there"])];
    let client = open_client(nodes.each_ref(), LONG);
    assert!(client.delete("k").await.unwrap());
    client.put_if("p", "v", Condition::Version(VERSION)).await.unwrap();
    assert!(client.delete("there").await.unwrap());
    let [at_source, at_destination] = operations(nodes);
    assert_eq!(at_source, ["GET k", "GET p"]);
    let expected = ["DELETE k", "COPY k", "DELETE k", "PUT p", "COPY p", "PUT p", "DELETE there"];
    assert_eq!(at_destination, expected);
}

#[tokio::test]
async fn what_is_promoted_is_the_sources_record_or_a_tombstone() {
    let mut keys = Vec::new();
    let at_destination = ScriptedNode::start(move |request, _| {
        if let Command::Copy { stream, records: 1 } = &request.command {
            let record = records(stream).next().unwrap().unwrap();
            let expected = match record.key {
                "none" => (Version { epoch: 0, sequence: 0 }, None),
                _ => (VERSION, Some(&b"old k"[..])),
            };
            assert_eq!((record.version, record.value), expected);
            assert_eq!(request.context.epoch, Some(EPOCH));
        }
        Answer::Content(destination(request, &mut keys))
    });
    let nodes = [good_source(), at_destination];
    let client = open_client(nodes.each_ref(), LONG);
    client.put_if("none", "v", Condition::Absent).await.unwrap();
    client.delete("k").await.unwrap();
    let [_, at_destination] = operations(nodes);
    assert_eq!(at_destination.iter().filter(|it| it.starts_with("COPY")).count(), 2);
}

#[tokio::test]
async fn a_stale_epoch_in_the_middle_starts_over() {
    let at_source = ScriptedNode::start(|request, received| {
        Answer::Content(match received {
            1 => refused(ErrorCode::StaleEpoch),
            _ => source(request),
        })
    });
    let (mut keys, mut copies) = (Vec::new(), 0);
    let at_destination = ScriptedNode::start(move |request, _| {
        copies += u32::from(matches!(request.command, Command::Copy { .. }));
        Answer::Content(match request.command {
            Command::Copy { .. } if copies == 1 => refused(ErrorCode::StaleEpoch),
            _ => destination(request, &mut keys),
        })
    });
    let nodes = [at_source, at_destination];
    assert!(open_client(nodes.each_ref(), LONG).delete("k").await.unwrap());
    let [at_source, at_destination] = operations(nodes);
    assert_eq!(at_source, ["GET k", "GET k", "GET k"]);
    let expected = ["DELETE k", "DELETE k", "COPY k", "DELETE k", "COPY k", "DELETE k"];
    assert_eq!(at_destination, expected);
}

#[tokio::test]
async fn the_operations_of_a_batch_go_their_own_ways() {
    let nodes = [good_source(), good_destination(&["a", "c"])];
    let client = open_client(nodes.each_ref(), LONG);
    let get = |key: &'static str| Operation::Get { key: key.into() };
    let delete =
        |key: &'static str| Operation::Delete { key: key.into(), condition: Condition::None };
    let outcomes = client.batch(vec![get("a"), get("b"), delete("c"), delete("d")]).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let deleted = Done::Deleted { existed: true };
    let new = carry_out_one(&get("a"));
    assert_eq!(outcomes, [new, old("b"), deleted.clone(), deleted]);
}

#[tokio::test]
async fn only_the_write_itself_can_be_in_doubt() {
    let silent_at = |name: &'static str| {
        let mut keys = Vec::new();
        let mut asked = 0;
        let at_destination = ScriptedNode::start(move |request, _| {
            let is_copy = matches!(request.command, Command::Copy { .. });
            asked += usize::from(!is_copy);
            match name {
                "the copy" if is_copy => Answer::Nothing,
                "the write" if asked == 2 => Answer::Nothing,
                _ => Answer::Content(destination(request, &mut keys)),
            }
        });
        [good_source(), at_destination]
    };
    let nodes = silent_at("the copy");
    let error = open_client(nodes.each_ref(), TIMEOUT).delete("k").await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    let nodes = silent_at("the write");
    let error = open_client(nodes.each_ref(), TIMEOUT).delete("k").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    let [_, at_destination] = operations(nodes);
    assert_eq!(at_destination, ["DELETE k", "COPY k", "DELETE k"]);
}

#[tokio::test]
async fn a_copy_that_cannot_be_stored_is_told() {
    let mut keys = Vec::new();
    let at_destination = ScriptedNode::start(move |request, _| {
        Answer::Content(match request.command {
            Command::Copy { .. } => refused(ErrorCode::DiskFull),
            _ => destination(request, &mut keys),
        })
    });
    let nodes = [good_source(), at_destination];
    let error = open_client(nodes.each_ref(), LONG).delete("k").await.unwrap_err();
    assert_eq!(error.code(), "disk_full", "{error:?}");
}

#[tokio::test]
async fn a_source_without_a_version_is_not_copied() {
    let at_source = ScriptedNode::start(|request, _| {
        let key = match &request.command {
            Command::One(operation) => operation.key().to_owned(),
            other => panic!("{other:?}"),
        };
        let record = Record { value: b"v".to_vec(), version: None };
        Answer::Content(Content::One { key, done: Done::Read(Some(record)) })
    });
    let nodes = [at_source, good_destination(&[])];
    let error = open_client(nodes.each_ref(), LONG).delete("k").await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidReply { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_is_asked_for_what_is_being_handed_over() {
    let nodes = [good_source(), good_destination(&[])];
    let client = moving_client(nodes.each_ref(), TIMEOUT, |prepared| prepared);
    let scan = client.get_all("").try_collect::<Vec<_>>();
    let (read, write, scan) = tokio::join!(client.get("k"), client.put("k", "v"), scan);
    for error in [read.unwrap_err(), write.unwrap_err(), scan.unwrap_err()] {
        assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("being handed over to node node-1"), "{error}");
    }
    for node in nodes {
        assert_eq!(node.stop().requests, 0);
    }
}

#[tokio::test]
async fn after_the_move_only_the_destination_is_asked() {
    let at_destination = ScriptedNode::start(|request, _| Answer::Content(carry_out(request)));
    let nodes = [good_source(), at_destination];
    let client = moving_client(nodes.each_ref(), LONG, |prepared| {
        prepared.open().unwrap().settle(None).unwrap()
    });
    assert!(client.layout().rebalance.is_none());
    client.put("k", "v").await.unwrap();
    let [at_source, at_destination] = operations(nodes);
    assert_eq!((at_source.len(), at_destination.len()), (0, 1));
}

#[tokio::test]
async fn a_scan_merges_both_ends_of_a_move() {
    const NEW: [&str; 3] = ["a", "b", "c"];
    let page = |keys: &[&str], word: &str| {
        let record = |key: &str| Record { value: format!("{word} {key}").into(), version: None };
        let mut items: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), record(key))).collect();
        items.sort_by_key(|(key, _)| kv_core::partition::key_hash(key));
        Page { items, ..Page::default() }
    };
    let at_source = ScriptedNode::start(move |request, _| {
        assert!(matches!(&request.command, Command::Scan(scan) if scan.partition.is_some()));
        Answer::Content(Content::Page(page(&["a", "b", "d", "gone"], "old")))
    });
    let at_destination = ScriptedNode::start(move |_, received| {
        let deleted = vec!["gone".to_owned()];
        Answer::Content(match received {
            1 => refused(ErrorCode::Retry),
            _ => Content::Page(Page { deleted, ..page(&NEW, "new") }),
        })
    });
    let client = open_client([&at_source, &at_destination], LONG);
    let all: Vec<_> = client.get_all("").try_collect().await.unwrap();
    let mut all: Vec<_> =
        all.into_iter().map(|(_, record)| String::from_utf8(record.value).unwrap()).collect();
    all.sort();
    assert_eq!(all, ["new a", "new b", "new c", "old d"]);
}
