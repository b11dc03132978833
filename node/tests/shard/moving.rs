//! A move between two nodes, as their writers see it.

use crate::support::PARTITIONS;
use crate::support::harness::{delete, get, put};
use crate::support::scene::{KEYS, Scene, code, key, moves, moving, stream};
use kv_core::limits::STREAM_RECORDS_MAX;
use kv_core::operation::{Condition, Done};
use kv_core::partition::{Partition, PartitionCount};
use kv_core::refusal::ErrorCode;
use kv_core::version::Version;
use kv_protocol::record_stream::StreamRecord;
use kv_protocol::reply::{Content, Counted, Keys, MoveDigest, Page};
use kv_protocol::request::{Command, Count, Scan};

#[test]
fn a_move_ends_with_every_record_at_one_place() {
    let scene = Scene::opened();
    let all = moving().count() as u32;
    let pages = scene.fetch();
    assert!(pages.len() > 1 && pages.iter().all(|it| it.records as usize <= STREAM_RECORDS_MAX));
    assert_eq!(scene.copy_all(), all);
    assert_eq!(scene.copy_all(), 0, "what is there already is not copied again");
    let [source, destination] = scene.digests();
    assert_eq!(source, destination);
    assert_eq!(source.partitions.iter().map(|it| it.records).sum::<u64>(), u64::from(all));
    let scene = scene.step(|it| it.settle(None));
    for key in moving() {
        assert!(scene.destination.get(&key).is_some(), "{key}");
        let refusal = scene.source.one(get(&key)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotOwner);
    }
    scene.source.wait_until_clear();
    assert_eq!(scene.source.keys() + scene.destination.keys(), KEYS as u64);
    let Content::Keys(Keys { keys, next: None }) =
        scene.source.call(Command::Stored { after: None })
    else {
        panic!("the source does not tell what it has stored")
    };
    assert!(keys.len() as u64 == scene.source.keys() && !keys.iter().any(|key| moves(key)));
}

#[test]
fn what_is_written_while_it_moves_is_what_counts() {
    let scene = Scene::opened();
    let epoch = scene.epoch();
    let keys: Vec<String> = moving().take(6).collect();
    let [written, deleted, buried, gone, conditional, fresh] = &keys[..] else { panic!() };
    let at = &scene.destination;
    // Before the copy: only what needs no knowledge can be done.
    at.one_under(epoch, put(written, "new", Condition::None)).unwrap();
    let refusals =
        [get(deleted), delete(deleted, Condition::None), put(deleted, "new", Condition::Absent)];
    for operation in refusals {
        assert_eq!(at.one_under(epoch, operation).unwrap_err().code, ErrorCode::NotCopied);
    }
    // A key is promoted: as nothing, and as the record that the source has.
    let nothing = Version { epoch: 0, sequence: 0 };
    let tombstone = StreamRecord { key: buried, version: nothing, value: None };
    assert_eq!(at.call_under(epoch, stream(&[tombstone])), Content::Copied { copied: 1 },);
    assert_eq!(at.one_under(epoch, get(buried)), Ok(Done::Read(None)));
    assert_eq!(
        at.one_under(epoch, delete(buried, Condition::None)),
        Ok(Done::Deleted { existed: false })
    );
    let Done::Read(Some(record)) = scene.source.one_under(epoch, get(gone)).unwrap() else {
        panic!()
    };
    let version = record.version.unwrap();
    let promoted = StreamRecord { key: gone, version, value: Some(&record.value) };
    assert_eq!(at.call_under(epoch, stream(&[promoted])), Content::Copied { copied: 1 });
    assert_eq!(
        at.one_under(epoch, delete(gone, Condition::Version(version))),
        Ok(Done::Deleted { existed: true })
    );
    // The copy changes none of that.
    assert_eq!(scene.copy_all() as usize, moving().count() - 3);
    assert_eq!(at.get(written).unwrap().value, b"new");
    assert_eq!((at.get(buried), at.get(gone)), (None, None));
    let second = at.one_under(epoch, put(conditional, "2", Condition::Absent)).unwrap_err();
    assert_eq!(second.code, ErrorCode::Conflict);
    let found = Condition::Version(second.version.unwrap());
    let Done::Stored { version } = at.one_under(epoch, put(conditional, "2", found)).unwrap()
    else {
        panic!()
    };
    assert_eq!(version.epoch, epoch);
    at.one_under(epoch, delete(fresh, Condition::None)).unwrap();
    at.one_under(epoch, put(fresh, "again", Condition::Absent)).unwrap();
    let [source, destination] = scene.digests();
    let mut listed = destination.written.clone();
    let mut expected = [written, buried, gone, conditional, fresh].map(String::clone);
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    let sum = |digest: &MoveDigest| digest.partitions.iter().map(|it| it.records).sum::<u64>();
    assert_eq!(sum(&destination), sum(&source) - 5);
    let Content::Page(Page { items, mut deleted, .. }) = at.call_under(
        epoch,
        Command::Scan(Scan {
            partition: Some(PartitionCount::new(PARTITIONS).unwrap().partition_of(gone)),
            prefix: gone.clone().into(),
            ..Scan::default()
        }),
    ) else {
        panic!()
    };
    deleted.retain(|key| key == gone);
    assert_eq!((items.iter().filter(|(key, _)| key == gone).count(), deleted.len()), (0, 1));

    // Once it is settled, tombstones are nothing, and soon there are none.
    let mut scene = scene.step(|it| it.settle(None));
    let at = &scene.destination;
    assert_eq!((at.get(buried), at.get(gone)), (None, None));
    assert!(at.put(gone, "anew", Condition::Absent).is_ok());
    at.one(delete(gone, Condition::None)).unwrap();
    let keys = scene.destination.keys();
    let counters = scene.destination.stop().unwrap();
    assert_eq!(counters.keys, keys);
    let mut destination = scene.destination.restart_with(1, None, 0);
    // The purge comes before the answer to a request that was sent after it was due.
    for _ in 0..200 {
        assert!(destination.get(written).is_some());
    }
    assert_eq!(destination.stop().unwrap().tombstones, 0);
}

#[test]
fn a_copy_is_taken_in_its_own_epoch_and_place_only() {
    let scene = Scene::opened();
    let epoch = scene.epoch();
    let key = moving().next().unwrap();
    let stays = (0..KEYS).map(self::key).find(|key| !moves(key)).unwrap();
    let old = Version { epoch: 1, sequence: 1 };
    let record = StreamRecord { key: &key, version: old, value: Some(b"x") };
    let at = &scene.destination;
    assert_eq!(code(at.call_under(None, stream(&[record]))), ErrorCode::BadRequest);
    assert_eq!(code(at.call_under(epoch - 1, stream(&[record]))), ErrorCode::StaleEpoch);
    assert_eq!(code(at.call_under(epoch + 1, stream(&[record]))), ErrorCode::Retry);
    let elsewhere = StreamRecord { key: &stays, ..record };
    assert_eq!(code(at.call_under(epoch, stream(&[record, elsewhere]))), ErrorCode::NotOwner);
    assert_eq!(code(scene.source.call_under(epoch, stream(&[record]))), ErrorCode::NotOwner);
    let from_now = StreamRecord { version: Version { epoch, sequence: 1 }, ..record };
    assert_eq!(code(at.call_under(epoch, stream(&[from_now]))), ErrorCode::BadRequest);
    let Command::Copy { stream: bytes, .. } = stream(&[record]) else { panic!() };
    let too_few = Command::Copy { records: 2, stream: bytes.clone() };
    assert_eq!(code(at.call_under(epoch, too_few)), ErrorCode::BadRequest);
    let cut = Command::Copy { records: 1, stream: bytes[..bytes.len() - 1].to_vec().into() };
    assert_eq!(code(at.call_under(epoch, cut)), ErrorCode::BadRequest);
    // Nothing of all that has been stored.
    assert_eq!(at.one_under(epoch, get(&key)).unwrap_err().code, ErrorCode::NotCopied);
    let twice = at.call_under(epoch, stream(&[record, record]));
    assert_eq!(twice, Content::Copied { copied: 1 });
    // Once it is settled, nothing is copied any more.
    let scene = scene.step(|it| it.settle(None));
    for epoch in [epoch, scene.epoch()] {
        let refused = code(scene.destination.call_under(epoch, stream(&[record])));
        assert!(matches!(refused, ErrorCode::StaleEpoch | ErrorCode::NotOwner), "{refused:?}");
    }
}

#[test]
fn a_full_disk_takes_no_copies() {
    let scene = Scene::opened();
    let pages = scene.fetch();
    let (cluster, source) = (scene.cluster, scene.source);
    let destination = scene.destination.restart_with(1, None, u64::MAX);
    let scene = Scene { source, destination, cluster };
    assert_eq!(code(scene.copy(&pages[0])), ErrorCode::DiskFull);
}

#[test]
fn sizes_and_pages_cover_what_is_owned() {
    let scene = Scene::opened();
    let epoch = scene.epoch();
    let partitions: Vec<_> = (0..PARTITIONS).map(Partition).collect();
    let Content::Count(Counted { partitions: sizes, next: None }) =
        scene.source.call_under(epoch, Command::Count(Count { partitions: partitions.clone() }))
    else {
        panic!()
    };
    assert_eq!(sizes.iter().map(|it| it.keys).sum::<u64>(), KEYS as u64);
    let bytes: usize = (0..KEYS).map(|number| key(number).len() + "value".len()).sum();
    assert_eq!(sizes.iter().map(|it| it.bytes).sum::<u64>(), bytes as u64);
    let refused = scene.destination.call_under(epoch, Command::Count(Count { partitions }));
    assert_eq!(code(refused), ErrorCode::NotOwner);
    // A scan of the node as a whole leaves out the partitions that are moving.
    let mut seen = 0;
    let mut after = None;
    loop {
        let scan = Scan { from: Some(Partition(2)), after, ..Scan::default() };
        let Content::Page(page) = scene.source.call_under(epoch, Command::Scan(scan)) else {
            panic!()
        };
        seen += page.items.len();
        assert!(page.items.iter().all(|(key, _)| !moves(key)));
        let Some(next) = page.next else { break };
        after = Some(next.into());
    }
    let expected: u64 = sizes[2..8].iter().map(|it| it.keys).sum();
    assert_eq!(seen as u64, expected);
    for command in [Command::GetAll, Command::Scan(Scan::default())] {
        assert_eq!(code(scene.source.call(command)), ErrorCode::Retry);
    }
}
