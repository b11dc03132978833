//! The rules by which a node refuses what it does not own.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod support;

use kv_core::guard::{Context, Guard, InstallError, Installed, LayoutVerdict};
use kv_core::incarnation::Incarnation;
use kv_core::layout::{Layout, Side};
use kv_core::ownership::{Right, Role};
use kv_core::partition::Partition;
use kv_core::refusal::{ErrorCode, Refusal};
use kvnode::installed_record;
use support::{CLUSTER, Cluster, PARTITIONS, uuid};
use uuid::Uuid;

const STALE: Result<Right, ErrorCode> = Err(ErrorCode::StaleEpoch);
const RETRY: Result<Right, ErrorCode> = Err(ErrorCode::Retry);
const NOT_OWNER: Result<Right, ErrorCode> = Err(ErrorCode::NotOwner);
const OWNER: Result<Right, ErrorCode> = Ok(Right::Owner);

/// Nodes 0 and 1 have the even and the odd partitions.
fn at_rest(epoch: u64) -> Cluster {
    Cluster::new(epoch, 2, |partition| partition % 2)
}

/// Everything goes to the other one of nodes 0 and 1.
fn swap(cluster: &Cluster) -> Cluster {
    cluster.begin(2, |partition| (partition + 1) % 2, &[])
}

fn guard(node: u32, installed: Installed) -> Guard {
    Guard::new(uuid(node), Some(installed))
}

/// A node's guard after it installed these layouts one after another.
fn guard_after(node: u32, layouts: &[&Cluster]) -> Guard {
    guard(node, install_all(node, layouts))
}

fn install_all(node: u32, layouts: &[&Cluster]) -> Installed {
    let first = layouts[0].install(node, None);
    layouts[1..].iter().fold(first, |before, next| next.install(node, Some(&before)))
}

fn under(epoch: impl Into<Option<u64>>) -> Context {
    Context { epoch: epoch.into(), ..Context::default() }
}

fn refused(guard: &Guard, context: Context) -> ErrorCode {
    guard.admit(&context).unwrap_err().code
}

fn right(guard: &Guard, epoch: impl Into<Option<u64>>, partition: u32) -> Result<Right, ErrorCode> {
    let context = under(epoch);
    let code = |refusal: Refusal| refusal.code;
    guard.admit(&context).map_err(code)?.right_to(Partition(partition)).map_err(code)
}

#[test]
fn a_node_without_a_layout_owns_nothing() {
    let guard = Guard::new(uuid(0), None);
    assert_eq!(refused(&guard, Context::default()), ErrorCode::NoLayout);
    assert_eq!(guard.judge(&at_rest(1).layout), LayoutVerdict::Install);
    assert!(guard.is_behind(&under(1)) && !guard.is_behind(&under(None)));
}

#[test]
fn a_client_that_states_nothing_is_served_as_current() {
    let guard = guard_after(0, &[&at_rest(3)]);
    let admitted = guard.admit(&Context::default()).unwrap();
    assert_eq!(admitted.epoch(), 3);
    assert_eq!(admitted.right_to(Partition(2)), Ok(Right::Owner));
    let refusal = admitted.right_to(Partition(3)).unwrap_err();
    assert_eq!((refusal.code, refusal.epoch), (ErrorCode::NotOwner, Some(3)));
    assert!(refusal.message.contains("node-1"), "{}", refusal.message);
    assert_eq!(admitted.right_to(Partition(16)).unwrap_err().code, ErrorCode::BadRequest);
}

#[test]
fn what_a_client_believes_must_be_so() {
    let guard = guard_after(0, &[&at_rest(3)]);
    let (cluster, node) = (Some(CLUSTER), Some(uuid(0)));
    let context = Context { cluster, node, incarnation: None, epoch: Some(3) };
    assert!(guard.admit(&context).is_ok());
    for (context, code) in [
        (Context { node: Some(uuid(1)), ..context }, ErrorCode::WrongNode),
        (Context { cluster: Some(uuid(1)), ..context }, ErrorCode::WrongCluster),
        (Context { epoch: Some(4), ..context }, ErrorCode::Retry),
    ] {
        assert_eq!(refused(&guard, context), code);
    }
    assert!(guard.is_behind(&Context { epoch: Some(4), ..context }));
    let foreign = Context { epoch: Some(4), cluster: Some(uuid(1)), ..Context::default() };
    assert!(!guard.is_behind(&foreign), "another cluster's epochs mean nothing here");
}

#[test]
fn a_node_that_is_no_member_owns_nothing() {
    let guard = guard_after(3, &[&at_rest(1)]);
    for partition in 0..16 {
        assert_eq!(right(&guard, None, partition), NOT_OWNER);
    }
    assert_eq!(guard.installed().unwrap().summary().partitions_owned, 0);
}

#[test]
fn a_partition_that_stays_is_served_through_every_epoch() {
    let rest = at_rest(3);
    // Only the first four partitions change places.
    let begun = rest.begin(2, |it| if it < 4 { (it + 1) % 2 } else { it % 2 }, &[]);
    let frozen = begun.prepare(16);
    let open = frozen.open();
    let settled = open.settle(None);
    let guard = guard_after(0, &[&rest, &begun, &frozen, &open, &settled]);
    assert_eq!(guard.installed().unwrap().layout.epoch, 7);
    // Partition 8 has been this node's since it installed epoch 3.
    let expected = [(2, STALE), (3, OWNER), (5, OWNER), (7, OWNER), (8, RETRY)];
    for (epoch, expected) in expected {
        assert_eq!(right(&guard, epoch, 8), expected, "{epoch}");
    }
    // Partition 1 since epoch 7, and partition 0 is the other's.
    for (epoch, expected) in [(6, STALE), (7, OWNER)] {
        assert_eq!(right(&guard, epoch, 1), expected, "{epoch}");
    }
    for (epoch, expected) in [(6, STALE), (7, NOT_OWNER)] {
        assert_eq!(right(&guard, epoch, 0), expected, "{epoch}");
    }
    assert_eq!((right(&guard, None, 1), right(&guard, None, 0)), (OWNER, NOT_OWNER));
}

#[test]
fn nobody_serves_what_is_frozen() {
    let rest = at_rest(3);
    let begun = swap(&rest);
    // The window ends in the middle.
    let frozen = begun.prepare(8);
    for node in [0, 1] {
        let guard = guard_after(node, &[&rest, &begun, &frozen]);
        for partition in [0, 1] {
            assert_eq!(right(&guard, 4, partition), STALE);
            assert_eq!(right(&guard, 5, partition), RETRY);
            assert_eq!(right(&guard, None, partition), RETRY);
        }
        // Beyond the window all is as before.
        assert_eq!(right(&guard, 3, 8 + node), OWNER);
    }
    let bystander = guard_after(2, &[&rest, &begun, &frozen]);
    assert_eq!(right(&bystander, 4, 0), STALE);
    assert_eq!((right(&bystander, 5, 0), right(&bystander, None, 0)), (NOT_OWNER, NOT_OWNER));
}

#[test]
fn what_is_moving_needs_its_exact_epoch() {
    let rest = at_rest(3);
    let begun = swap(&rest);
    let frozen = begun.prepare(8);
    let open = frozen.open();
    // A pause changes nothing but the epoch.
    let paused = open.step(|layout| layout.pause(true).unwrap());
    let layouts = [&rest, &begun, &frozen, &open, &paused];
    let destination = Ok(Right::Destination { has_source: true });
    for node in [0, 1] {
        let guard = guard_after(node, &layouts);
        let (source_of, destination_of) = (node, 1 - node);
        for epoch in 3..7 {
            assert_eq!(right(&guard, epoch, source_of), STALE, "{epoch}");
            assert_eq!(right(&guard, epoch, destination_of), STALE, "{epoch}");
        }
        assert_eq!(right(&guard, 7, source_of), Ok(Right::Source));
        assert_eq!(right(&guard, None, source_of), RETRY);
        assert_eq!(right(&guard, 7, destination_of), destination);
        assert_eq!(right(&guard, None, destination_of), destination);
        assert_eq!(right(&guard, 8, destination_of), RETRY);
        let installed = guard.installed().unwrap();
        let peer = uuid(1 - node);
        assert_eq!(installed.open_move(Partition(source_of)), Some((Side::Source, peer)));
        let other_way = installed.open_move(Partition(destination_of));
        assert_eq!(other_way, Some((Side::Destination, peer)));
        assert_eq!(installed.open_move(Partition(8)), None);
        assert_eq!(installed.since(Partition(0)), 6, "the pause did not change the assignment");
    }
}

#[test]
fn a_node_that_was_given_up_has_no_part_in_the_move() {
    let rest = at_rest(3);
    let begun = rest.begin(1, |_| 0, &[1]);
    let frozen = begun.prepare(16);
    let open = frozen.open();
    let guard = guard_after(0, &[&rest, &begun, &frozen, &open]);
    assert_eq!(right(&guard, 6, 1), Ok(Right::Destination { has_source: false }));
    assert_eq!(guard.installed().unwrap().open_move(Partition(1)), None);
    let lost = guard_after(1, &[&rest, &begun, &frozen, &open]);
    assert_eq!((right(&lost, 6, 1), right(&lost, 5, 1)), (NOT_OWNER, STALE));
}

#[test]
fn requests_for_all_of_a_node_mean_its_very_epoch() {
    let rest = at_rest(3);
    let quiet = guard_after(0, &[&rest]);
    let check = |guard: &Guard, epoch: Option<u64>| {
        let context = under(epoch);
        let admitted = guard.admit(&context).unwrap();
        [admitted.check_whole(), admitted.check_current(), admitted.check_exact("COPY")]
            .map(|it| it.err().map(|refusal| refusal.code))
    };
    let (stale, bad) = (Some(ErrorCode::StaleEpoch), Some(ErrorCode::BadRequest));
    assert_eq!(check(&quiet, Some(3)), [None, None, None]);
    assert_eq!(check(&quiet, Some(2)), [stale, stale, stale]);
    assert_eq!(check(&quiet, None), [None, None, bad]);
    let frozen = swap(&rest).prepare(2);
    let moving = guard_after(0, &[&rest, &frozen]);
    assert_eq!(check(&moving, None), [Some(ErrorCode::Retry), None, bad]);
    assert_eq!(check(&moving, Some(5)), [None, None, None]);
    // A window between other nodes does not matter here.
    let bystander = guard_after(2, &[&rest, &frozen]);
    assert_eq!(check(&bystander, None), [None, None, bad]);
}

#[test]
fn sizes_are_told_by_who_has_the_data() {
    let rest = at_rest(3);
    let frozen = swap(&rest).prepare(16);
    let code = |guard: &Guard, epoch: u64, partition| {
        let context = under(epoch);
        let admitted = guard.admit(&context).unwrap();
        admitted.check_countable(Partition(partition)).err().map(|refusal| refusal.code)
    };
    let guard = guard_after(0, &[&rest, &frozen]);
    assert_eq!(code(&guard, 5, 0), None);
    assert_eq!(code(&guard, 4, 0), Some(ErrorCode::StaleEpoch));
    assert_eq!(code(&guard, 5, 1), Some(ErrorCode::Retry));
    let guard = guard_after(0, &[&rest, &frozen, &frozen.open()]);
    assert_eq!((code(&guard, 6, 0), code(&guard, 6, 1)), (None, Some(ErrorCode::Retry)));
}

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
    // A source keeps what nobody has verified to be elsewhere, and nothing else.
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
    // Whoever never had a partition cannot own it all at once.
    let refused = forged.try_install(2, Some(&rest.install(2, None)));
    assert!(matches!(refused, Err(InstallError::Unreachable { .. })), "{refused:?}");
}

#[test]
fn held_is_what_a_node_has_as_a_whole() {
    let rest = at_rest(3);
    let frozen = swap(&rest).prepare(8);
    let all: Vec<_> = (0..PARTITIONS).map(Partition).collect();
    let asked = Context {
        cluster: Some(CLUSTER),
        node: Some(uuid(0)),
        epoch: Some(5),
        ..Context::default()
    };
    let held = |layouts: &[&Cluster], context: &Context| {
        let guard = guard_after(0, layouts);
        guard.admit(context).and_then(|it| it.held(&all)).map_err(|refusal| refusal.code)
    };
    let source = held(&[&rest, &frozen], &asked).unwrap();
    assert!(source.contains(&Partition(0)) && !source.contains(&Partition(1)), "{source:?}");
    let open = held(&[&rest, &frozen, &frozen.open()], &asked).unwrap();
    assert_eq!(open, source, "a destination has not everything yet");
    let settled = held(&[&rest, &frozen, &frozen.open(), &frozen.open().settle(None)], &asked);
    let settled = settled.unwrap();
    assert!(settled.contains(&Partition(1)) && !settled.contains(&Partition(0)), "{settled:?}");
    // Not by who is behind, is another, or does not know whom he asks.
    assert_eq!(held(&[&rest], &asked), Err(ErrorCode::Retry));
    let other = Context { node: Some(uuid(1)), ..asked };
    assert_eq!(held(&[&rest, &frozen], &other), Err(ErrorCode::WrongNode));
    for vague in [
        Context { node: None, ..asked },
        Context { cluster: None, ..asked },
        Context { epoch: None, ..asked },
    ] {
        assert_eq!(held(&[&rest, &frozen], &vague), Err(ErrorCode::BadRequest));
    }
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
    for original in others.into_iter().chain([keeping, in_a_run]) {
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
