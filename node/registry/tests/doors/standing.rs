//! The standing: published before the document that names it, read with it, given back and removed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_consul::Read;
use kv_core::installed::Installed;
use kv_core::layout::{Assignments, LAYOUT_FORMAT_BEFORE, Layout, Table};
use kv_core::partition::{Partition, PartitionCount};
use kv_registry::Registry;
use kv_registry::gc::{COLLECTED_MAX, STANDINGS_MAX};
use uuid::Uuid;

use crate::support::{Opened, STRATEGY, layout, open, scripted_in_turn};

/// The table of two copies of each of four partitions, on the same two nodes.
fn both() -> Table {
    Table::new(&[0, 1, 1, 0, 0, 1, 1, 0], PartitionCount::new(4).unwrap(), 2, 2).unwrap()
}

/// A layout of this epoch by that table.
fn copies(epoch: u64) -> Layout {
    let mut copies = Layout { replicas: 2, ..layout(epoch, 0) };
    (copies.placement.replicas, copies.placement.table) = (2, both().digest());
    copies
}

fn rows(layout: &Layout) -> Assignments {
    Assignments::new(layout, &[both()]).unwrap()
}

/// The layout after the node 1 was evicted, or admitted where it is out.
fn turned(layout: &Layout) -> Layout {
    let rows = rows(layout);
    let all = (0..4).map(Partition).collect();
    layout.admit(&rows, 1, &all).or_else(|_| layout.evict(&rows, &[1], 0)).unwrap()
}

/// One that has read nothing before.
fn anew(it: &Opened) -> Registry {
    Registry::new(it.consul.clone(), "c".parse().unwrap())
}

async fn standings(it: &Opened) -> Vec<String> {
    it.consul.kv_keys("kv/c/standing/", Read::consistent()).await.unwrap().value
}

#[tokio::test]
async fn an_eviction_is_read_by_others() {
    let it = open().await;
    assert!(it.registry.create_layout(&copies(1)).await.unwrap());
    assert!(standings(&it).await.is_empty(), "all copies are in sync");
    let seen = it.registry.layout_now().await.unwrap().unwrap();
    let evicted = turned(&seen.value);
    assert!(it.registry.step_layout(&seen.value, seen.index, &evicted).await.unwrap());
    assert_eq!(standings(&it).await, [format!("kv/c/standing/{}", evicted.standing.digest())]);
    for registry in [&it.registry, &anew(&it)] {
        assert_eq!(registry.layout_now().await.unwrap().unwrap().value, evicted);
    }
    // Who was slower has changed nothing, though what it put there lies there.
    let late = seen.value.evict(&rows(&seen.value), &[0], 1).unwrap();
    assert!(!it.registry.step_layout(&seen.value, seen.index, &late).await.unwrap());
    assert_eq!(anew(&it).layout_now().await.unwrap().unwrap().value, evicted);
    assert_eq!(standings(&it).await.len(), 2);
}

#[tokio::test]
async fn a_standing_that_is_lost_is_told_and_a_node_gives_it_back() {
    let it = open().await;
    let evicted = turned(&copies(3));
    let (tables, strategies) = ([both().to_bytes()], vec![STRATEGY.to_vec()]);
    let spare = Uuid::from_u128(1234);
    let own = Installed::new(evicted.clone(), &tables, strategies, spare, None).unwrap();
    assert!(it.registry.restore_layout(&own, 0).await.unwrap());
    assert_eq!(anew(&it).layout_now().await.unwrap().unwrap().value, evicted);
    let key = format!("kv/c/standing/{}", evicted.standing.digest());
    for other in [None, Some(b"\x01\0\0\0")] {
        match other {
            None => it.consul.kv_delete(&key).await.unwrap(),
            Some(other) => it.consul.kv_put(&key, other).await.unwrap(),
        }
        let registry = anew(&it);
        let error = registry.layout_now().await.unwrap_err().to_string();
        assert!(error.contains("the standing is invalid"), "{error}");
        it.registry.restore_parts(&own).await.unwrap();
        assert_eq!(registry.layout_now().await.unwrap().unwrap().value, evicted);
    }
    // Among the past ones it is not without it either.
    it.consul.kv_delete(&key).await.unwrap();
    it.registry.keep_installed(&own).await.unwrap();
    assert_eq!(anew(&it).past_layouts_of(evicted.cluster, 9).await.unwrap(), [evicted]);
}

#[tokio::test]
async fn a_past_layout_is_published_again_with_its_standing() {
    let it = open().await;
    let evicted = turned(&copies(3));
    it.registry.keep_past_layout(&evicted).await.unwrap();
    it.registry.create_layout(&copies(5)).await.unwrap();
    let seen = it.registry.layout_now().await.unwrap().unwrap();
    let past = anew(&it).past_layouts_of(evicted.cluster, 9).await.unwrap().remove(0);
    let again = it.registry.republish_layout(&past, 6, seen.index).await.unwrap().unwrap();
    assert_eq!(anew(&it).layout_now().await.unwrap().unwrap().value, again);
    let view = rows(&again).view(Partition(0)).unwrap();
    assert_eq!((view.since, view.installed), (6, 6), "for all that a node can know");
    assert_eq!(view.row, rows(&evicted).row(Partition(0)).unwrap());
}

#[tokio::test]
async fn standings_of_the_past_go_however_often_nodes_come_and_go() {
    let it = open().await;
    let kept = turned(&copies(1));
    it.registry.keep_past_layout(&kept).await.unwrap();
    it.registry.create_layout(&copies(2)).await.unwrap();
    let mut counts = Vec::new();
    for _ in 0..STANDINGS_MAX + COLLECTED_MAX {
        let seen = it.registry.layout_now().await.unwrap().unwrap();
        let next = turned(&seen.value);
        assert!(it.registry.step_layout(&seen.value, seen.index, &next).await.unwrap());
        counts.push(standings(&it).await.len());
    }
    assert_eq!(counts.iter().max(), Some(&STANDINGS_MAX), "{counts:?}");
    let removed = counts.windows(2).filter_map(|it| it[0].checked_sub(it[1])).max();
    assert_eq!(removed, Some(COLLECTED_MAX - 1), "and one came");
    assert!(anew(&it).layout_now().await.unwrap().is_some());
    // As the mover does, once a rebalance has ended.
    for _ in 0..2 {
        it.registry.collect_garbage([&kept.placement; 2]).await.unwrap();
    }
    assert_eq!(standings(&it).await.len(), 2, "the present one, and the past one that is kept");
    assert_eq!(anew(&it).past_layouts_of(kept.cluster, 9).await.unwrap(), [kept]);
}

#[tokio::test]
async fn a_reader_that_is_late_for_a_standing_reads_the_layout_anew() {
    let entry = |layout: &Layout, index: u64| {
        let value = STANDARD.encode(layout.to_json());
        format!(
            r#"[{{"Key":"kv/c/layout","Value":"{value}","ModifyIndex":{index},"CreateIndex":7,"LockIndex":0}}]"#
        )
    };
    let part = |bytes: &[u8]| {
        let value = STANDARD.encode(bytes);
        format!(
            r#"[{{"Key":"kv/c/part","Value":"{value}","ModifyIndex":7,"CreateIndex":7,"LockIndex":0}}]"#
        )
    };
    let nothing = || "[]".to_owned();
    let evicted = turned(&copies(1));
    let [members, standing] = &evicted.blobs()[..] else { panic!("two") };
    let before = Layout { format: LAYOUT_FORMAT_BEFORE, ..layout(9, 0) };
    let answers = vec![entry(&evicted, 7), part(members), nothing(), nothing(), entry(&before, 8)];
    let found = scripted_in_turn(answers).layout_now().await.unwrap().unwrap();
    assert_eq!((found.value, found.index), (before, 8));
    // One that is the present one still lacks it.
    let lacks = vec![entry(&evicted, 7), part(members), nothing(), nothing(), entry(&evicted, 7)];
    let error = scripted_in_turn(lacks).layout_now().await.unwrap_err().to_string();
    assert!(error.contains("is missing in Consul"), "{error}");
    let whole = vec![entry(&evicted, 7), part(members), part(standing)];
    assert_eq!(scripted_in_turn(whole).layout_now().await.unwrap().unwrap().value, evicted);
}
