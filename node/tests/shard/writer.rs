//! The writer on a real store: order, conditions, versions, room, installs.

use std::sync::atomic::Ordering;

use crate::support::Cluster;
use crate::support::harness::{Harness, content_of, delete, put};
use kv_core::limits::REPLY_BYTES_MAX;
use kv_core::operation::{Condition, Done, Operation, Record};
use kv_core::refusal::ErrorCode;
use kv_protocol::reply::Content;
use kv_protocol::request::{Command, Scan};

#[test]
fn conditions_are_judged_by_what_is_stored() {
    let writer = Harness::new();
    let first = writer.put("k", "1", Condition::Absent).unwrap();
    let refusal = writer.put("k", "2", Condition::Absent).unwrap_err();
    assert_eq!((refusal.code, refusal.version), (ErrorCode::Conflict, Some(first)));
    let second = writer.put("k", "2", Condition::Version(first)).unwrap();
    assert!(second > first);
    let refusal = writer.put("k", "3", Condition::Version(first)).unwrap_err();
    assert_eq!((refusal.code, refusal.version), (ErrorCode::Conflict, Some(second)));
    assert_eq!(writer.get("k").unwrap(), Record { value: b"2".to_vec(), version: Some(second) });

    let refusal = writer.one(delete("k", Condition::Version(first))).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Conflict);
    let deleted = writer.one(delete("k", Condition::Version(second)));
    assert_eq!(deleted, Ok(Done::Deleted { existed: true }));
    assert_eq!(writer.one(delete("k", Condition::None)), Ok(Done::Deleted { existed: false }));
    let refusal = writer.put("k", "4", Condition::Version(second)).unwrap_err();
    assert_eq!((refusal.code, refusal.version), (ErrorCode::Conflict, None));
    assert_eq!(writer.get("k"), None);
}

#[test]
fn versions_grow_across_deletions_and_restarts() {
    let writer = Harness::new();
    let first = writer.put("k", "1", Condition::None).unwrap();
    writer.one(delete("k", Condition::None)).unwrap();
    let second = writer.put("k", "1", Condition::None).unwrap();
    assert!(second > first);
    let writer = writer.restart();
    let third = writer.put("k", "1", Condition::None).unwrap();
    assert!(third > second);
    let writer = writer.restart();
    assert!(writer.put("other", "1", Condition::None).unwrap() > third);
}

#[test]
fn a_batch_is_carried_out_in_order_and_each_operation_has_its_outcome() {
    let writer = Harness::new();
    let read = || Operation::Get { key: "k".into() };
    let batch = vec![
        read(),
        put("k", "1", Condition::Absent),
        read(),
        put("k", "2", Condition::Absent),
        put("k", "2", Condition::None),
        read(),
        delete("k", Condition::None),
        read(),
    ];
    let Content::Batch(outcomes) = writer.call(Command::Batch(batch)) else { panic!() };
    let value = |index: usize| match &outcomes[index] {
        Ok(Done::Read(record)) => record.as_ref().map(|record| record.value.clone()),
        other => panic!("{index}: {other:?}"),
    };
    assert_eq!(value(0), None);
    assert_eq!(value(2), Some(b"1".to_vec()));
    assert_eq!(outcomes[3].as_ref().unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(value(5), Some(b"2".to_vec()));
    assert_eq!(outcomes[6], Ok(Done::Deleted { existed: true }));
    assert_eq!(value(7), None);
    assert_eq!(writer.published.statistics.keys.load(Ordering::Relaxed), 0);
}

#[test]
fn the_counters_follow_the_data() {
    let writer = Harness::new();
    writer.put("key", "12345", Condition::None).unwrap();
    writer.put("key", "123", Condition::None).unwrap();
    writer.put("other", "", Condition::None).unwrap();
    writer.one(delete("absent", Condition::None)).unwrap();
    let counters = |writer: &Harness| {
        (
            writer.published.statistics.keys.load(Ordering::Relaxed),
            writer.published.statistics.bytes.load(Ordering::Relaxed),
        )
    };
    assert_eq!(counters(&writer), (2, 11));
    let writer = writer.restart();
    assert_eq!(counters(&writer), (2, 11));
    writer.one(delete("key", Condition::None)).unwrap();
    writer.one(delete("other", Condition::None)).unwrap();
    assert_eq!(counters(&writer), (0, 0));
}

#[test]
fn a_scan_that_follows_writes_sees_them() {
    let writer = Harness::new();
    writer.send(1, Command::One(put("a", "1", Condition::None)));
    writer.send(2, Command::One(put("b", "2", Condition::None)));
    writer.send(3, Command::Scan(Scan::default()));
    writer.send(4, Command::GetAll);
    let mut pages = 0;
    for _ in 0..4 {
        if let Content::Page(page) = content_of(writer.finished.recv().unwrap()) {
            assert_eq!(page.items.len(), 2);
            pages += 1;
        }
    }
    assert_eq!(pages, 2);
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let writer = Harness::new();
    writer.put("k", "1", Condition::None).unwrap();
    let installed = Cluster::new(1, 1, |_| 0).install(0, None);
    let writer = writer.restart_with(0, Some(installed), u64::MAX);
    let refusal = writer.put("k", "2", Condition::None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::DiskFull);
    assert_eq!(writer.get("k").unwrap().value, b"1");
    assert_eq!(writer.one(delete("k", Condition::None)), Ok(Done::Deleted { existed: true }));
    assert_eq!(writer.get("k"), None);
}

#[test]
fn an_install_separates_what_came_before_it_from_what_came_after() {
    let writer = Harness::new();
    writer.send(1, Command::One(put("k", "1", Condition::None)));
    let result = writer.send_install(&Cluster::new(2, 1, |_| 0));
    writer.send(2, Command::One(put("k", "2", Condition::None)));
    result.blocking_recv().unwrap().unwrap();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        match content_of(writer.finished.recv().unwrap()) {
            Content::One { done: Done::Stored { version }, .. } => epochs.push(version.epoch),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(epochs, [1, 2]);
}

#[test]
fn a_batch_of_reads_carries_no_more_than_a_reply_holds() {
    let writer = Harness::new();
    let value = vec![7; REPLY_BYTES_MAX / 3];
    let put = Operation::Put { key: "k".into(), value: value.into(), condition: Condition::None };
    writer.one(put).unwrap();
    let reads = vec![Operation::Get { key: "k".into() }; 5];
    let Content::Batch(outcomes) = writer.call(Command::Batch(reads)) else { panic!() };
    let read = outcomes.iter().take_while(|it| matches!(it, Ok(Done::Read(Some(_))))).count();
    assert_eq!(read, 3);
    for outcome in &outcomes[read..] {
        assert_eq!(outcome.as_ref().unwrap_err().code, ErrorCode::Overloaded);
    }
}
