//! A move between two nodes, as their writers see it.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod support;

use kv_core::layout::Side;
use kv_core::limits::STREAM_RECORDS_MAX;
use kv_core::operation::{Condition, Done};
use kv_core::partition::{Partition, PartitionCount};
use kv_core::refusal::ErrorCode;
use kv_core::version::Version;
use kv_protocol::record_stream::{self, StreamRecord};
use kv_protocol::reply::{Content, Counted, Keys, MoveDigest, Page, Records};
use kv_protocol::request::{Command, Count, Digest, Fetch, Scan};
use kvnode::writer::{NotInstalled, Work};
use support::harness::{Harness, delete, get, put};
use support::{Cluster, PARTITIONS, uuid};

/// More than a few chunks and pages.
const KEYS: usize = 3000;

/// Node 0 has everything, and half of it is to go to node 1.
struct Scene {
    source: Harness,
    destination: Harness,
    cluster: Cluster,
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

fn moves(key: &str) -> bool {
    PartitionCount::new(PARTITIONS).unwrap().partition_of(key).0 >= PARTITIONS / 2
}

/// Keys of the half that moves.
fn moving() -> impl Iterator<Item = String> {
    (0..KEYS).map(key).filter(|key| moves(key))
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::new(1, 1, |_| 0);
        let [source, destination] = [0, 1].map(|node| {
            let directory = tempfile::tempdir().unwrap();
            Harness::start(node, directory, Some(cluster.install(node, None)), 0)
        });
        for chunk in (0..KEYS).collect::<Vec<_>>().chunks(1000) {
            let puts = chunk.iter().map(|it| put(&key(*it), "value", Condition::None)).collect();
            assert!(matches!(source.call(Command::Batch(puts)), Content::Batch(_)));
        }
        let begun = cluster.begin(2, |it| u32::from(it >= PARTITIONS / 2), &[]);
        Self { source, destination, cluster: begun }
    }

    fn step(mut self, step: impl Fn(&Cluster) -> Cluster) -> Self {
        self.cluster = step(&self.cluster);
        self.source.install(&self.cluster);
        self.destination.install(&self.cluster);
        self
    }

    fn prepared() -> Self {
        Self::new().step(|it| it.prepare(PARTITIONS))
    }

    fn opened() -> Self {
        Self::prepared().step(Cluster::open)
    }

    fn epoch(&self) -> u64 {
        self.cluster.layout.epoch
    }

    fn fetch(&self) -> Vec<Records> {
        let mut pages: Vec<Records> = Vec::new();
        loop {
            let after = pages.last().and_then(|page| page.next.clone()).map(Into::into);
            let fetch = Command::Fetch(Fetch { to: uuid(1), after });
            let Content::Records(page) = self.source.call_under(self.epoch(), fetch) else {
                panic!("the source gives no records")
            };
            let is_last = page.next.is_none();
            pages.push(page);
            if is_last {
                return pages;
            }
        }
    }

    fn copy(&self, page: &Records) -> Content {
        let (records, stream) = (page.records, page.stream.clone().into());
        self.destination.call_under(self.epoch(), Command::Copy { records, stream })
    }

    fn copy_all(&self) -> u32 {
        let copied = |page: &Records| match self.copy(page) {
            Content::Copied { copied } => copied,
            other => panic!("{other:?}"),
        };
        self.fetch().iter().map(copied).sum()
    }

    fn digests(&self) -> [MoveDigest; 2] {
        let ask = |node: &Harness, peer, side| {
            let digest = Digest { peer: uuid(peer), side, after: None, until: None };
            match node.call_under(self.epoch(), Command::Digest(digest)) {
                Content::Digest(digest) => digest,
                other => panic!("{other:?}"),
            }
        };
        [ask(&self.source, 1, Side::Source), ask(&self.destination, 0, Side::Destination)]
    }
}

fn code(content: Content) -> ErrorCode {
    match content {
        Content::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

fn stream(records: &[StreamRecord<'_>]) -> Command<'static> {
    let mut stream = Vec::new();
    records.iter().for_each(|record| record_stream::push(&mut stream, record));
    Command::Copy { records: u32::try_from(records.len()).unwrap(), stream: stream.into() }
}

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
    // The purge comes before the answer to what is asked after it was due.
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
fn the_place_is_clear_before_the_epoch_is_shown() {
    // Node 0 has records of everything, and becomes the destination of half of it.
    let Scene { source, .. } = Scene::new();
    let other = Cluster::new(1, 2, |it| u32::from(it >= PARTITIONS / 2));
    let frozen = other.begin(1, |_| 0, &[]).prepare(PARTITIONS);
    // As it stands after it died between storing the layout and clearing the place.
    let node = source.restart_with(0, Some(frozen.install(0, Some(&other.install(0, None)))), 0);
    assert_eq!((node.epoch(), node.keys()), (0, KEYS as u64), "nobody has said that he has them");
    node.confirm();
    assert_eq!((node.epoch(), node.keys()), (3, (KEYS - moving().count()) as u64));
    // And where it is told of it while it runs, before it has cleared what it must not have.
    let Scene { source, .. } = Scene::new();
    let stranger = source.restart_with(0, Some(other.install(0, None)), 0);
    stranger.install(&frozen);
    assert_eq!((stranger.epoch(), stranger.keys()), (1, KEYS as u64));
    // Who opens the window without waiting for this node, has it serve what is not there.
    let refused = stranger.send_install(&frozen.open()).blocking_recv().unwrap();
    assert!(matches!(refused, Err(NotInstalled::Unclear { epoch: 4, .. })), "{refused:?}");
    stranger.confirm();
    assert_eq!((stranger.epoch(), stranger.keys()), (3, (KEYS - moving().count()) as u64));
    assert_eq!(
        stranger.put(&moving().next().unwrap(), "v", Condition::None).unwrap_err().code,
        ErrorCode::Retry
    );
    stranger.install(&frozen.open());
    assert!(stranger.put(&moving().next().unwrap(), "v", Condition::None).is_ok());
}

#[test]
fn nothing_is_removed_before_another_node_has_confirmed_it() {
    // A move that was settled without having been verified is none.
    let scene = Scene::opened();
    scene.copy_all();
    let scene = scene.step(|it| it.settle(None));
    let halves = PARTITIONS as usize / 2;
    assert_eq!((scene.source.unconfirmed(), scene.source.kept()), (0, halves));
    let scene = Scene::opened();
    scene.copy_all();
    scene.digests();
    // That it was verified, is known after a restart too.
    let source = scene.source.restart();
    let scene = Scene { source, ..scene }.step(|it| it.settle(None));
    let source = &scene.source;
    assert_eq!((source.unconfirmed(), source.kept()), (halves, 0));
    // What was confirmed in an earlier epoch may be of an earlier time.
    let partitions: Vec<_> = (0..PARTITIONS).map(Partition).collect();
    let confirm = |epoch, partitions: &[Partition]| {
        let partitions = partitions.to_vec();
        source.work.as_ref().unwrap().send(Work::Confirmed { epoch, partitions }).unwrap();
        source.call(Command::Batch(Vec::new()));
    };
    confirm(scene.epoch() - 1, &partitions);
    assert_eq!(source.unconfirmed(), PARTITIONS as usize / 2);
    assert_eq!(source.keys(), KEYS as u64);
    // One that the node owns itself is no matter of others.
    confirm(scene.epoch(), &partitions[..PARTITIONS as usize / 2 + 1]);
    assert_eq!(source.unconfirmed(), PARTITIONS as usize / 2 - 1);
    source.wait_until_clear();
    assert_eq!(source.keys(), (KEYS - moving().count()) as u64);
}

/// Three writes to Consul are enough to publish a layout that names others.
#[test]
fn what_was_never_handed_over_is_kept_and_served_again() {
    let cluster = Cluster::new(1, 1, |_| 0);
    let start = |directory| Harness::start(0, directory, Some(cluster.install(0, None)), 0);
    let node = start(tempfile::tempdir().unwrap());
    let all: Vec<_> = (0..100).map(|it| put(&key(it), "value", Condition::None)).collect();
    node.call(Command::Batch(all));
    let forged = Cluster::new(1001, 2, |_| 1);
    let to_here = Cluster::new(2001, 2, |_| 1).begin(1, |_| 0, &[]).prepare(PARTITIONS);
    node.install(&forged);
    for cluster in [&forged, &to_here] {
        if cluster.layout.epoch > 1001 {
            node.install(cluster);
            assert_eq!(node.epoch(), 1001, "its place is not clear");
        }
        assert_eq!((node.unconfirmed(), node.kept()), (0, PARTITIONS as usize));
        node.confirm();
        assert_eq!(node.keys(), 100);
        let refused = node.one(get(&key(1))).unwrap_err().code;
        assert!(matches!(refused, ErrorCode::NotOwner | ErrorCode::Retry), "{refused:?}");
    }
    let opened = node.send_install(&to_here.open()).blocking_recv().unwrap();
    assert!(matches!(opened, Err(NotInstalled::Unclear { .. })), "{opened:?}");
    let node = node.restart();
    assert_eq!((node.keys(), node.kept()), (100, PARTITIONS as usize));
    node.install(&Cluster::new(3001, 1, |_| 0));
    assert_eq!((node.epoch(), node.kept()), (3001, 0));
    assert!((0..100).all(|number| node.get(&key(number)).is_some()));
}

#[test]
fn clearing_goes_on_under_constant_load_and_after_a_restart() {
    let scene = Scene::opened();
    scene.copy_all();
    scene.digests();
    let scene = scene.step(|it| it.settle(None));
    let kept = (0..KEYS).map(key).find(|key| !moves(key)).unwrap();
    let mut request_number = 0;
    scene.source.confirm();
    // There is always more than one request waiting.
    while scene
        .source
        .published
        .statistics
        .partitions_to_clear
        .load(std::sync::atomic::Ordering::Relaxed)
        > 0
    {
        for _ in 0..4 {
            request_number += 1;
            scene.source.send(request_number, Command::One(put(&kept, "v", Condition::None)));
        }
        for _ in 0..2 {
            scene.source.finished.recv().unwrap();
        }
        assert!(request_number < 1_000_000, "the clearing makes no progress");
    }
    assert_eq!(scene.source.keys(), (KEYS - moving().count()) as u64);

    // What is left when a node stops, it finds when it starts.
    let Scene { source, .. } = Scene::new();
    let other = Cluster::new(1, 2, |it| u32::from(it >= PARTITIONS / 2));
    let node = source.restart_with(0, Some(other.install(0, None)), 0);
    node.wait_until_clear();
    assert_eq!(node.keys(), (KEYS - moving().count()) as u64);
}

#[test]
fn a_damaged_page_does_not_keep_the_rest_from_being_cleared() {
    let Scene { mut source, .. } = Scene::new();
    source.stop();
    support::damage(&source.directory.path().join("store"));
    let other = Cluster::new(1, 2, |_| 1);
    let node = source.restart_with(0, Some(other.install(0, None)), 0);
    node.wait_until_clear();
    assert!(node.keys() < KEYS as u64 / 4, "{} keys are left", node.keys());
    assert_eq!(node.put("key", "v", Condition::None).unwrap_err().code, ErrorCode::NotOwner);
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
    // A scan of the node as a whole leaves out what is moving.
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
