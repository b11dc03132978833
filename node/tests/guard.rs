//! The rules by which a node refuses what it does not own.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use kv_protocol::digest::Digest;
use kv_protocol::layout::{LAYOUT_FORMAT, Layout, Member, Placement, StrategyPin, Table};
use kv_protocol::partition::{Partition, PartitionCount};
use kv_protocol::refusal::ErrorCode;
use kv_protocol::request::Context;
use kvnode::guard::{Guard, Installed, Verdict};
use kvnode::installed_record;
use uuid::Uuid;

const STRATEGY: &[u8] = b"not run by nodes";
const OWN: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const CLUSTER: Uuid = Uuid::from_u128(99);

/// A layout in which the first member, `OWN`, has the even partitions.
fn layout(epoch: u64) -> (Layout, Vec<u8>) {
    let partitions = PartitionCount::new(16).unwrap();
    let owners: Vec<u32> = (0..16).map(|partition| partition % 2).collect();
    let table = Table::new(&owners, partitions, 1, 2).unwrap();
    let member =
        |id: &str, uuid| Member { id: id.parse().unwrap(), uuid, weight: 1, zone: String::new() };
    let layout = Layout {
        format: LAYOUT_FORMAT,
        cluster: CLUSTER,
        epoch,
        partitions,
        replicas: 1,
        placement: Placement {
            strategy: StrategyPin {
                name: "test".into(),
                sha256: Digest::of(STRATEGY),
                config: String::new(),
            },
            members: vec![member("node-0", OWN), member("node-1", OTHER)],
            table: table.digest(),
        },
        rebalance: None,
    };
    (layout, table.to_bytes())
}

fn installed(epoch: u64, uuid: Uuid) -> Installed {
    let (layout, table) = layout(epoch);
    Installed::new(layout, &table, STRATEGY.to_vec(), uuid).unwrap()
}

fn guard(epoch: u64) -> Guard {
    Guard::new(OWN, Some(installed(epoch, OWN)))
}

fn refused(guard: &Guard, context: Context) -> ErrorCode {
    guard.admit(&context).unwrap_err().code
}

#[test]
fn a_node_without_a_layout_owns_nothing() {
    let guard = Guard::new(OWN, None);
    assert_eq!(refused(&guard, Context::default()), ErrorCode::NoLayout);
    assert_eq!(guard.judge(&layout(1).0), Verdict::Install);
}

#[test]
fn a_client_that_states_nothing_is_served_as_current() {
    let guard = guard(3);
    let admitted = guard.admit(&Context::default()).unwrap();
    assert_eq!(admitted.epoch(), 3);
    assert!(admitted.check_partition(Partition(2)).is_ok());
    let refusal = admitted.check_partition(Partition(3)).unwrap_err();
    assert_eq!((refusal.code, refusal.epoch), (ErrorCode::NotOwner, Some(3)));
    assert!(refusal.message.contains("node-1"), "{}", refusal.message);
    assert_eq!(admitted.check_partition(Partition(16)).unwrap_err().code, ErrorCode::BadRequest);
}

#[test]
fn what_a_client_believes_must_be_so() {
    let guard = guard(3);
    let context = Context { cluster: Some(CLUSTER), node: Some(OWN), epoch: Some(3) };
    assert!(guard.admit(&context).is_ok());
    for (context, code) in [
        (Context { node: Some(OTHER), ..context }, ErrorCode::WrongNode),
        (Context { cluster: Some(OTHER), ..context }, ErrorCode::WrongCluster),
        (Context { epoch: Some(2), ..context }, ErrorCode::StaleEpoch),
        (Context { epoch: Some(4), ..context }, ErrorCode::Retry),
    ] {
        assert_eq!(refused(&guard, context), code);
    }
}

#[test]
fn a_node_that_is_no_member_owns_nothing() {
    let stranger = Uuid::from_u128(3);
    let guard = Guard::new(stranger, Some(installed(1, stranger)));
    let admitted = guard.admit(&Context::default()).unwrap();
    for partition in 0..16 {
        let refusal = admitted.check_partition(Partition(partition)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotOwner);
    }
    assert_eq!(guard.installed().unwrap().summary().partitions_owned, 0);
}

#[test]
fn only_a_newer_layout_of_the_same_cluster_is_installed() {
    let guard = guard(3);
    assert_eq!(guard.judge(&layout(4).0), Verdict::Install);
    assert_eq!(guard.judge(&layout(3).0), Verdict::Current);
    assert_eq!(guard.judge(&layout(2).0), Verdict::Restore);
    let foreign = Layout { cluster: OTHER, ..layout(9).0 };
    assert!(matches!(guard.judge(&foreign), Verdict::Refuse(_)));
    let mut forked = layout(3).0;
    forked.placement.members[1].weight = 2;
    assert!(matches!(guard.judge(&forked), Verdict::Refuse(_)));
}

#[test]
fn only_the_named_table_and_strategy_are_installed() {
    let (layout, table) = layout(1);
    let mut other_table = table.clone();
    other_table[0] ^= 1;
    assert!(Installed::new(layout.clone(), &other_table, STRATEGY.to_vec(), OWN).is_err());
    assert!(Installed::new(layout.clone(), &table[2..], STRATEGY.to_vec(), OWN).is_err());
    assert!(Installed::new(layout, &table, b"other".to_vec(), OWN).is_err());
}

#[test]
fn an_installed_layout_survives_its_record() {
    let original = installed(7, OWN);
    let bytes = installed_record::encode(&original);
    let restored = installed_record::decode(&bytes, OWN).unwrap();
    assert_eq!(restored.layout, original.layout);
    assert_eq!(restored.table, original.table);
    assert_eq!(restored.strategy, original.strategy);
    for length in 0..bytes.len() {
        assert!(installed_record::decode(&bytes[..length], OWN).is_err(), "{length}");
    }
}
