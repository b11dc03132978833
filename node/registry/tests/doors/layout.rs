use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_consul::{ConsulError, Read, VALUE_BYTES_MAX};
use kv_core::layout::{LAYOUT_FORMAT, LAYOUT_FORMAT_BEFORE, Layout, LayoutError};
use kv_registry::{ReadLayoutError, Registry, StepLayoutError};

use crate::support::{installed, layout, open, scripted};

#[tokio::test]
async fn a_cluster_has_no_layout_until_one_is_created_and_that_once() {
    let it = open().await;
    assert!(it.registry.layout_now().await.unwrap().is_none());
    assert!(it.registry.create_layout(&layout(1, 0)).await.unwrap());
    assert!(!it.registry.create_layout(&layout(1, 1)).await.unwrap(), "there is one");
    assert_eq!(it.registry.layout_now().await.unwrap().unwrap().value, layout(1, 0));
    let raw = it.consul.kv_get("kv/c/layout", Read::default()).await.unwrap().value.unwrap();
    assert_eq!(raw.value, layout(1, 0).to_json(), "the key and the format are the documented ones");
}

#[tokio::test]
async fn of_two_that_take_a_step_from_one_layout_one_loses() {
    let it = open().await;
    it.registry.create_layout(&layout(1, 0)).await.unwrap();
    let seen = it.registry.layout_now().await.unwrap().unwrap();
    let begun = seen.value.begin(layout(1, 1).placement, vec![]).unwrap();
    let other = seen.value.begin(layout(1, 0).placement, vec![]).unwrap();
    assert!(it.registry.step_layout(&seen.value, seen.index, &begun).await.unwrap());
    assert!(!it.registry.step_layout(&seen.value, seen.index, &other).await.unwrap());
    assert_eq!(it.registry.layout_now().await.unwrap().unwrap().value, begun);
}

#[tokio::test]
async fn what_no_step_leads_to_is_not_written() {
    let it = open().await;
    it.registry.create_layout(&layout(1, 0)).await.unwrap();
    let seen = it.registry.layout_now().await.unwrap().unwrap();
    let made_up = layout(2, 1);
    let error = it.registry.step_layout(&seen.value, seen.index, &made_up).await.unwrap_err();
    assert!(matches!(error, StepLayoutError::NoStep { from: 1, to: 2 }), "{error}");
    assert_eq!(it.registry.layout_now().await.unwrap(), Some(seen));
}

#[tokio::test]
async fn what_is_no_layout_is_told_and_can_be_replaced() {
    let it = open().await;
    for (strange, problem) in [(&b"{}"[..], "format"), (b"\xff", "not understood"), (b"", "EOF")] {
        it.consul.kv_put("kv/c/layout", strange).await.unwrap();
        let error = it.registry.layout_now().await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("kv/c/layout in Consul: ") && text.contains(problem), "{text}");
        let found = it.registry.layout_as_found(Read::consistent()).await.unwrap().value.unwrap();
        assert!(found.value.is_err());
        let published = it.registry.republish_layout(&layout(1, 0), 9, found.index).await.unwrap();
        assert_eq!(published, Some(Layout { epoch: 9, ..layout(1, 0) }));
        assert_eq!(it.registry.layout_now().await.unwrap().unwrap().value.epoch, 9);
        let late = it.registry.republish_layout(&layout(1, 0), 10, found.index).await.unwrap();
        assert_eq!(late, None, "another one was faster");
    }
}

#[tokio::test]
async fn a_document_that_no_program_writes_is_refused_before_it_is_parsed() {
    // It names no list of members, which would have to be asked for.
    let inline = Layout { format: LAYOUT_FORMAT_BEFORE, ..layout(1, 0) };
    let mut document = inline.to_json();
    document.resize(VALUE_BYTES_MAX, b' ');
    let answer = |document: &[u8]| {
        let value = STANDARD.encode(document);
        format!(
            r#"[{{"Key":"kv/c/layout","Value":"{value}","ModifyIndex":7,"CreateIndex":7,"LockIndex":0}}]"#
        )
    };
    let longest = scripted(answer(&document)).layout_now().await.unwrap().unwrap();
    assert_eq!((longest.value, longest.index), (inline, 7));
    document.push(b' ');
    match scripted(answer(&document)).layout_now().await {
        Err(ReadLayoutError::Unreadable { source: LayoutError::Invalid(problem), .. }) => {
            assert!(problem.contains(&document.len().to_string()), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_consul_would_not_take_is_not_sent() {
    let it = open().await;
    let mut large = layout(1, 0);
    large.placement.strategy.config = "c".repeat(VALUE_BYTES_MAX);
    let error = it.registry.create_layout(&large).await.unwrap_err();
    assert!(matches!(error, ConsulError::ValueTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_node_gives_back_what_consul_has_lost_and_no_more() {
    let it = open().await;
    let own = installed(3, 0);
    assert!(it.registry.restore_layout(&own, 0).await.unwrap());
    assert_eq!(it.registry.layout_now().await.unwrap().unwrap().value, own.layout);
    assert_eq!(it.consul.kv_keys("kv/c/", Read::default()).await.unwrap().value.len(), 4);
    // Another node was faster, and the cluster has gone on since.
    let seen = it.registry.layout_now().await.unwrap().unwrap();
    let begun = seen.value.begin(layout(1, 1).placement, vec![]).unwrap();
    assert!(it.registry.step_layout(&seen.value, seen.index, &begun).await.unwrap());
    assert!(!it.registry.restore_layout(&own, seen.index).await.unwrap());
    assert_eq!(it.registry.layout_now().await.unwrap().unwrap().value, begun);
}

#[tokio::test]
async fn a_layout_whose_members_are_lost_is_told_and_a_node_gives_them_back() {
    let it = open().await;
    let own = installed(3, 0);
    assert!(it.registry.create_layout(&own.layout).await.unwrap());
    let keys = it.consul.kv_keys("kv/c/members/", Read::default()).await.unwrap().value;
    let [key] = &keys[..] else { panic!("{keys:?}") };
    for other in [None, Some(b"[]")] {
        match other {
            None => it.consul.kv_delete(key).await.unwrap(),
            Some(other) => it.consul.kv_put(key, other).await.unwrap(),
        }
        // One that has not read them before.
        let registry = Registry::new(it.consul.clone(), "c".parse().unwrap());
        let error = registry.layout_now().await.unwrap_err();
        assert!(error.to_string().contains("the members are invalid"), "{error}");
        it.registry.restore_parts(&own).await.unwrap();
        assert_eq!(registry.layout_now().await.unwrap().unwrap().value, own.layout);
    }
}

#[tokio::test]
async fn a_layout_of_the_format_before_is_read_and_taken_over() {
    let it = open().await;
    let before = Layout { format: LAYOUT_FORMAT_BEFORE, ..layout(1, 0) };
    it.consul.kv_put("kv/c/layout", &before.to_json()).await.unwrap();
    let seen = it.registry.layout_now().await.unwrap().unwrap();
    assert_eq!(seen.value, before);
    let next = before.upgrade().unwrap();
    assert!(it.registry.step_layout(&before, seen.index, &next).await.unwrap());
    let registry = Registry::new(it.consul.clone(), "c".parse().unwrap());
    let found = registry.layout_now().await.unwrap().unwrap().value;
    assert_eq!(found, Layout { epoch: 2, format: LAYOUT_FORMAT, ..before });
}

#[tokio::test]
async fn changes_wake_those_who_wait() {
    let it = open().await;
    it.registry.create_layout(&layout(1, 0)).await.unwrap();
    let seen = it.registry.layout(Read::consistent()).await.unwrap();
    let mut changes = it.registry.layout_changes().unwrap();
    changes.next().await.unwrap();
    let waiting = it.registry.await_layout(seen.index, Duration::from_secs(30));
    let stepping = async {
        let seen = seen.value.unwrap();
        let begun = seen.value.begin(layout(1, 1).placement, vec![]).unwrap();
        it.registry.step_layout(&seen.value, seen.index, &begun).await.unwrap()
    };
    let within = Duration::from_secs(20);
    let (waited, changed, stepped) =
        tokio::time::timeout(within, async { tokio::join!(waiting, changes.next(), stepping) })
            .await
            .unwrap();
    waited.unwrap();
    changed.unwrap();
    assert!(stepped);
}
