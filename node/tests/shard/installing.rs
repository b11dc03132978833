//! Which layouts a node installs, and what it makes of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::guards::{at_rest, guard_after, install_all, swap};
use crate::support::{Cluster, uuid};
use kv_core::guard::{InstallError, Installed, LayoutVerdict};
use kv_core::incarnation::Incarnation;
use kv_core::layout::{Layout, Standing};
use kv_core::ownership::Role;
use kv_core::partition::Partition;
use kvnode::installed_record;
use uuid::Uuid;

#[test]
fn skipped_epochs_do_not_matter() {
    let rest = at_rest(3);
    let frozen = swap(&rest).prepare(8);
    let open = frozen.open();
    let settled = open.settle(Some(16));
    // A source that slept from its freeze to after the commit.
    let source = install_all(0, &[&rest, &frozen, &settled]);
    assert_eq!(source.role(Partition(0)), Some(Role::Stranger));
    assert_eq!(source.role(Partition(8)), Some(Role::FrozenSource));
    assert_eq!((source.since(Partition(0)), source.since(Partition(8))), (7, 7));
    // A destination that installed the freeze, and then the commit.
    assert_eq!(source.role(Partition(1)), Some(Role::Owner));
    // One that slept through everything.
    let far = settled.open().settle(None);
    assert!(matches!(
        far.try_install(0, Some(&rest.install(0, None))),
        Err(InstallError::Unreachable { partition: Partition(1), installed: 3, .. })
    ));
    // A window that was taken back and frozen again.
    let retracted = frozen.step(|layout| layout.retract().unwrap());
    let again = retracted.prepare(8);
    let node = install_all(0, &[&rest, &frozen, &again]);
    assert_eq!(node.since(Partition(0)), 5, "it looks the same to who did not see it");
    let node = install_all(0, &[&rest, &frozen, &retracted, &again]);
    assert_eq!(node.since(Partition(0)), 7);
}

#[test]
fn a_data_directory_that_was_put_back_is_found_out() {
    let rest = at_rest(3);
    let begun = swap(&rest);
    let frozen = begun.prepare(8);
    let open = frozen.open();
    let error = open.try_install(0, None).unwrap_err();
    assert!(matches!(error, InstallError::PutBack { epoch: 6, .. }), "{error}");
    // Or it is the layout that is out of place.
    for (own, previous) in [(3, &rest), (4, &begun)] {
        let error = open.try_install(0, Some(&previous.install(0, None))).unwrap_err();
        let is_right = matches!(error, InstallError::Unreachable { epoch: 6, installed, .. } if installed == own);
        assert!(is_right, "{error}");
        assert!(error.to_string().contains(&format!("`kvclient restore-layout {own}`")), "{error}");
    }
    assert!(open.try_install(0, Some(&frozen.install(0, None))).is_ok());
    assert!(open.try_install(2, None).is_ok(), "it is no matter of who has no part in it");
}

/// A forged layout, or one that a Consul was put back to, takes everything from its owners.
#[test]
fn what_a_node_never_handed_over_it_keeps_and_may_own_again() {
    let rest = at_rest(3);
    let frozen = swap(&rest).prepare(8);
    let forged = Cluster::new(1000, 3, |_| 2);
    let owner = install_all(0, &[&rest, &forged]);
    assert_eq!(owner.kept().get(&Partition(0)), Some(&Role::Owner));
    assert_eq!(owner.kept().get(&Partition(1)), None, "it was another's");
    let again = at_rest(1001);
    let owner = again.install(0, Some(&owner));
    assert!(owner.kept().is_empty());
    assert_eq!(owner.role(Partition(0)), Some(Role::Owner));
    // Through several of them, and from the middle of a move.
    let further = Cluster::new(2000, 3, |_| 1);
    let source = install_all(0, &[&rest, &frozen, &forged, &further]);
    assert_eq!(source.kept().get(&Partition(0)), Some(&Role::FrozenSource));
    assert!(at_rest(2001).try_install(0, Some(&source)).is_ok());
    // A source keeps the partitions that no mover has verified to be elsewhere, and nothing else.
    let open = install_all(0, &[&rest, &frozen, &frozen.open()]);
    let source = forged.install(0, Some(&open));
    assert_eq!(source.kept().get(&Partition(0)), Some(&Role::Source));
    assert!(
        frozen
            .open()
            .step(|it| Layout { epoch: 1001, ..it.clone() })
            .try_install(0, Some(&source))
            .is_ok()
    );
    open.note_digested(uuid(2));
    assert!(forged.install(0, Some(&open)).kept().contains_key(&Partition(0)), "to another");
    open.note_digested(uuid(1));
    let source = forged.install(0, Some(&open));
    assert_eq!(source.kept().get(&Partition(0)), None);
    let destination = install_all(0, &[&rest, &frozen, &frozen.open(), &forged]);
    let held = Role::Destination { has_source: true };
    assert_eq!(destination.kept().get(&Partition(1)), Some(&held), "it took writes");
    // A node that never had a partition cannot own it all at once.
    let refused = forged.try_install(2, Some(&rest.install(2, None)));
    assert!(matches!(refused, Err(InstallError::Unreachable { .. })), "{refused:?}");
}

#[test]
fn an_epoch_that_nobody_can_have_come_to_is_refused() {
    let guard = guard_after(0, &[&at_rest(3)]);
    assert_eq!(guard.judge(&at_rest(3 + (1 << 32)).layout), LayoutVerdict::Install);
    for epoch in [4 + (1 << 32), u64::MAX] {
        assert!(matches!(guard.judge(&at_rest(epoch).layout), LayoutVerdict::MadeUp(_)), "{epoch}");
    }
}

#[test]
fn only_a_newer_layout_of_the_same_cluster_is_installed() {
    let guard = guard_after(0, &[&at_rest(3)]);
    assert_eq!(guard.judge(&at_rest(4).layout), LayoutVerdict::Install);
    assert_eq!(guard.judge(&at_rest(3).layout), LayoutVerdict::Current);
    assert_eq!(guard.judge(&at_rest(2).layout), LayoutVerdict::Restore);
    let foreign = Layout { cluster: Uuid::from_u128(1), ..at_rest(9).layout };
    assert!(matches!(guard.judge(&foreign), LayoutVerdict::Refuse(_)));
    let mut forked = at_rest(3).layout;
    forked.placement.members[1].weight = 2;
    assert!(matches!(guard.judge(&forked), LayoutVerdict::MadeUp(_)));
}

#[test]
fn only_the_named_tables_and_strategies_are_installed() {
    let sound = swap(&at_rest(1));
    assert!(sound.try_install(0, None).is_ok());
    let refused = |damage: fn(&mut Cluster)| {
        let mut cluster = sound.clone();
        damage(&mut cluster);
        cluster.try_install(0, None).is_err()
    };
    assert!(refused(|it| it.tables[1][0] ^= 1));
    assert!(refused(|it| it.tables.swap(0, 1)));
    assert!(refused(|it| it.tables.truncate(1)));
    assert!(refused(|it| it.strategies.swap(0, 1)));
    assert!(refused(|it| it.strategies.truncate(1)));
    assert!(refused(|it| it.strategies[0].push(0)));
}

#[test]
fn an_installed_layout_survives_its_record() {
    let rest = at_rest(7);
    let frozen = swap(&rest).prepare(8);
    let forged = Cluster::new(1000, 3, |_| 2);
    let keeping = install_all(0, &[&rest, &frozen, &forged]);
    assert!(!keeping.kept().is_empty());
    let open = frozen.open();
    // As all that records can be kept.
    let open_again = open.step(|it| Layout { epoch: 1001, ..it.clone() });
    let from_move = install_all(0, &[&rest, &frozen, &open, &forged]);
    let roles: Vec<_> = from_move.kept().values().collect();
    assert!(roles.contains(&&Role::Source), "{roles:?}");
    assert!(roles.contains(&&Role::Destination { has_source: true }), "{roles:?}");
    assert!(open_again.try_install(0, Some(&from_move)).is_ok());
    let others = [rest.install(0, None), install_all(0, &[&rest, &frozen]), from_move];
    let in_a_run = rest.install(0, None).begun_by(Some(Incarnation::draw(7)));
    assert!(in_a_run.begun().is_some());
    let standing = rest.step(|it| Layout { standing: Standing::whole(it.epoch), ..it.clone() });
    let standing = standing.install(0, None);
    assert_eq!(standing.layout.blobs().len(), 2);
    let copies = BTreeMap::from([(Partition(0), Role::Backup), (Partition(1), Role::Learner)]);
    let (strategies, since) = (rest.strategies.clone(), standing.all_since().to_vec());
    let (layout, handed_over) = (rest.layout.clone(), BTreeSet::new());
    let keeping_copies =
        Installed::restored(layout, &rest.tables, strategies, uuid(0), since, copies, handed_over);
    let keeping_copies = keeping_copies.unwrap();
    for original in others.into_iter().chain([keeping, keeping_copies, in_a_run, standing]) {
        let bytes = installed_record::encode(&original);
        let restored = installed_record::decode(&bytes, uuid(0)).unwrap();
        assert_eq!(restored.layout, original.layout);
        assert_eq!(restored.tables, original.tables);
        assert_eq!(restored.strategies, original.strategies);
        assert_eq!(restored.all_since(), original.all_since());
        assert!(restored.roles().eq(original.roles()));
        assert_eq!(restored.kept(), original.kept());
        assert_eq!(restored.begun(), original.begun());
        for length in 0..bytes.len() {
            assert!(installed_record::decode(&bytes[..length], uuid(0)).is_err(), "{length}");
        }
    }
    // The forms before lacked some parts, which are empty in the record of one that never moved anything.
    let original = rest.install(0, None);
    let bytes = installed_record::encode(&original);
    let document = 8 + 4 + original.layout.to_json().len();
    let since = document + 4 + 8 * original.all_since().len();
    for (version, lacks) in [(3, 1), (2, 3)] {
        let kept_from = since + 4 * (3 - lacks);
        let before =
            [b"kvnode\0", &[version][..], &bytes[8..kept_from], &bytes[since + 12..]].concat();
        let restored = installed_record::decode(&before, uuid(0)).unwrap();
        assert_eq!((&restored.layout, &restored.tables), (&original.layout, &original.tables));
        assert_eq!((restored.begun(), restored.kept().len()), (None, 0));
    }
    let error = installed_record::decode(b"\x05\0\0\0\x01\0\0\0{...}", uuid(0)).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
}
