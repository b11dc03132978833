//! The small documents: claims, desired states, the nodes that have left, the mover's lock.

use std::time::Duration;

use kv_core::name::Name;
use kv_registry::claim::Claim;
use kv_registry::desired_state::DesiredState;
use kv_registry::leavers::Leaver;
use kv_registry::{Place, ReadLeaversError, Versioned};
use uuid::Uuid;

use crate::support::open;

const UUID: Uuid = Uuid::from_u128(7);

fn node() -> Name {
    "node-1".parse().unwrap()
}

#[tokio::test]
async fn a_claim_is_taken_only_from_the_one_that_was_seen() {
    let it = open().await;
    let free = it.registry.claim_now(&node()).await.unwrap();
    assert_eq!(free, Versioned { value: None, index: 0 });
    assert!(it.registry.set_claim(&node(), &Claim::of(UUID), 0).await.unwrap());
    assert!(!it.registry.set_claim(&node(), &Claim::of(Uuid::nil()), 0).await.unwrap());
    let seen = it.registry.claim_now(&node()).await.unwrap();
    assert_eq!(seen.value, Some(Claim::of(UUID)));
    assert_eq!(it.registry.claims().await.unwrap(), [Claim::of(UUID)]);
    it.consul.kv_put("kv/c/nodes/node-1", b"{}").await.unwrap();
    assert!(!it.registry.remove_claim(&node(), seen.index).await.unwrap(), "it has changed");
    let strange = it.registry.claim_now(&node()).await.unwrap();
    assert!(strange.value.is_none() && strange.index > seen.index, "it is to be replaced");
    assert!(it.registry.claims().await.unwrap().is_empty());
    assert_eq!(it.registry.claimed_ids().await.unwrap(), ["node-1"]);
    assert!(it.registry.remove_claim(&node(), strange.index).await.unwrap());
}

#[tokio::test]
async fn what_is_desired_is_followed_and_changed_by_compare_and_set() {
    let it = open().await;
    let mut changes = it.registry.desired_changes().unwrap();
    assert!(changes.next().await.unwrap().states.is_empty());
    let stop = DesiredState::Stopped { uuid: UUID };
    assert!(it.registry.set_desired(&node(), &stop, 0).await.unwrap());
    let desired = changes.next().await.unwrap();
    let seen = desired.states[&node()].clone();
    assert_eq!(seen.value, stop);
    assert!(!it.registry.set_desired(&node(), &stop, 0).await.unwrap());
    it.consul.kv_put("kv/c/desired/node-1", b"{}").await.unwrap();
    let desired = changes.next().await.unwrap();
    assert!(desired.states.is_empty() && desired.strange.len() == 1, "{desired:?}");
    assert!(!it.registry.remove_desired(&node(), seen.index).await.unwrap(), "it has changed");
    let strange = it.registry.desired(&node()).await.unwrap();
    assert!(strange.value.is_none() && strange.index > seen.index);
    assert_eq!(it.registry.desired_ids().await.unwrap(), ["node-1"]);
    assert!(it.registry.all_desired().await.unwrap().states.is_empty());
    assert!(it.registry.remove_desired(&node(), strange.index).await.unwrap());
}

#[tokio::test]
async fn the_list_of_leavers_is_gone_where_it_is_empty_and_of_one_format() {
    let it = open().await;
    let leaver = Leaver { id: node(), uuid: UUID, cluster: Uuid::nil(), epoch: 3, dead: false };
    assert_eq!(it.registry.leavers().await.unwrap(), Versioned::default());
    assert!(it.registry.set_leavers(vec![leaver.clone()], 0).await.unwrap());
    let seen = it.registry.leavers().await.unwrap();
    assert_eq!(seen.value, [leaver]);
    assert!(!it.registry.set_leavers(Vec::new(), seen.index + 1).await.unwrap());
    assert!(it.registry.set_leavers(Vec::new(), seen.index).await.unwrap());
    assert_eq!(it.registry.leavers().await.unwrap(), Versioned::default());
    for (strange, problem) in [(&br#"{"format":2,"nodes":[]}"#[..], "format 2"), (b"x", "expected")]
    {
        it.consul.kv_put("kv/c/leaving", strange).await.unwrap();
        let error = it.registry.leavers().await.unwrap_err();
        assert!(matches!(error, ReadLeaversError::NotUnderstood { .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test]
async fn one_mover_at_a_time_has_the_lock() {
    let it = open().await;
    let session = async |name| it.registry.mover_session(name, Duration::from_secs(10)).await;
    let (first, second) = (session("a").await.unwrap(), session("b").await.unwrap());
    assert!(it.registry.mover().await.unwrap().is_none());
    assert!(it.registry.lock_mover(b"1", &first).await.unwrap());
    assert!(!it.registry.lock_mover(b"2", &second).await.unwrap());
    assert!(it.registry.lock_mover(b"3", &first).await.unwrap(), "it tells how far it is");
    let held = it.registry.mover().await.unwrap().unwrap();
    assert_eq!((held.progress, held.session), (b"3".to_vec(), Some(first.clone())));
    it.consul.session_destroy(&first).await.unwrap();
    assert!(it.registry.lock_mover(b"2", &second).await.unwrap());
}

#[tokio::test]
async fn places_are_the_documented_keys_and_asking_for_them_writes_nothing() {
    let it = open().await;
    let places = [
        (Place::Layout, "kv/c/layout"),
        (Place::Leavers, "kv/c/leaving"),
        (Place::Desired(node()), "kv/c/desired/node-1"),
        (Place::Claim(node()), "kv/c/nodes/node-1"),
    ];
    for (place, key) in places {
        assert_eq!(it.registry.key_of(&place), key);
        it.registry.check_writable(&place).await.unwrap();
    }
    assert!(it.consul.kv_keys("kv/c/", kv_consul::Read::default()).await.unwrap().value.is_empty());
}
