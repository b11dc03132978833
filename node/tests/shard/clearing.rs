//! What a node removes, and what it keeps, after partitions have moved.

use crate::support::harness::{Harness, get, put};
use crate::support::scene::{KEYS, Scene, key, moves, moving};
use crate::support::{Cluster, PARTITIONS};
use kv_core::operation::Condition;
use kv_core::partition::Partition;
use kv_core::refusal::ErrorCode;
use kv_protocol::request::Command;
use kvnode::writer::{NotInstalled, Work};

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
    // A mover that opens the window without waiting for this node has it serve records that it lacks.
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
    confirm(scene.epoch(), &partitions[..=(PARTITIONS as usize / 2)]);
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

    // A node that starts finds its leftovers from before.
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
    crate::support::damage(&source.directory.path().join("store"));
    let other = Cluster::new(1, 2, |_| 1);
    let node = source.restart_with(0, Some(other.install(0, None)), 0);
    node.wait_until_clear();
    assert!(node.keys() < KEYS as u64 / 4, "{} keys are left", node.keys());
    assert_eq!(node.put("key", "v", Condition::None).unwrap_err().code, ErrorCode::NotOwner);
}
