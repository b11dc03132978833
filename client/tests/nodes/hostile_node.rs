//! The client against nodes that answer nonsense, the wrong thing, too late or never.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::scripted_node::{Answer, ScriptedNode, carry_out, encoded, id_of};
use futures::TryStreamExt;
use kv_core::limits::{BATCH_OPERATIONS_MAX, FRAME_BYTES_MAX};
use kv_core::operation::{Done, Operation, Record};
use kv_core::refusal::{ErrorCode, Refusal};
use kv_protocol::reply::{Content, Page};
use kv_protocol::request::Command;
use kv_transport::limits::MESSAGE_FRAMES_MAX;
use kvclient::limits::{BATCHES_IN_FLIGHT_MAX, QUEUE_BYTES_MAX};
use kvclient::{Client, ClientError, Condition};

const TIMEOUT: Duration = Duration::from_secs(3);

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

fn put(key: &'static str) -> Operation<'static> {
    Operation::Put { key: key.into(), value: b"v".into(), condition: Condition::None }
}

async fn assert_works(client: &Client) {
    client.put("after", "all").await.expect("the client goes on after trouble");
}

/// The frames of an answer to the request with this id.
type Nonsense = fn(u64) -> Vec<Vec<u8>>;

/// What comes of a read and a write that are answered with `nonsense`.
async fn after_nonsense(nonsense: Nonsense) -> [ClientError; 2] {
    let node = ScriptedNode::start(move |request, received| match received {
        1 | 2 => Answer::Frames(nonsense(id_of(request))),
        _ => Answer::Content(carry_out(request)),
    });
    let client = node.client(LONG);
    let errors = [client.get("k").await.unwrap_err(), client.put("k", "v").await.unwrap_err()];
    assert_works(&client).await;
    errors
}

#[tokio::test]
async fn nonsense_is_named_and_survived() {
    let nonsense: [Nonsense; 10] = [
        |_| vec![b"\xff\x00 not JSON".to_vec()],
        |_| vec![b"{}".to_vec()],
        |_| vec![b"[".repeat(100_000)],
        |_| vec![Vec::new()],
        |id| {
            vec![
                format!("{{\"id\":{id},\"key\":\"k\",\"value_bytes\":9}}").into(),
                b"short".to_vec(),
            ]
        },
        |id| {
            vec![format!("{{\"id\":{id},\"key\":\"k\",\"value\":null}}").into(), b"extra".to_vec()]
        },
        |_| encoded(None, Content::One { key: "k".into(), done: Done::Read(None) }),
        |id| encoded(Some(id), Content::One { key: "x".into(), done: Done::Read(None) }),
        |id| encoded(Some(id + 1000), Content::One { key: "k".into(), done: Done::Read(None) }),
        |id| {
            let page = encoded(Some(id), Content::Page(Page::default()));
            [page, vec![Vec::new(); MESSAGE_FRAMES_MAX - 1]].concat()
        },
    ];
    for (number, nonsense) in nonsense.into_iter().enumerate() {
        let [read, write] = after_nonsense(nonsense).await;
        assert!(matches!(read, ClientError::InvalidReply { .. }), "{number}: {read:?}");
        assert!(matches!(write, ClientError::OutcomeUnknown { .. }), "{number}: {write:?}");
        assert!(read.to_string().contains("node-0 (127.0.0.1:"), "{read}");
    }
}

#[tokio::test]
async fn a_frame_beyond_the_limits_costs_only_its_connection() {
    let beyond: [fn() -> Vec<Vec<u8>>; 2] =
        [|| vec![vec![b' '; FRAME_BYTES_MAX + 1]], || vec![Vec::new(); MESSAGE_FRAMES_MAX + 1]];
    for frames in beyond {
        let node = ScriptedNode::start(move |request, received| match received {
            1 => Answer::Frames(frames()),
            _ => Answer::Content(carry_out(request)),
        });
        let client = node.client(LONG);
        let error = client.put("k", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
        assert_works(&client).await;
    }
}

#[tokio::test]
async fn a_peer_of_an_older_protocol_is_told_nothing() {
    let node = ScriptedNode::start(|_, _| Answer::Nothing);
    let (client, port) = (node.client(TIMEOUT), node.port());
    node.stop();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // A routing id of ZMTP 1.0, which has no signature before.
        stream.write_all(b"\x01\0").unwrap();
        let mut heard = Vec::new();
        // The client may hang up before it has read.
        let _ = stream.read_to_end(&mut heard);
        heard
    });
    let error = client.get("k").await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    drop(client);
    let heard = peer.join().unwrap();
    assert!(heard.len() <= 10, "it hears the beginning of a greeting at most: {heard:?}");
}

#[tokio::test]
async fn silence_makes_a_write_unknown_and_it_is_never_sent_again() {
    let node = ScriptedNode::start(|_, _| Answer::Nothing);
    let client = node.client(TIMEOUT);
    let began = Instant::now();
    let error = client.put("k", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert!((TIMEOUT..LONG).contains(&began.elapsed()), "{:?}", began.elapsed());
    let error = client.delete("k").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    let heard = node.stop();
    assert_eq!(heard.requests, 2, "each write was sent once");
    assert_eq!(heard.peers, 2, "the socket of the first was not used for the second");
}

#[tokio::test]
async fn silence_makes_a_read_unavailable() {
    let node = ScriptedNode::start(|_, _| Answer::Nothing);
    let error = node.client(TIMEOUT).get("k").await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("node-0"), "{error}");
}

#[tokio::test]
async fn one_overdue_answer_costs_the_others_their_connection_and_reads_find_another() {
    let node = ScriptedNode::start(|request, received| match received {
        1 | 2 => Answer::Nothing,
        _ => Answer::Content(carry_out(request)),
    });
    let client = node.client(TIMEOUT);
    let later = async {
        // Not to wait for anything, but to have the later deadline.
        tokio::time::sleep(TIMEOUT / 3).await;
        client.get("k").await
    };
    let (write, read) = tokio::join!(client.put("k", "v"), later);
    assert!(matches!(write.unwrap_err(), ClientError::OutcomeUnknown { .. }));
    assert_eq!(read.unwrap(), None);
    let heard = node.stop();
    assert_eq!((heard.requests, heard.peers), (3, 2));
}

#[tokio::test]
async fn retryable_refusals_are_tried_again_until_they_pass() {
    use ErrorCode::{NoLayout, NotOwner, Overloaded, Retry, ShuttingDown, StaleEpoch, WrongNode};
    const CODES: [ErrorCode; 7] =
        [NotOwner, StaleEpoch, Retry, NoLayout, WrongNode, Overloaded, ShuttingDown];
    let node = ScriptedNode::start(|request, received| match CODES.get(received - 1) {
        Some(code) => Answer::Content(Content::Refused(Refusal::new(*code, "not now"))),
        None => Answer::Content(carry_out(request)),
    });
    node.client(LONG).put("k", "v").await.unwrap();
    assert_eq!(node.stop().requests, CODES.len() + 1);
}

#[tokio::test]
async fn refusals_that_do_not_pass_are_told_when_the_time_is_over() {
    let node = ScriptedNode::start(|_, _| {
        Answer::Content(Content::Refused(Refusal::new(ErrorCode::StaleEpoch, "at epoch 9")))
    });
    let error = node.client(TIMEOUT).put("k", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("at epoch 9"), "{error}");
}

#[tokio::test]
async fn final_refusals_are_told_at_once() {
    let node = ScriptedNode::start(|_, _| {
        Answer::Content(Content::Refused(Refusal::new(ErrorCode::WrongCluster, "not yours")))
    });
    let error = node.client(LONG).put("k", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error:?}");
    assert_eq!((error.code().as_str(), node.stop().requests), ("wrong_cluster", 1));
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_sent_later_either() {
    let node = ScriptedNode::start(|request, _| Answer::Content(carry_out(request)));
    let client = node.client(TIMEOUT);
    let port = node.port();
    drop(node);
    let error = client.put("lost", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    let node = ScriptedNode::start_at(port, |request, _| Answer::Content(carry_out(request)));
    assert_works(&client).await;
    assert_eq!(node.stop().requests, 1, "the first write was taken back");
}

#[tokio::test]
async fn a_broken_connection_is_noticed_at_once() {
    let node = ScriptedNode::start(|_, _| Answer::Die);
    let client = node.client(LONG);
    let began = Instant::now();
    let error = client.put("k", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert!(began.elapsed() < LONG / 4, "{:?}", began.elapsed());
    let port = node.port();
    node.stop();
    let _node = ScriptedNode::start_at(port, |request, _| Answer::Content(carry_out(request)));
    assert_works(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_outlives_its_node() {
    let node = ScriptedNode::start(|_, _| Answer::Die);
    let client = node.client(LONG);
    let port = node.port();
    let read = tokio::spawn(async move { client.get("k").await });
    node.wait();
    let _node = ScriptedNode::start_at(port, |request, _| Answer::Content(carry_out(request)));
    assert_eq!(read.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn one_bad_operation_does_not_harm_those_that_it_travelled_with() {
    let node = ScriptedNode::start(|request, _| {
        let refusal = Refusal::new(ErrorCode::TooLarge, "the value's length is 1, the limit is 0");
        let is_bad = |operation: &Operation<'_>| operation.key() == "bad";
        Answer::Content(match &request.command {
            Command::One(operation) if is_bad(operation) => Content::Refused(refusal),
            Command::Batch(all) if all.iter().any(is_bad) => Content::Refused(refusal),
            _ => carry_out(request),
        })
    });
    let outcomes = node.client(LONG).batch(vec![put("a"), put("bad"), put("b")]).await;
    assert!(matches!(outcomes[0], Ok(Done::Stored { .. })));
    assert!(matches!(&outcomes[1], Err(error) if error.code() == "too_large"), "{:?}", outcomes[1]);
    assert!(matches!(outcomes[2], Ok(Done::Stored { .. })));
}

#[tokio::test]
async fn what_comes_while_batches_are_under_way_travels_together() {
    const OPERATIONS: usize = 500;
    let node = ScriptedNode::start(|request, _| Answer::Content(carry_out(request)));
    let client = node.client(LONG);
    let puts = (0..OPERATIONS).map(|number| client.put(format!("key-{number}"), "v"));
    futures::future::try_join_all(puts).await.unwrap();
    let messages = node.stop().requests;
    assert!(messages < OPERATIONS / 4, "{messages} messages for {OPERATIONS} operations");
}

#[tokio::test]
async fn no_read_waits_for_what_writes_wait_for() {
    let writes = |command: &Command<'_>| match command {
        Command::One(operation) => operation.is_write(),
        Command::Batch(operations) => operations.iter().any(Operation::is_write),
        _ => false,
    };
    let node = ScriptedNode::start(move |request, _| match writes(&request.command) {
        true => Answer::Nothing,
        false => Answer::Content(carry_out(request)),
    });
    let client = node.client(LONG);
    let puts = (0..100).map(|number| client.put(format!("key-{number}"), "v"));
    let gets = (0..100).map(|number| client.get(format!("key-{number}")));
    tokio::select! {
        _ = futures::future::select_all(puts.map(Box::pin)) => panic!("no write is answered"),
        read = futures::future::try_join_all(gets) => assert_eq!(read.unwrap().len(), 100),
    }
}

#[tokio::test]
async fn operations_on_one_key_are_carried_out_in_their_order() {
    let node = ScriptedNode::start(|request, _| Answer::Content(carry_out(request)));
    let operations = vec![put("a"), put("b"), Operation::Get { key: "a".into() }, put("a")];
    let outcomes = node.client(LONG).batch(operations).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let order = node.stop().operations;
    let of_a: Vec<_> = order.iter().filter(|it| it.ends_with(" a")).collect();
    assert_eq!(of_a, ["PUT a", "GET a", "PUT a"]);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_not_sent() {
    let node = ScriptedNode::start(|request, _| Answer::Content(carry_out(request)));
    let client = node.client(LONG);
    // Polled once and dropped: it has come no further than the queue.
    let mut forgotten = Box::pin(client.put("forgotten", "v"));
    assert!(futures::poll!(&mut forgotten).is_pending());
    drop(forgotten);
    assert_works(&client).await;
    assert!(!node.stop().operations.contains(&"PUT forgotten".to_owned()));
}

#[tokio::test]
async fn who_goes_away_before_its_operation_is_announced_holds_up_nobody() {
    let node = ScriptedNode::start(|request, _| Answer::Content(carry_out(request)));
    let client = node.client(LONG);
    for round in 0..20 {
        // From then on the first of several waits for the others before it has them sent.
        let puts = (0..10).map(|number| client.put(format!("key-{number}"), "v"));
        futures::future::try_join_all(puts).await.unwrap();
        let mut forgotten = Box::pin(client.put(format!("forgotten-{round}"), "v"));
        assert!(futures::poll!(&mut forgotten).is_pending());
        drop(forgotten);
        tokio::time::timeout(LONG / 4, assert_works(&client)).await.unwrap();
    }
}

#[tokio::test]
async fn a_scan_that_goes_round_in_circles_is_ended() {
    let node = ScriptedNode::start(|_, _| {
        let record = Record { value: b"v".to_vec(), version: None };
        let items = vec![("again".to_owned(), record)];
        Answer::Content(Content::Page(Page {
            items,
            deleted: Vec::new(),
            next: Some("again".into()),
        }))
    });
    let client = node.client(LONG);
    let error = client.get_all("").try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidReply { .. }), "{error:?}");
}

#[tokio::test]
async fn a_scan_survives_a_lost_page() {
    let node = ScriptedNode::start(|request, received| match received {
        1 => Answer::Frames(vec![vec![b' '; FRAME_BYTES_MAX + 1]]),
        2 => Answer::Content(Content::Refused(Refusal::new(ErrorCode::Retry, "not now"))),
        _ => Answer::Content(carry_out(request)),
    });
    let all: Vec<_> = node.client(LONG).get_all("").try_collect().await.unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn only_a_few_batches_are_under_way_at_a_time() {
    const OPERATIONS: usize = 2 * BATCHES_IN_FLIGHT_MAX * BATCH_OPERATIONS_MAX;
    let node = ScriptedNode::start(|_, _| Answer::Nothing);
    let client = node.client(TIMEOUT);
    let puts = (0..OPERATIONS).map(|number| client.put(format!("key-{number}"), "v"));
    let outcomes = futures::future::join_all(puts).await;
    assert!(outcomes.iter().all(Result::is_err));
    // When the first deadlines pass, others are sent, but through another socket.
    let heard = node.stop();
    assert!(
        (1..=BATCHES_IN_FLIGHT_MAX * heard.peers).contains(&heard.requests),
        "{}",
        heard.requests
    );
}

#[tokio::test]
async fn what_is_under_way_is_limited_in_bytes() {
    const VALUE_BYTES: usize = QUEUE_BYTES_MAX / 3;
    let node = ScriptedNode::start(|_, _| Answer::Nothing);
    let client = node.client(TIMEOUT);
    // The keys take the room that is left for the third value.
    let puts = (0..4).map(|number| client.put(format!("key-{number}"), vec![0; VALUE_BYTES]));
    let outcomes = futures::future::join_all(puts).await;
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    // When the first deadlines pass, others may be sent, but through another socket.
    let heard = node.stop();
    assert!(heard.requests <= 2 * heard.peers, "{}", heard.requests);
}

#[tokio::test]
async fn an_answer_too_large_for_a_batch_comes_one_by_one() {
    let node = ScriptedNode::start(|request, _| match &request.command {
        Command::Batch(_) => Answer::Frames(vec![vec![b' '; FRAME_BYTES_MAX + 1]]),
        _ => Answer::Content(carry_out(request)),
    });
    let get = |number| Operation::Get { key: format!("key-{number}").into() };
    let outcomes = node.client(LONG).batch((0..20).map(get).collect()).await;
    assert!(outcomes.iter().all(|it| matches!(it, Ok(Done::Read(None)))), "{outcomes:?}");
}
